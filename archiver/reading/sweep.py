"""How the index is asked: from one end of time to the other, in stretches that hold about as much as is needed.

A word that occurs everywhere fits millions of messages, and one that occurs long ago only makes a walk back through time long. So
each statement asks for one stretch of time, named in the index itself (archiver.reading.facts): the first is short, and each next
one as long as what the last one found suggests. Where one finds nothing, the index is asked which of the blocks beyond has any;
where one finds too much, which of the blocks within has it. Whatever the word, some thousands of rows are looked at, no millions.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from archiver.db import Connection
from archiver.reading import facts
from archiver.reading.facts import END, LAST, STEP, block, period, starts
from archiver.reading.query import Query, has_phrase, outline, tsquery
from archiver.reading.words import BlindIndex

NEWEST, OLDEST, RELEVANCE = ORDERS = ("newest", "oldest", "relevance")
COUNTING = 0.02  # seconds: what is to be shown is there, and from then on the total is told as "more than"
MOST = 4  # times as many rows as are needed may be looked at in one stretch
FEW_ROOMS = 200  # so many are named in the index; more are sorted out row by row
MOMENT = timedelta(microseconds=1)
EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
# `listed` is what the index gives, `found` no more of it than can be looked at, `fit` what is really asked for. Without
# MATERIALIZED the planner would walk time instead; with it, no more rows are made than are asked for.
FIND = """
    WITH told AS (SELECT $2::text, $3::text, $4::text),  -- of which not every search has each
    listed AS MATERIALIZED (
        SELECT room_id, event_id, sent_at, {exact} AS exact, {rank} AS rank FROM message WHERE org = $1 AND {indexed}),
    found AS MATERIALIZED (SELECT * FROM listed LIMIT $12),
    fit AS MATERIALIZED (
        SELECT room_id, event_id, sent_at, rank FROM found
        WHERE exact AND sent_at >= $5 AND sent_at < $6 AND ($7::text[] IS NULL OR room_id = ANY($7))
          AND ($8::timestamptz IS NULL OR (sent_at, event_id, room_id) {beyond} ($8, $9::text, $10::text)))
    SELECT counts.*, first.* FROM (SELECT (SELECT count(*) FROM found) AS seen, (SELECT count(*) FROM fit) AS total) AS counts
    LEFT JOIN (SELECT * FROM fit ORDER BY sent_at {way}, event_id {way}, room_id {way} LIMIT $11) AS first ON true
    ORDER BY first.sent_at {way}, first.event_id {way}, first.room_id {way}
"""
EXACT, RANK = "words @@ (SELECT $4::text::tsquery)", "ts_rank(words, (SELECT $4::text::tsquery))"
# The next message there is, so that a time in which nothing was said costs one look.
NEXT = "SELECT sent_at FROM message WHERE org = $1 AND sent_at {side} $2 ORDER BY sent_at {way} LIMIT 1"
NEXT_IN_ROOMS = """
    SELECT {least}(sent_at) FROM unnest($3::text[]) AS wanted (room),
        LATERAL (SELECT sent_at FROM message WHERE org = $1 AND room_id = room AND sent_at {side} $2
                 ORDER BY sent_at {way} LIMIT 1) AS message
