"""How the index is asked: from one end of time to the other, in stretches that hold about as much as is needed.

A word that occurs everywhere fits millions of messages, and one that occurs long ago only makes a walk back through time long. So
each statement asks for one stretch of time, named in the index itself (archiver.reading.facts): the first is short, and each next
one as long as what the last one found suggests. Whatever the word, some thousands of rows are looked at, not millions.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from archiver.db import Connection
from archiver.reading import facts
from archiver.reading.facts import LAST, STEP, block, period, starts
from archiver.reading.query import Query, has_phrase, outline, tsquery
from archiver.reading.words import BlindIndex

NEWEST, OLDEST, RELEVANCE = ORDERS = ("newest", "oldest", "relevance")
FEW_ROOMS = 200  # so many are named in the index; more are sorted out row by row
MOMENT = timedelta(microseconds=1)
EARLIEST, LATEST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
# `found` is what the index gives, `fit` what is really asked for. Without MATERIALIZED the planner would walk time instead.
FIND = """
    WITH told AS (SELECT $2::text, $3::text, $4::text),  -- of which not every search has each
    found AS MATERIALIZED (
        SELECT room_id, event_id, sent_at, {exact} AS exact, {rank} AS rank FROM message WHERE org = $1 AND {indexed}),
    fit AS MATERIALIZED (
        SELECT room_id, event_id, sent_at, rank FROM found
        WHERE exact AND sent_at >= $5 AND sent_at < $6 AND ($7::text[] IS NULL OR room_id = ANY($7))
          AND ($8::timestamptz IS NULL OR (sent_at, event_id, room_id) {beyond} ($8, $9::text, $10::text)))
    SELECT counts.*, first.* FROM (SELECT (SELECT count(*) FROM found) AS seen, (SELECT count(*) FROM fit) AS total) AS counts
    LEFT JOIN (SELECT * FROM fit ORDER BY sent_at {way}, event_id {way}, room_id {way} LIMIT $11) AS first ON true
    ORDER BY first.sent_at {way}, first.event_id {way}, first.room_id {way}
"""
WORDS, FACTS = "words @@ $2::text::tsquery", "facts @@ $3::text::tsquery"
EXACT, RANK = "words @@ (SELECT $4::text::tsquery)", "ts_rank(words, (SELECT $4::text::tsquery))"
# The next message there is, so that a time in which nothing was said costs one look.
NEXT = "SELECT sent_at FROM message WHERE org = $1 AND sent_at {side} $2 ORDER BY sent_at {way} LIMIT 1"
NEXT_IN_ROOMS = """
    SELECT {least}(sent_at) FROM unnest($3::text[]) AS wanted (room),
        LATERAL (SELECT sent_at FROM message WHERE org = $1 AND room_id = room AND sent_at {side} $2
                 ORDER BY sent_at {way} LIMIT 1) AS message
