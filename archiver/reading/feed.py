"""The messages of a room without what happened beside them, as programs read them: by time, or by what is new or changed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from archiver.db import Connection
from archiver.ledger.sealing import Vault
from archiver.reading.membership import bounds, limited
from archiver.reading.rooms import Room
from archiver.reading.timeline import Cursor, Entry, Names, rows

LATEST = Cursor(datetime(9999, 12, 31, tzinfo=UTC), 0, "")
BEFORE = """
    SELECT event_id, sent_at, depth, true AS said FROM message
    WHERE org = $1 AND room_id = $2 AND (sent_at, depth, event_id) < ($3, $4, $5)
    ORDER BY sent_at DESC, depth DESC, event_id DESC LIMIT $6
"""
CHANGED = """
    SELECT event_id, sent_at, depth, sequence, true AS said FROM message
    WHERE org = $1 AND room_id = $2 AND sequence > $3 ORDER BY sequence LIMIT $4
"""
ONE = "SELECT event_id, sent_at, depth, true AS said FROM message WHERE org = $1 AND room_id = $2 AND event_id = $3"


async def before(tx: Connection, vault: Vault, room: Room, place: Cursor | None, size: int) -> tuple[list[Entry], Cursor | None]:
    """The last `size` messages before a place, the newest first, and the place to go on from (None at the beginning)."""
    place = place or LATEST
    if await limited(tx):  # not past a million messages of after they left
        _, end = await bounds(tx, vault.org, [room.room_id])
        place = place if place.sent_at < end else Cursor(end, 0, "")
    page = await tx.fetch(BEFORE, vault.org, room.room_id, place.sent_at, place.depth, place.event_id, size)
    more = Cursor(page[-1]["sent_at"], page[-1]["depth"], page[-1]["event_id"]) if len(page) == size else None
    return await _entries(tx, vault, room, page), more


async def changed(tx: Connection, vault: Vault, room: Room, after: int, size: int) -> tuple[list[Entry], int, bool]:
    """The first `size` messages that came or changed after a number, up to which number that is, and whether there are more.

    Not in the order of the conversation: an old message that is edited now comes last. A message that is here once more is as
    it is now.
    """
    page = await tx.fetch(CHANGED, vault.org, room.room_id, after, size)
    return await _entries(tx, vault, room, page), page[-1]["sequence"] if page else after, len(page) == size


async def one(tx: Connection, vault: Vault, room: Room, event_id: str) -> Entry | None:
    """A message of a room by its id."""
    return next(iter(await _entries(tx, vault, room, await tx.fetch(ONE, vault.org, room.room_id, event_id))), None)


async def _entries(tx: Connection, vault: Vault, room: Room, page: Sequence[Any]) -> list[Entry]:
    return [row for row in await rows(tx, vault, Names(room), page) if isinstance(row, Entry)]
