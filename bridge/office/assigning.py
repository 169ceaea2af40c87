"""How numbers and their people change in the database, and what of their messages waits or failed there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import asyncpg
from cryptography.exceptions import InvalidTag

from bridge.network.cloud import delivery
from bridge.numbers import Numbers
from bridge.origin import FOREIGN
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
CLOSE_PORTALS = "UPDATE portal SET closed_at = now() WHERE number_id = $1 AND closed_at IS NULL"
BY_SETTINGS = "settings"

FAILED = f"""
    SELECT 'in-' || id AS item, state, problem, attempts, arrived_at, coalesce({INBOX.number}, '') AS number_id
    FROM inbox WHERE state IN ('kept', 'failed') AND problem IS NOT NULL
    UNION ALL
    SELECT 'out-' || outbox.id, outbox.state, outbox.problem, outbox.attempts, outbox.arrived_at, coalesce(portal.number_id, '')
    FROM outbox LEFT JOIN portal USING (room_id) WHERE outbox.state IN ('kept', 'failed') AND outbox.problem IS NOT NULL
    UNION ALL
    SELECT 'delivery-' || id, 'rejected', reason, 0, arrived_at, '' FROM rejected WHERE retried_at IS NULL
    ORDER BY arrived_at DESC LIMIT 200
"""  # noqa: S608 - our own constant
# The notice that it could not be carried over stood in its place; the message itself now comes after it.
FORGET = """
    DELETE FROM carried USING inbox WHERE inbox.id = ANY ($1)
      AND inbox.dedupe = 'message|' || carried.number_id || '|' || carried.message_id
"""
FIND_IN = "SELECT id FROM inbox WHERE state IN ('kept', 'failed') AND problem IS NOT NULL AND sealed IS NOT NULL"
FIND_OUT = "SELECT id FROM outbox WHERE state IN ('kept', 'failed') AND problem IS NOT NULL AND sealed IS NOT NULL"
FIND_OF = f"""
    SELECT id, arrived_at FROM inbox
    WHERE state IN ('kept', 'failed') AND problem IS NOT NULL AND sealed IS NOT NULL AND {INBOX.number} = $1
"""  # noqa: S608
# What an account said of another's numbers is taken only by name, never with all the rest.
REJECTED = """
    SELECT id, sealed FROM rejected WHERE retried_at IS NULL AND (id = $1 OR ($1::bigint IS NULL AND reason <> $2)) ORDER BY id
"""
RETRIED = "UPDATE rejected SET retried_at = now() WHERE id = $1"
WAITING = """
    SELECT (SELECT count(*) FROM inbox WHERE state = 'waiting') AS in_waiting,
           (SELECT count(*) FROM outbox WHERE state = 'waiting') AS out_waiting,
           (SELECT count(*) FROM inbox WHERE state IN ('kept', 'failed') AND problem IS NOT NULL) AS in_failed,
           (SELECT count(*) FROM rejected WHERE retried_at IS NULL) AS deliveries_rejected
"""


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
                    await connection.execute(CLOSE_PORTALS, number.id)
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


async def remove(connection: Any, number_id: str, by: str) -> None:
    """Serve it no longer."""
    await connection.execute(REMOVE, number_id, by)
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


async def waiting(pool: asyncpg.Pool) -> dict[str, int]:
    """How much waits, and how much failed."""
    row = await pool.fetchrow(WAITING)
    return dict(row) if row else {}


async def retry(pool: asyncpg.Pool, seal: Seal, relay: Relay, item: str) -> int:
    """Put what failed back in its line, one item or all; returns how many."""
    kind, _, number = item.partition("-")
    if item and not (number.isascii() and number.isdecimal() and len(number) < 18):
        return 0
    which = [int(number)] if item else None
    done = 0
    if kind in ("", "in"):
        done += await _retry_in(pool, relay, [row["id"] for row in await pool.fetch(FIND_IN)], which)
    if kind in ("", "out"):
        ids = [row["id"] for row in await pool.fetch(FIND_OUT) if which is None or row["id"] in which]
        done += await relay.retry(OUTBOX, ids)
    if kind in ("", "delivery"):
        for row in await pool.fetch(REJECTED, which[0] if which else None, FOREIGN):
            await _retry_delivery(pool, seal, relay, row)
            done += 1
    return done


async def retry_of(pool: asyncpg.Pool, relay: Relay, numbers: Numbers, number_id: str) -> int:
    """Put everything that failed for one number back in its line, but what came when it was another official's or nobody's."""
    own = numbers.official(number_id)
    rows = await pool.fetch(FIND_OF, number_id)
    return await _retry_in(
        pool, relay, [row["id"] for row in rows if numbers.official_at(number_id, row["arrived_at"]) == own], None
    )


async def _retry_in(pool: asyncpg.Pool, relay: Relay, found: list[int], which: list[int] | None) -> int:
    ids = [one for one in found if which is None or one in which]
    await pool.execute(FORGET, ids)
    return await relay.retry(INBOX, ids)


async def _retry_delivery(pool: asyncpg.Pool, seal: Seal, relay: Relay, row: Any) -> None:
    """A delivery that was set aside; what can be read of it goes in line. One that can't is only marked as seen."""
    try:
        body = dict(delivery.parse(seal.open(row["sealed"], "rejected"))[0])
        changes = list(delivery.split(body))
    except (InvalidTag, ValueError, TypeError, RecursionError) as error:
        log.warning("A delivery that was set aside can't be read (%s); it is kept.", type(error).__name__)
        changes = []
    await relay.take_in(changes)
    await pool.execute(RETRIED, row["id"])
