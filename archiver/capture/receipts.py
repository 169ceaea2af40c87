"""Read receipts, kept when the organisation wants them (`archiver.read_receipts`): who had read up to which message, and when."""

from __future__ import annotations

from collections.abc import Iterable

from archiver.capture.page import RoomPage
from archiver.db import Connection
from archiver.ledger.canonical import column
from archiver.ledger.record import moment

# A reader moves on: each place where they were is a row of its own, and none is altered.
ADD = """
    INSERT INTO receipt (org, room_id, event_id, user_id, thread, read_at)
    SELECT $1, r.* FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[]) AS r ON CONFLICT DO NOTHING
"""


async def keep(tx: Connection, org: int, rooms: Iterable[RoomPage]) -> None:
    """Add the receipts of a page, in the transaction that commits it."""
    rows = [
        (room.room_id, column(receipt.event_id), column(receipt.user_id), column(receipt.thread), moment(receipt.at))
        for room in rooms
        for receipt in room.receipts
    ]
    if rows:
        await tx.execute(ADD, org, *zip(*rows, strict=True))
