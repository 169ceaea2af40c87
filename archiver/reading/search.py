"""Search in sealed messages (DESIGN D10, D17, D18): what is asked for, and the page of it that is shown.

How the database is asked is in archiver.reading.sweep.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

from archiver.db import Connection
from archiver.ledger.sealing import Vault
from archiver.reading.facts import has
from archiver.reading.membership import bounds
from archiver.reading.message import Message
from archiver.reading.project import fetch, messages
from archiver.reading.query import Query, read, sought, tsquery
from archiver.reading.snippet import Piece, plain, snippet
from archiver.reading.sweep import MOMENT, NEWEST, OLDEST, RELEVANCE, Filters, Match, Sweep, rooms_of
from archiver.reading.words import BlindIndex

__all__ = ["COUNTED", "NEWEST", "OLDEST", "RELEVANCE", "Filters", "Found", "Hit", "Match", "search"]

COUNTED = 1000  # a total stops here
VERIFIED = 100  # and here for who sees a part: each message is looked at as they see it
PATIENCE = 2.0  # seconds after which a search shows how far it came
STILL = """
    SELECT $2::text IS NULL OR w::tsvector @@ $2::text::tsquery AS still,
           coalesce(ts_rank(w::tsvector, $2::text::tsquery), 0) AS rank
    FROM unnest($1::text[]) WITH ORDINALITY AS t (w, n) ORDER BY n
"""


@lru_cache(8)
def index_of(search_key: bytes) -> BlindIndex:
    """An index that remembers the words it has seen: the same ones come again in each search."""
    return BlindIndex(search_key)


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that was found, where it stands among what was found, and a piece of it around the words."""

    message: Message
    match: Match
    pieces: tuple[Piece, ...]

    @property
    def snippet(self) -> str:
        """The piece without marks."""
        return plain(self.pieces)


@dataclass(frozen=True, slots=True)
class Found:
    """A page of what a search found."""

    hits: list[Hit]
    total: int | None  # None on a later page: it was told on the first
    more_than: bool = False  # there are more than `total`: counting stopped
    following: Match | None = None  # where the next page goes on; None: there is none
    reached: Match | None = None  # there was no time to look further than here
    further: Match | None = None  # where to look for what is older: there was no time, or it is not among what was put in order
    before: datetime | None = None  # what was put in order of relevance is the newest of what is older than this

    def shown(self) -> dict[str, list[str]]:
        """Room ids to the event ids found there: what the audit trail keeps of a search."""
        found: dict[str, list[str]] = defaultdict(list)
        for hit in self.hits:
            found[hit.message.record.room_id].append(hit.message.record.event_id)
        return dict(found)


async def search(
    tx: Connection,
    vault: Vault,
    query: str = "",
    filters: Filters | None = None,
    *,
    order: str = NEWEST,
    after: Match | None = None,
    limit: int = 25,
    member: str | None = None,
) -> Found:
    """A page of the messages that match, deleted and earlier versions included; without words, all that the filters let by.

    `member`: the transaction shows only what this official saw (archiver.reading.membership). The index knows more than they do,
    so what it finds is looked at as they see it before it is counted or shown. Raises UnclearQuery.
    """
    filters = filters or Filters()
    index = index_of(vault.search_key)
    asked = read(query, alone=filters.empty) if query.strip() or filters.empty else None
    order = NEWEST if order == RELEVANCE and asked is None else order
    if member is not None:
        rooms = await rooms_of(tx, vault.org, member, filters.rooms)
        first, last = await bounds(tx, vault.org, sorted(rooms))
        start, end = max(filters.start or first, first), min(filters.end or last, last)
        filters = replace(filters, rooms=rooms, start=start, end=end)
    sweep = Sweep(tx, vault.org, index, asked, filters, order, member=member is not None, until=time.monotonic() + PATIENCE)
    if member is not None:
        return await _as_seen(tx, vault, sweep, asked, after, limit)
    if order == RELEVANCE:
        # Only what is at hand can be put in order of relevance: the newest thousand, and from there the thousand before.
        newest = await sweep.matches(after.window if after else None, COUNTED + 1)
        hits = await _hits(tx, vault, index, asked, (best := _Ranked(newest, COUNTED, after, sweep.reached, limit)).page)
        return best.found(hits)
    page = await sweep.matches(after, limit + 1, count=None if after else COUNTED + 1)
    more_than = sweep.total > COUNTED or not sweep.counted_all
    total = None if after else min(sweep.total, COUNTED)
    following = page[limit - 1] if len(page) > limit else None
    reached = sweep.reached if following is None else None
    return Found(await _hits(tx, vault, index, asked, page[:limit]), total, more_than, following, reached, reached)