"""
DENSE = "SELECT sent_at FROM message WHERE org = $1 AND sent_at {side} $2 ORDER BY sent_at {way} OFFSET $3 LIMIT 1"
MEMBER = "SELECT DISTINCT room_id FROM membership WHERE org = $1 AND user_id = $2"


@dataclass(frozen=True, slots=True)
class Filters:
    """What narrows a search beside its words; None is no limit."""

    rooms: frozenset[str] | None = None
    senders: frozenset[str] | None = None  # Matrix ids
    start: datetime | None = None
    end: datetime | None = None  # sent before
    has: frozenset[str] = frozenset()  # of facts.HAS, all of them

    @property
    def empty(self) -> bool:
        return self == Filters()


@dataclass(frozen=True, slots=True)
class Match:
    """A message that matches: its id and its place in the order of what was found."""

    room_id: str
    event_id: str
    sent_at: datetime
    rank: float = 0.0

    @property
    def ref(self) -> tuple[str, str]:
        return self.room_id, self.event_id

    def relevance(self) -> tuple[float, float, str, str]:
        """The key by which the most relevant is first, and of equals the newest."""
        return -self.rank, -self.sent_at.timestamp(), self.event_id, self.room_id


async def rooms_of(tx: Connection, org: int, member: str, among: frozenset[str] | None) -> frozenset[str]:
    """The rooms in which an official was, or those of them that are asked for."""
    rooms = frozenset(row["room_id"] for row in await tx.fetch(MEMBER, org, member))
    return rooms if among is None else rooms & among


class Sweep:
    """A search on its way through time. `total` and `reached` tell of the last call."""

    def __init__(
        self,
        tx: Connection,
        org: int,
        index: BlindIndex,
        asked: Query | None,
        filters: Filters,
        order: str,
        *,
        member: bool,
        until: float,
    ) -> None:
        self.index, self.filters, self.order, self.until = index, filters, order, until
        self.total = 0
        self.reached: Match | None = None
        self._tx, self._org, self._asked, self._member = tx, org, asked, member
        self._back = order != OLDEST
        few = filters.rooms is not None and len(filters.rooms) <= FEW_ROOMS
        self._parts = facts.wanted(index, filters.rooms if few else None, filters.senders, filters.has)
        self._rooms = None if filters.rooms is None else sorted(filters.rooms)
        self._beside = None if few else self._rooms
        self._exact = tsquery(asked, index) if asked else None
        self._loose = outline(asked, index) if asked else None

    async def matches(self, after: Match | None, limit: int, count: int | None = None) -> list[Match]:
        """The first `limit` matches after a place; with `count`, `total` is counted up to that."""
        needed = max(limit, count or 0)
        found: list[Match] = []
        self.total, self.reached = 0, None
        low, high = self.filters.start or EARLIEST, self.filters.end or LATEST
        if after is not None and self._back:
            high = min(high, after.sent_at + MOMENT if after.event_id else after.sent_at)
        elif after is not None:
            low = max(low, after.sent_at)
        width, target = 0, 2 * needed
        while low < high:
            edge = await self._next(low, high)
            if edge is None:
                break
            width = width or await self._first_width(edge, target)
            first, last = self._stretch(edge, width)
            start, end = max(low, starts(first)) if first else low, high if last > LAST else min(high, starts(last))
            seen, total, some = await self._ask(first, last, start, end, after, limit - len(found))
            found += some
            self.total += total
            if self._back:
                high = start
            else:
                low = end
            if self.total >= needed:
                break
            if low < high and time.monotonic() > self.until:
                self.reached = Match("", "", high if self._back else low)
                break
            width = max(min(int(width * target / seen), width * STEP), width // 4, 1) if seen else width * STEP
        return found

    async def _next(self, low: datetime, high: datetime) -> datetime | None:
        """When the first message was sent that is yet to be looked at, in the direction of the search."""
        way, side, least, place = ("DESC", "<", "max", high) if self._back else ("ASC", ">=", "min", low)
        if self._rooms is not None and (self._member or self._beside is None):
            statement = NEXT_IN_ROOMS.format(way=way, side=side, least=least)
            found = await self._tx.fetchval(statement, self._org, place, self._rooms)
        else:
            found = await self._tx.fetchval(NEXT.format(way=way, side=side), self._org, place)
        return found if found is not None and low <= found < high else None

    async def _first_width(self, edge: datetime, target: int) -> int:
        """How many blocks hold about as many messages as are needed."""
        if self._rooms is not None:
            return STEP
        way, side = ("DESC", "<=") if self._back else ("ASC", ">=")
        there = await self._tx.fetchval(DENSE.format(way=way, side=side), self._org, edge, target)
        return abs(block(edge) - block(there)) + 1 if there else LAST

    def _stretch(self, edge: datetime, width: int) -> tuple[int, int]:
        """The blocks to ask for: from, and to before. A long stretch ends at a round number, which takes fewer names."""
        grain = 1
        while grain * STEP <= width // 2:
            grain *= STEP
        if self._back:
            last = block(edge) + 1
            return max((last - width) // grain * grain, 0), last
        first = block(edge)
        return first, min(-(-(first + width) // grain) * grain, LAST + 1)

    async def _ask(
        self, first: int, last: int, start: datetime, end: datetime, after: Match | None, limit: int
    ) -> tuple[int, int, list[Match]]:
        """(rows looked at, rows that fit, the first of those) of one stretch."""
        asked = " & ".join([*self._parts, period(self.index, first, last)])
        ranked, phrase = self.order == RELEVANCE and self._asked, self._asked and has_phrase(self._asked)
        statement = FIND.format(
            indexed=f"{WORDS} AND {FACTS}" if self._loose else FACTS,
            exact=EXACT if phrase or (self._asked and not self._loose) else "true",
            rank=RANK if ranked else "0::real",
            beyond="<" if self._back else ">",
            way="DESC" if self._back else "ASC",
        )
        place = (after.sent_at, after.event_id, after.room_id) if after and after.event_id else (None, None, None)
        told = (self._org, self._loose, asked, self._exact, start, end, self._beside, *place, max(limit, 0))
        rows = await self._tx.fetch(statement, *told)
        found = [Match(*(row[name] for name in ("room_id", "event_id", "sent_at", "rank"))) for row in rows if row["event_id"]]
        return rows[0]["seen"], rows[0]["total"], found
