"""How far the reading view is while it is made anew: after an upgrade, by `griffier rebuild`, when others are believed."""

from __future__ import annotations

from dataclasses import dataclass

from archiver.db import Connection
from archiver.ledger.claims import BRIDGE_STATE
from archiver.reading.bridges import bridges

ALL_ANEW = """
    INSERT INTO unread (org, room_id, event_id, late) SELECT org, room_id, event_id, true FROM record WHERE org = $1
    ON CONFLICT DO NOTHING
"""
# Of which network a room is, and whose there.
BRIDGED_ANEW = """
    INSERT INTO unread (org, room_id, event_id, late) SELECT org, room_id, event_id, true FROM record
    WHERE org = $1 AND type = ANY($2) AND state_key IS NOT NULL
    ON CONFLICT DO NOTHING
"""
BEGIN = """
    INSERT INTO reading_view (org, total) VALUES ($1, $2) ON CONFLICT (org) DO UPDATE SET total = excluded.total, done = 0
"""
WENT_ON = "UPDATE reading_view SET done = done + $2 WHERE org = $1 AND total > 0"
ENDED = "UPDATE reading_view SET total = 0, done = 0 WHERE org = $1 AND total > 0"
FOUND = "SELECT total, done FROM reading_view WHERE org = $1 AND total > 0"
BELIEVED = "SELECT bridges FROM reading_view WHERE org = $1"
BELIEVE = """
    INSERT INTO reading_view (org, bridges) VALUES ($1, $2) ON CONFLICT (org) DO UPDATE SET bridges = excluded.bridges
"""

LONG = 86_400.0  # seconds: all of an archive of years


@dataclass(frozen=True, slots=True)
class Progress:
    """Of so many records that were to be read again, so many have been; what has not can't be found yet."""

    done: int
    total: int


async def progress(tx: Connection, org: int) -> Progress | None:
    """How far it is; None when the view is whole."""
    row = await tx.fetchrow(FOUND, org)
    return Progress(min(row["done"], row["total"]), row["total"]) if row else None


async def begin(tx: Connection, org: int) -> int:
    """Have all of the view made anew; returns of how many records."""
    await tx.execute(ALL_ANEW, org, timeout=LONG)
    total = int(await tx.fetchval("SELECT count(*) FROM unread WHERE org = $1", org, timeout=LONG))
    await tx.execute(BEGIN, org, total)
    return total


async def went_on(tx: Connection, org: int, taken: int, *, last: bool) -> None:
    """So many of what is made anew are done; `last` when nothing is left in the queue."""
    if last:
        await tx.execute(ENDED, org)
    elif taken:
        await tx.execute(WENT_ON, org, taken)


async def again_if_others_are_believed(tx: Connection, org: int) -> None:
    """Read again what bridges say of rooms, if the archivers' settings name other bridges than they did."""
    now = list((await bridges(tx, org)).patterns)
    row = await tx.fetchrow(BELIEVED, org)
    if row is None or row["bridges"] != now:
        await tx.execute(BRIDGED_ANEW, org, list(BRIDGE_STATE))
        await tx.execute(BELIEVE, org, now)
