"""How numbers and their people change in the database, and what of their messages waits or failed there."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

import asyncpg
from cryptography.exceptions import InvalidTag

from bridge.network.cloud import delivery
from bridge.numbers import Numbers
from bridge.origin import FOREIGN, sort_out
from bridge.relay.failed import IN, NOT_CARRIED, OUT, REJECTED
from bridge.relay.queues import INBOX, OUTBOX
from bridge.relay.relay import Relay
from bridge.sealing import Seal
from bridge.settings import Number

log = logging.getLogger(__name__)

ADD = """
    INSERT INTO number (number_id, waba_id, display, label, added_by) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (number_id) DO UPDATE SET waba_id = excluded.waba_id, display = excluded.display, label = excluded.label,
        added_at = now(), added_by = excluded.added_by, paused_at = NULL, removed_at = NULL, removed_by = NULL
"""
# Colleagues were the former official's; the new one starts with none.
END_ALL = "UPDATE assignment SET valid_until = now(), ended_by = $2 WHERE number_id = $1 AND valid_until IS NULL"
FORGET_NAMES = "DELETE FROM address_book WHERE number_id = $1"  # they were the former official's
GIVE = "INSERT INTO assignment (number_id, user_id, role, set_by) VALUES ($1, $2, 'official', $3)"
REMOVE = "UPDATE number SET removed_at = now(), removed_by = $2 WHERE number_id = $1 AND removed_at IS NULL"
ADD_COLLEAGUE = """
    INSERT INTO assignment (number_id, user_id, role, set_by) VALUES ($1, $2, 'colleague', $3) ON CONFLICT DO NOTHING
"""
REMOVE_COLLEAGUE = """
    UPDATE assignment SET valid_until = now(), ended_by = $3
    WHERE number_id = $1 AND user_id = $2 AND role = 'colleague' AND valid_until IS NULL
"""
HISTORY = """
    SELECT user_id, role, valid_from, valid_until, set_by, ended_by FROM assignment
    WHERE number_id = $1 ORDER BY valid_from DESC, id DESC LIMIT 500
"""
IN_SETTINGS = "SELECT number_id, in_settings, removed_at FROM number WHERE number_id = ANY ($1) OR in_settings IS NOT NULL"
MARK = "UPDATE number SET in_settings = $2, display = $3, waba_id = $4, per_second = $5 WHERE number_id = $1"
# What waited there for an answer of the other side can't go any more: whoever wrote it is told.
GIVE_BACK = """
    UPDATE outbox SET state = 'waiting', verdict = 'kept', problem = $2, attempts = 0, due_at = now()
    WHERE state = 'held' AND room_id IN (SELECT room_id FROM portal WHERE number_id = $1 AND closed_at IS NULL)
"""
GIVEN_AWAY = (
    "het wachtte op een antwoord van de andere kant, en dit nummer is niet meer van u · "
    "it waited for an answer of the other side, and this number is not yours any more"
)
CLOSE_PORTALS = "UPDATE portal SET closed_at = now() WHERE number_id = $1 AND closed_at IS NULL"
BY_SETTINGS = "settings"

FAILED = f"""
    SELECT 'in-' || id AS item, state, problem, attempts, arrived_at, coalesce({INBOX.number}, '') AS number_id
    FROM inbox WHERE {IN}
    UNION ALL
    SELECT 'out-' || outbox.id, outbox.state, outbox.problem, outbox.attempts, outbox.arrived_at, coalesce(portal.number_id, '')
    FROM outbox LEFT JOIN portal USING (room_id) WHERE {OUT}
    UNION ALL
    SELECT 'delivery-' || id, 'rejected', reason, 0, arrived_at, '' FROM rejected WHERE {REJECTED}
    ORDER BY arrived_at DESC LIMIT 200
"""  # noqa: S608 - our own constant
# The notice that it could not be carried over stood in its place; the message itself now comes after it.
FORGET = """
    DELETE FROM carried USING inbox WHERE inbox.id = ANY ($1)
      AND inbox.dedupe = 'message|' || carried.number_id || '|' || carried.message_id
"""
FIND_IN = f"SELECT id FROM inbox WHERE {IN}"  # noqa: S608 - our own constant
BY_NAME = f"SELECT id FROM inbox WHERE id = $1 AND {NOT_CARRIED}"  # noqa: S608
FIND_OF = f"SELECT id, arrived_at FROM inbox WHERE {IN} AND {INBOX.number} = $1"  # noqa: S608
# What an account said of another's numbers is taken only by name, never with all the rest.
FIND_DELIVERY = f"""
    SELECT id, sealed, reason, signers FROM rejected
    WHERE {REJECTED} AND (id = $1 OR ($1::bigint IS NULL AND reason <> $2)) ORDER BY id
