"""A room read as a chat: what was said and what happened in the order in which people saw it, a page at a time, either way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from archiver.db import Connection, Pool, tenant_tx
from archiver.ledger.sealing import Vault
from archiver.reading.membership import bounds, limited
from archiver.reading.rooms import Room
from archiver.reading.timeline import Cursor, Entry, Names, Row, rows

PAGE = 200
EARLIEST, LATEST = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
# Messages and what happened beside them, each walked along its own index, the next of both at a time.
WALK = """
    (SELECT event_id, sent_at, depth, true AS said FROM message
     WHERE org = $1 AND room_id = $2 AND (sent_at, depth, event_id) {sign} ($3, $4, $5) AND sent_at >= $6 AND sent_at < $7
     ORDER BY sent_at {way}, depth {way}, event_id {way} LIMIT $8)
    UNION ALL
    (SELECT event_id, sent_at, depth, false FROM record
     WHERE org = $1 AND room_id = $2 AND state_key IS NOT NULL AND (sent_at, depth, event_id) {sign} ($3, $4, $5)
       AND sent_at >= $6 AND sent_at < $7 AND {seen}
     ORDER BY sent_at {way}, depth {way}, event_id {way} LIMIT $8)
    ORDER BY sent_at {way}, depth {way}, event_id {way} LIMIT $8
"""
# Of a room's state officials may know what was so before they came (its name, its members), but not read when it came to be.
SEEN = """
    EXISTS (SELECT FROM membership AS m WHERE m.org = record.org AND m.room_id = record.room_id
            AND record.depth BETWEEN m.from_depth AND m.until_depth AND record.sent_at BETWEEN m.from_at AND m.until_at)
"""
ANYTHING = "true"
THREAD = """
    SELECT event_id, sent_at, depth, true AS said FROM message
    WHERE org = $1 AND room_id = $2 AND thread = $3 AND (sent_at, depth, event_id) > ($4, $5, $6)
    ORDER BY sent_at, depth, event_id LIMIT $7
"""
PLACE_OF_MESSAGE = "SELECT event_id, sent_at, depth, true AS said FROM message WHERE org = $1 AND room_id = $2 AND event_id = $3"
PLACE_OF_STATE = """
    SELECT event_id, sent_at, depth, false AS said FROM record
    WHERE org = $1 AND room_id = $2 AND event_id = $3 AND state_key IS NOT NULL AND {seen}
"""
RELATED = "SELECT relates_to FROM record WHERE org = $1 AND room_id = $2 AND event_id = $3"


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of a room's timeline, the oldest first, and where it goes on on either side."""

    rows: tuple[Row, ...]
    older: Cursor | None = None  # what is before this place
    newer: Cursor | None = None  # what is after this place


async def entries(
    pool: Pool, vault: Vault, room: Room, start: datetime | None = None, end: datetime | None = None
) -> AsyncIterator[Row]:
    """All of a room from `start` to before `end`, the oldest first; each page in a transaction of its own."""
    cursor, names = Cursor(EARLIEST, 0, ""), Names(room)
    while True:
        async with tenant_tx(pool, vault.org) as tx:
            page = await _walk(tx, vault, room, cursor, PAGE, start=start, end=end)
            shown = await rows(tx, vault, names, page)
        for row in shown:
            yield row
        if len(page) < PAGE:
            return
        cursor = _cursor(page[-1])


async def page_before(tx: Connection, vault: Vault, room: Room, cursor: Cursor | None, size: int) -> Page:
    """The last `size` before a place, or the newest."""
    found = await _walk(tx, vault, room, cursor or Cursor(LATEST, 0, ""), size + 1, back=True)
    places = found[:size][::-1]
    newer = _cursor(places[-1]) if places and cursor and await _walk(tx, vault, room, _cursor(places[-1]), 1) else None
    older = _cursor(places[0]) if len(found) > size else None
    return Page(tuple(await rows(tx, vault, Names(room), places)), older, newer)


async def page_after(tx: Connection, vault: Vault, room: Room, cursor: Cursor, size: int) -> Page:
    """The first `size` after a place."""
    found = await _walk(tx, vault, room, cursor, size + 1)
    places = found[:size]
    older = _cursor(places[0]) if places and await _walk(tx, vault, room, _cursor(places[0]), 1, back=True) else None
    newer = _cursor(places[-1]) if len(found) > size else None
    return Page(tuple(await rows(tx, vault, Names(room), places)), older, newer)


async def page_around(tx: Connection, vault: Vault, room: Room, event_id: str, size: int) -> tuple[Page, str] | None:
    """The page that an event is in the middle of, and the row that shows it: of an edit or a reaction, its message."""
    row = await row_of(tx, vault, room.room_id, event_id)
    if row is None:
        return None
    before = await _walk(tx, vault, room, _cursor(row), size // 2 + 1, back=True)
    after = await _walk(tx, vault, room, _cursor(row), size // 2 + 1)
    places = [*before[: size // 2][::-1], row, *after[: size // 2]]
    older = _cursor(places[0]) if len(before) > size // 2 else None
    newer = _cursor(places[-1]) if len(after) > size // 2 else None
    return Page(tuple(await rows(tx, vault, Names(room), places)), older, newer), row["event_id"]


async def thread(
    tx: Connection, vault: Vault, room: Room, root: str, cursor: Cursor | None, size: int
) -> tuple[Entry | None, Page]:
    """What a thread began with, if it is there to be read, and the first replies in it after a place."""
    place = cursor or Cursor(EARLIEST, 0, "")
    found = await tx.fetch(THREAD, vault.org, room.room_id, root, place.sent_at, place.depth, place.event_id, size + 1)
    began = await tx.fetch(PLACE_OF_MESSAGE, vault.org, room.room_id, root)
    shown = await rows(tx, vault, Names(room), [*began, *found[:size]])
    first = shown[0] if began and shown and isinstance(shown[0], Entry) else None
    newer = _cursor(found[size - 1]) if len(found) > size else None
    return first, Page(tuple(shown[1:] if first else shown), None, newer)


async def row_of(tx: Connection, vault: Vault, room_id: str, event_id: str) -> Any:
    """The place in the timeline where an event is shown; None when it is not there, or not this reader's to see."""
    seen = SEEN if await limited(tx) else ANYTHING
    for _ in range(3):  # the deletion of a reaction to a message is two steps from it
        for statement in (PLACE_OF_MESSAGE, PLACE_OF_STATE.format(seen=seen)):
            row = await tx.fetchrow(statement, vault.org, room_id, event_id)
            if row is not None:
                return row
        related = await tx.fetchval(RELATED, vault.org, room_id, event_id)
        if not isinstance(related, str):
            break
        event_id = related
    return None


async def _walk(
    tx: Connection,
    vault: Vault,
    room: Room,
    place: Cursor,
    count: int,
    *,
    back: bool = False,
    start: datetime | None = None,
    end: datetime | None = None,
) -> list[Any]:
    """The places next to this one, the nearest first."""
    own = await limited(tx)
    seen = SEEN if own else ANYTHING
    if own:  # not past a million messages of after they left
        first, last = await bounds(tx, vault.org, [room.room_id])
        start, end = max(start or first, first), min(end or last, last)
    statement = WALK.format(sign="<" if back else ">", way="DESC" if back else "ASC", seen=seen)
    at = place.sent_at, place.depth, place.event_id
    found: list[Any] = await tx.fetch(statement, vault.org, room.room_id, *at, start or EARLIEST, end or LATEST, count)
    return found


def _cursor(row: Any) -> Cursor:
    return Cursor(row["sent_at"], row["depth"], row["event_id"])
