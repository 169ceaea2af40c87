"""The message before a message and the one after it, for who wants to see what it was about."""

from __future__ import annotations

from archiver.db import Connection
from archiver.ledger.sealing import Vault
from archiver.reading.message import Message
from archiver.reading.project import fetch, messages

BESIDE = """
    (SELECT event_id FROM message WHERE org = $1 AND room_id = $2 AND (sent_at, depth, event_id) < ($3, $4, $5)
     ORDER BY sent_at DESC, depth DESC, event_id DESC LIMIT 1)
    UNION ALL
    (SELECT event_id FROM message WHERE org = $1 AND room_id = $2 AND (sent_at, depth, event_id) > ($3, $4, $5)
     ORDER BY sent_at, depth, event_id LIMIT 1)
"""


async def around(tx: Connection, vault: Vault, message: Message) -> tuple[Message | None, Message | None]:
    """(the one before, the one after), as far as the transaction shows them."""
    record = message.record
    place = (record.sent_at, record.depth, record.event_id)
    rows = await tx.fetch(BESIDE, vault.org, record.room_id, *place)
    found = await messages(tx, vault, await fetch(tx, vault, [(record.room_id, row["event_id"]) for row in rows]))
    before = next((each for each in found if _place(each) < place), None)
    return before, next((each for each in found if _place(each) > place), None)


def _place(message: Message) -> tuple[object, ...]:
    return message.record.sent_at, message.record.depth, message.record.event_id