"""
# Of blocks of time, one after another: the first in which the index has something.
LEAP = """
    WITH told AS (SELECT $2::text)
    SELECT n FROM unnest($3::text[]) WITH ORDINALITY AS block (asked, n), LATERAL (
        WITH listed AS MATERIALIZED (SELECT FROM message WHERE org = $1 AND {indexed}) SELECT FROM listed LIMIT 1) AS something
    LIMIT 1
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
    window: Match | None = None  # in order of relevance: what is put in order is older than this

    @property
    def ref(self) -> tuple[str, str]:
        return self.room_id, self.event_id

    def relevance(self) -> tuple[float, float, str, str]:
        """The key by which the most relevant is first, and of equals the newest."""
        return -self.rank, -self.sent_at.timestamp(), self.event_id, self.room_id

    def told(self) -> tuple[str, ...]:
        """As a cursor carries it."""
        place = self.room_id, self.event_id, self.sent_at.isoformat(), repr(self.rank)
        return (*place, *self.window.told()[:3]) if self.window else place


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
        self.total, self.counted_all = 0, True
        self.reached: Match | None = None
        self._tx, self._org, self._asked, self._member = tx, org, asked, member
        self._back = order != OLDEST
        few = filters.rooms is not None and len(filters.rooms) <= FEW_ROOMS
        self._parts = facts.wanted(index, filters.rooms if few else None, filters.senders, filters.has)
        self._rooms = None if filters.rooms is None else sorted(filters.rooms)
        self._beside = None if few else self._rooms
        self._exact = tsquery(asked, index) if asked else None
        # Of who sees a part, what the index knows more must not decide: only words that occur are asked for, and what fits as
        # they see it is looked at afterwards (archiver.reading.search).
        self._loose = outline(asked, index, only_wanted=member) if asked else None

    async def matches(self, after: Match | None, limit: int, *, count: int | None = None) -> list[Match]:
        """The first `limit` matches after a place; with `count`, `total` is counted up to that, or as far as is soon done."""
        needed = max(limit, count or 0)
        found: list[Match] = []
        self.total, self.counted_all, self.reached = 0, True, None
        began = time.monotonic()
        low, high = self.filters.start or EARLIEST, self.filters.end or END
        if after is not None and self._back:
            high = min(high, after.sent_at + MOMENT if after.event_id else after.sent_at)
        elif after is not None:
            low = max(low, after.sent_at)
        width, target = 0, needed * 5 // 4
        while low < high and self.total < needed:
            if len(found) >= limit and time.monotonic() - began > COUNTING:
                self.counted_all = False
                break
            if time.monotonic() > self.until:
                self.reached = Match("", "", high if self._back else low)
                break
            edge = await self._next(low, high, back=self._back)
            if edge is None:
                break
            width = width or await self._first_width(edge, target)
            first, last = self._stretch(edge, width)
            start = max(low, starts(first)) if first else low
            end = min(high, starts(last))
            most = max(MOST * target, 1) if last - first > 1 else None
            seen, total, some = await self._ask(first, last, start, end, after, limit - len(found), most)
            inside = most is not None and seen >= most
            if not inside:
                found += some
                self.total += total
                low, high = (low, start) if self._back else (end, high)
            if seen and not inside:
                width = max(min(int(width * target / seen), width * STEP), width // 4, 1)
                continue
            place = await self._leap(first, last) if inside else await self._leap_over(low, high)
            if place is None:
                break
            low, high = (low, min(high, starts(place[1]))) if self._back else (max(low, starts(place[0])), high)
            width = place[1] - place[0]
        return found

    async def _next(self, low: datetime, high: datetime, *, back: bool) -> datetime | None:
        """When the message was sent that is nearest to one end of what is yet to be looked at."""
        way, side, least, place = ("DESC", "<", "max", high) if back else ("ASC", ">=", "min", low)
        if self._rooms is not None and (self._member or self._beside is None):
            statement = NEXT_IN_ROOMS.format(way=way, side=side, least=least)
            found = await self._tx.fetchval(statement, self._org, place, self._rooms)
        else:
            found = await self._tx.fetchval(NEXT.format(way=way, side=side), self._org, place)
        return found if found is not None and low <= found < high else None

    async def _leap_over(self, low: datetime, high: datetime) -> tuple[int, int] | None:
        """The next blocks in which the index has something; None when it has nothing any more."""
        near, far = [await self._next(low, high, back=back) for back in (self._back, not self._back)]
        if near is None or far is None:
            return None
        ends = sorted((block(near), block(far)))
        return await self._leap(ends[0], ends[1] + 1)

    async def _leap(self, first: int, last: int) -> tuple[int, int] | None:
        """Of the blocks in a stretch, a few dozen, the first in which the index has something."""
        size = 1
        while size * STEP * 2 <= last - first:
            size *= STEP
        pieces: list[tuple[int, int]] = []
        at = first
        while at < last:
            pieces.append((at, min((at // size + 1) * size, last)))
            at = pieces[-1][1]
        pieces = pieces[::-1] if self._back else pieces
        asked = [" & ".join([*self._parts, period(self.index, *piece)]) for piece in pieces]
        statement = LEAP.format(indexed=self._indexed("asked"))
        found = await self._tx.fetchval(statement, self._org, self._loose, asked)
        return pieces[found - 1] if found else None

    def _indexed(self, asked: str) -> str:
        """What the index is asked."""
        facts_too = f"facts @@ {asked}::text::tsquery"
        return f"words @@ $2::text::tsquery AND {facts_too}" if self._loose else facts_too

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
        self, first: int, last: int, start: datetime, end: datetime, after: Match | None, limit: int, most: int | None
    ) -> tuple[int, int, list[Match]]:
        """(rows looked at, rows that fit, the first of those) of one stretch."""
        asked = " & ".join([*self._parts, period(self.index, first, last)])
        ranked, phrase = self.order == RELEVANCE and self._asked, self._asked and has_phrase(self._asked)
        statement = FIND.format(
            indexed=self._indexed("$3"),
            exact=EXACT if not self._member and (phrase or (self._asked and not self._loose)) else "true",
            rank=RANK if ranked else "0::real",
            beyond="<" if self._back else ">",
            way="DESC" if self._back else "ASC",
        )
        place = (after.sent_at, after.event_id, after.room_id) if after and after.event_id else (None, None, None)
        told = (self._org, self._loose, asked, self._exact, start, end, self._beside, *place, max(limit, 0), most)
        rows = await self._tx.fetch(statement, *told)
        found = [Match(*(row[name] for name in ("room_id", "event_id", "sent_at", "rank"))) for row in rows if row["event_id"]]
        return rows[0]["seen"], rows[0]["total"], found
