"""What a room's event graph says of its completeness (DESIGN D6): up to where nothing is missing, what is missing, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from archiver.db import Connection
from archiver.ledger.graph import NOT_VISIBLE

SHOWN = 50  # gaps of a room that are shown one by one

# Each gap with the earliest event that points at it: what is missing was sent before that one.
GAPS = """
    SELECT gap.room_id, gap.event_id, gap.state, gap.cause, gap.found_at, before.sent_at AS before_at, before.depth,
           before.event_id AS before_id
    FROM gap
    LEFT JOIN LATERAL (
        SELECT record.sent_at, record.depth, record.event_id FROM edge
        JOIN record ON record.org = edge.org AND record.room_id = edge.room_id AND record.event_id = edge.event_id
        WHERE edge.org = gap.org AND edge.room_id = gap.room_id AND edge.prev_event_id = gap.event_id
        ORDER BY record.depth LIMIT 1) AS before ON true
    WHERE gap.org = $1 AND gap.state <> 'filled' AND gap.room_id = ANY($2)
    ORDER BY gap.room_id, before.depth
"""
# The newest event before which nothing is missing: it lies below every event that points at a gap (depth grows along the graph).
CLOSED = """
    SELECT broken.room_id, closed.event_id, closed.sent_at
    FROM unnest($2::text[], $3::bigint[]) AS broken (room_id, depth)
    JOIN LATERAL (
        SELECT event_id, sent_at FROM record
        WHERE record.org = $1 AND record.room_id = broken.room_id AND (broken.depth IS NULL OR depth < broken.depth)
        ORDER BY depth DESC, event_id LIMIT 1) AS closed ON true
"""


@dataclass(frozen=True, slots=True)
class Gap:
    """An event that others point at and that is not in the archive."""

    event_id: str
    cause: str | None  # not-visible, not-held, withheld, or what the homeserver said; None while it is being looked for
    found_at: datetime
    before_at: datetime | None  # when the earliest event was sent that points at it
    depth: int | None  # the place of that event in the graph
    before_id: str | None = None  # that event


@dataclass(frozen=True, slots=True)
class Completeness:
    """Of one room."""

    gaps: tuple[Gap, ...] = ()
    closed_up_to: str | None = None  # the newest event before which nothing is missing
    closed_at: datetime | None = None  # when that was sent

    @property
    def missing(self) -> tuple[Gap, ...]:
        """What should be there and is not."""
        return tuple(gap for gap in self.gaps if gap.cause != NOT_VISIBLE)

    @property
    def holes(self) -> int:
        return len(self.missing)

    @property
    def unseen(self) -> bool:
        """Whether the room's history goes on to before the archiver's time in it."""
        return len(self.missing) < len(self.gaps)

    @property
    def shown(self) -> tuple[Gap, ...]:
        """The first of what is missing."""
        return self.missing[:SHOWN]


async def completeness(tx: Connection, org: int, rooms: Sequence[str], *, all_rooms: bool = False) -> dict[str, Completeness]:
    """What is known of each of these rooms; `all_rooms` when they are all that there are."""
    gaps: dict[str, list[Gap]] = defaultdict(list)
    statement = GAPS.replace("AND gap.room_id = ANY($2)", "AND $2::text[] IS NULL") if all_rooms else GAPS
    for row in await tx.fetch(statement, org, None if all_rooms else rooms):
        gaps[row["room_id"]].append(_gap(row))
    # While nothing is known of what points at a gap, nothing is claimed either.
    broken = {room: min((gap.depth or 0 for gap in gaps[room] if gap.cause != NOT_VISIBLE), default=None) for room in rooms}
    closed = {row["room_id"]: row for row in await tx.fetch(CLOSED, org, list(broken), list(broken.values()))}
    return {
        room: Completeness(tuple(gaps[room]), closed[room]["event_id"], closed[room]["sent_at"])
        if room in closed
        else Completeness(tuple(gaps[room]))
        for room in broken
    }


def _gap(row: Any) -> Gap:
    cause = row["cause"] if row["state"] == "kept" else None
    return Gap(row["event_id"], cause, row["found_at"], row["before_at"], row["depth"], row["before_id"])