class _Ranked:
    """A page of the most relevant among the newest that there are: of `most` of them, all of before `after.window`."""

    def __init__(self, newest: Sequence[Match], most: int, after: Match | None, reached: Match | None, limit: int) -> None:
        self._after, self._reached = after, reached
        self._window = after.window if after else None
        among, self._end = newest[:most], newest[most - 1] if len(newest) > most else reached
        self._counted = len(among)
        left = sorted(among, key=Match.relevance)
        if after and after.event_id:
            left = [match for match in left if match.relevance() > after.relevance()]
        self.page, self._more = left[:limit], len(left) > limit
        # What comes in meanwhile is not put among them.
        self._same = self._window or (Match("", "", among[0].sent_at + MOMENT) if among else None)

    def found(self, hits: list[Hit]) -> Found:
        end, later = self._end, bool(self._after and self._after.event_id)
        return Found(
            hits,
            total=None if later else self._counted,
            more_than=end is not None,
            following=replace(self.page[-1], window=self._same) if self._more else None,
            reached=self._reached,
            further=Match("", "", end.sent_at, window=end) if end else None,
            before=self._window.sent_at if self._window and not later else None,
        )


async def _hits(tx: Connection, vault: Vault, index: BlindIndex, asked: Query | None, page: Sequence[Match]) -> list[Hit]:
    composed = await _composed(tx, vault, page)
    wanted = frozenset(sought(asked)) if asked else frozenset()
    return [Hit(message, match, snippet(message, wanted, index)) for match, message in composed]


async def _composed(tx: Connection, vault: Vault, found: Sequence[Match]) -> list[tuple[Match, Message]]:
    """The messages of what was found; one of which the record is not to be seen is left out."""
    records = {(record.room_id, record.event_id): record for record in await fetch(tx, vault, [match.ref for match in found])}
    there = [match for match in found if match.ref in records]
    return list(zip(there, await messages(tx, vault, [records[match.ref] for match in there]), strict=True))


async def _as_seen(tx: Connection, vault: Vault, sweep: Sweep, asked: Query | None, after: Match | None, limit: int) -> Found:
    """The page of who sees a part: what the index finds, less what does not match as they see it."""
    by_rank = sweep.order == RELEVANCE
    needed = VERIFIED + 1 if by_rank or after is None else limit + 1
    seen: list[tuple[Match, Message]] = []
    place, reached = (after.window if after and by_rank else after), None
    while len(seen) < max(needed, limit + 1):
        found = await sweep.matches(place, VERIFIED)
        seen += await _still(tx, sweep, asked, await _composed(tx, vault, found))
        reached = sweep.reached
        if len(found) < VERIFIED:
            break
        place = found[-1]
        if time.monotonic() > sweep.until:
            reached = place
            break
    wanted = frozenset(sought(asked)) if asked else frozenset()

    def hits(page: Sequence[Match]) -> list[Hit]:
        return [Hit(composed[match.ref], match, snippet(composed[match.ref], wanted, sweep.index)) for match in page]

    composed = {match.ref: message for match, message in seen}
    matches = [match for match, _ in seen]
    if by_rank:
        best = _Ranked(matches, VERIFIED, after, reached, limit)
        return best.found(hits(best.page))
    following = matches[limit - 1] if len(matches) > limit else None
    reached = reached if following is None else None
    counted = None if after else min(len(seen), VERIFIED)
    return Found(hits(matches[:limit]), counted, len(seen) > VERIFIED, following, reached, reached)


async def _still(
    tx: Connection, sweep: Sweep, asked: Query | None, found: list[tuple[Match, Message]]
) -> list[tuple[Match, Message]]:
    """What still matches by what this reader may see of it: the index knows later versions too, of after they left."""
    vectors = [sweep.index.vector(message.texts()) for _, message in found]
    rows = await tx.fetch(STILL, vectors, tsquery(asked, sweep.index) if asked else None)
    return [
        (replace(match, rank=row["rank"]), message)
        for (match, message), row in zip(found, rows, strict=True)
        if row["still"] and sweep.filters.has <= set(has(message))
    ]