"""  # noqa: S608
RETRIED = "UPDATE rejected SET retried_at = now() WHERE id = $1"


async def take_over(pool: asyncpg.Pool, numbers: Sequence[Number], waba_id: str) -> None:
    """Take over the numbers of the settings file where it has changed: what an admin did since stays done."""
    async with pool.acquire() as connection, connection.transaction():
        known = {row["number_id"]: row for row in await connection.fetch(IN_SETTINGS, [number.id for number in numbers])}
        for number in numbers:
            row = known.pop(number.id, None)
            if row is None or (row["removed_at"] is not None and row["in_settings"] is None):
                await add(connection, number.id, number.account or waba_id, number.display_phone_number, "", BY_SETTINGS)
            if row is None or row["in_settings"] != number.official:
                await give(connection, number.id, number.official, BY_SETTINGS)
                if row is not None:
                    await close(connection, number.id)
            marks = number.display_phone_number, number.account or waba_id, number.messages_per_second
            await connection.execute(MARK, number.id, number.official, *marks)
        for number_id, row in known.items():  # no longer in the file
            await connection.execute("UPDATE number SET in_settings = NULL WHERE number_id = $1", number_id)
            if row["removed_at"] is None:
                await remove(connection, number_id, BY_SETTINGS)


async def add(connection: Any, number_id: str, waba_id: str, display: str, label: str, by: str) -> None:
    """Serve a number from now on."""
    await connection.execute(ADD, number_id, waba_id, display[:50], label[:100], by)


async def give(connection: Any, number_id: str, official: str, by: str) -> None:
    """Make it an official's; its former one's assignment ends, and its colleagues'."""
    await connection.execute(END_ALL, number_id, by)
    await connection.execute(FORGET_NAMES, number_id)
    await connection.execute(GIVE, number_id, official, by)


async def close(connection: Any, number_id: str) -> None:
    """Let the number's conversations be over in the rooms that there are."""
    await connection.execute(GIVE_BACK, number_id, GIVEN_AWAY)
    await connection.execute(CLOSE_PORTALS, number_id)


async def remove(connection: Any, number_id: str, by: str) -> None:
    """Serve it no longer."""
    await connection.execute(REMOVE, number_id, by)
    await close(connection, number_id)
    await connection.execute(END_ALL, number_id, by)
    await connection.execute(FORGET_NAMES, number_id)


async def add_colleague(pool: asyncpg.Pool, number_id: str, user_id: str, by: str) -> None:
    """Let a colleague speak for a number too."""
    await pool.execute(ADD_COLLEAGUE, number_id, user_id, by)


async def remove_colleague(pool: asyncpg.Pool, number_id: str, user_id: str, by: str) -> None:
    """No longer let a colleague speak for it."""
    await pool.execute(REMOVE_COLLEAGUE, number_id, user_id, by)


async def history(pool: asyncpg.Pool, number_id: str) -> list[dict[str, Any]]:
    """Who might speak for a number, and when, the latest first."""
    return [dict(row) for row in await pool.fetch(HISTORY, number_id)]


async def failed(pool: asyncpg.Pool) -> list[dict[str, Any]]:
    """What could not be carried over."""
    return [dict(row) for row in await pool.fetch(FAILED)]


async def retry(pool: asyncpg.Pool, seal: Seal, relay: Relay, numbers: Numbers, item: str) -> int:
    """Put what failed back in its line, returning how much: one item, or everything that came from WhatsApp.

    What is to go to WhatsApp goes by its name only: who wrote it was told that it did not, and may have said it otherwise since.
    """
    kind, _, number = item.partition("-")
    if item and not (number.isascii() and number.isdecimal() and len(number) < 18):
        return 0
    which = int(number) if item else None
    done = 0
    if kind in ("", "in"):
        found = await pool.fetch(FIND_IN) if which is None else await pool.fetch(BY_NAME, which)
        done += await _retry_in(pool, relay, [row["id"] for row in found])
    if kind == "out" and which is not None:
        done += await relay.retry(OUTBOX, [which])
    if kind in ("", "delivery"):
        for row in await pool.fetch(FIND_DELIVERY, which, FOREIGN):
            done += await _retry_delivery(pool, seal, relay, numbers, row, by_name=bool(item))
    return done


async def retry_of(pool: asyncpg.Pool, relay: Relay, numbers: Numbers, number_id: str) -> int:
    """Put everything that failed for one number back in its line, but what came when it was another official's or nobody's."""
    own = numbers.official(number_id)
    rows = await pool.fetch(FIND_OF, number_id)
    own_rows = [row["id"] for row in rows if numbers.official_at(number_id, row["arrived_at"]) == own]
    return await _retry_in(pool, relay, own_rows)


async def _retry_in(pool: asyncpg.Pool, relay: Relay, ids: list[int]) -> int:
    await pool.execute(FORGET, ids)
    return await relay.retry(INBOX, ids)


async def _retry_delivery(pool: asyncpg.Pool, seal: Seal, relay: Relay, numbers: Numbers, row: Any, *, by_name: bool) -> int:
    """A delivery that was set aside: what of it can be read and is its signer's to say goes in line; 1 if there was any.

    What is another account's is set aside again. Only an admin who names it takes it nevertheless, as what nobody knows the
    signer of any more.
    """
    try:
        body = dict(delivery.parse(seal.open(row["sealed"], "rejected"))[0])
        told = None
        if not (by_name and (row["reason"] == FOREIGN or row["signers"] is None)):
            told = sort_out(body, numbers, frozenset(row["signers"] or ()))
        changes = list(delivery.split(told.body if told else body))
    except (InvalidTag, ValueError, TypeError, RecursionError) as error:
        log.warning("A delivery that was set aside can't be read (%s); it is kept.", type(error).__name__)
        return 0
    if not changes:
        log.warning("Nothing of delivery-%d can be taken: it has no changes, or none that its signer may tell of.", row["id"])
        return 0
    if told and told.foreign:
        await relay.reject(json.dumps(body | {"entry": told.foreign}).encode(), FOREIGN, row["signers"] or ())
    await relay.take_in(changes)
    await pool.execute(RETRIED, row["id"])
    return 1
