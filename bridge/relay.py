"""The durable inbox and outbox: nothing is acknowledged before it is committed, nothing is carried over twice (promises 1, 2)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from bridge.network import NetworkError
from bridge.sealing import Seal

log = logging.getLogger(__name__)

ADD_IN = "INSERT INTO inbox (dedupe, conversation, sealed) VALUES ($1, $2, $3) ON CONFLICT (dedupe) DO NOTHING"
ADD_OUT = "INSERT INTO outbox (event_id, room_id, sealed) VALUES ($1, $2, $3) ON CONFLICT (event_id) DO NOTHING"
REJECT = "INSERT INTO rejected (reason, sealed) VALUES ($1, $2)"
# In order within a conversation: whatever waits holds up what came after it there, and nothing elsewhere.
NEXT_IN = """
    SELECT id, dedupe AS key, sealed, attempts FROM inbox AS first
    WHERE state = 'waiting' AND due_at <= now()
      AND NOT EXISTS (SELECT FROM inbox AS before
                      WHERE before.conversation = first.conversation AND before.state = 'waiting' AND before.id < first.id)
    ORDER BY id LIMIT 1
"""
NEXT_OUT = """
    SELECT id, event_id AS key, sealed, attempts FROM outbox AS first
    WHERE state = 'waiting' AND due_at <= now()
      AND NOT EXISTS (SELECT FROM outbox AS before
                      WHERE before.room_id = first.room_id AND before.state = 'waiting' AND before.id < first.id)
    ORDER BY id LIMIT 1
"""
MAX_ATTEMPTS = 40  # with waits of up to five minutes: some three hours, then a person must look
CARRY = "INSERT INTO carried (number_id, message_id, room_id, event_id) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"

Work = Callable[[dict[str, Any]], Awaitable[str]]
GiveUp = Callable[[dict[str, Any], str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Queue:
    """One direction: its table, its next row, and what `done` means."""

    table: str
    next: str


INBOX, OUTBOX = Queue("inbox", NEXT_IN), Queue("outbox", NEXT_OUT)


class Relay:
    """The two queues in the bridge's database."""

    def __init__(self, pool: asyncpg.Pool, seal: Seal) -> None:
        self._pool = pool
        self._seal = seal

    async def take_in(self, changes: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
        """Commit changes of a webhook delivery; on return they are safe."""
        rows = [(column(key), column(conversation), self._close(change, key)) for key, conversation, change in changes]
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.executemany(ADD_IN, rows)

    async def reject(self, raw: bytes, reason: str) -> None:
        """Keep a delivery that is signed but can't be read."""
        await self._pool.execute(REJECT, reason, self._seal.close(raw, "rejected"))

    async def take_out(self, events: Sequence[dict[str, Any]]) -> None:
        """Commit Matrix events that must go to WhatsApp; on return they are safe."""
        rows = [(column(event["event_id"]), column(event["room_id"]), self._close(event, event["event_id"])) for event in events]
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.executemany(ADD_OUT, rows)

    async def carried(self, number_id: str, message_id: str, room_id: str, event_id: str) -> None:
        """Remember which WhatsApp message is which Matrix event."""
        await self._pool.execute(CARRY, number_id, column(message_id), room_id, event_id)

    async def event_of(self, number_id: str, message_id: str) -> str | None:
        """The Matrix event of a WhatsApp message."""
        query = "SELECT event_id FROM carried WHERE number_id = $1 AND message_id = $2"
        found: str | None = await self._pool.fetchval(query, number_id, column(message_id))
        return found

    async def message_of(self, event_id: str) -> str | None:
        """The WhatsApp message of a Matrix event."""
        found: str | None = await self._pool.fetchval("SELECT message_id FROM carried WHERE event_id = $1", column(event_id))
        return found

    async def run(self, queue: Queue, work: Work, give_up: GiveUp, stop: asyncio.Event) -> None:
        """Carry over, one at a time in order, until told to stop. `work` returns the state to leave: done or kept."""
        while not stop.is_set():
            try:
                row = await self._pool.fetchrow(queue.next)
                if row is not None:
                    await self._one(queue, row, work, give_up)
                    continue
                pause = 0.1
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                log.warning("The bridge's database does not answer (%s); trying again.", type(error).__name__)
                pause = 1.0
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)

    async def _one(self, queue: Queue, row: Any, work: Work, give_up: GiveUp) -> None:
        finish = f"UPDATE {queue.table} SET state = $2, problem = $3 WHERE id = $1"  # noqa: S608 - our own constant
        change = json.loads(self._seal.open(row["sealed"], row["key"]))
        try:
            state = await work(change)
        except ValueError as error:
            log.warning("Kept, not carried over (%s %d): %s", queue.table, row["id"], error)
            await give_up(change, str(error))
            await self._pool.execute(finish, row["id"], "kept", column(str(error)))
        except Exception as error:
            final = (isinstance(error, NetworkError) and error.final) or row["attempts"] + 1 >= MAX_ATTEMPTS
            reason = str(error) if isinstance(error, NetworkError) else f"{type(error).__name__}: {error}"
            log.warning("%s %d failed (attempt %d): %s", queue.table, row["id"], row["attempts"] + 1, reason)
            if final:
                await give_up(change, reason)
                await self._pool.execute(finish, row["id"], "failed", column(reason))
                return
            again = f"UPDATE {queue.table} SET attempts = attempts + 1, problem = $2, due_at = now() + make_interval(secs => $3) WHERE id = $1"  # noqa: S608, E501
            await self._pool.execute(again, row["id"], column(reason), float(min(300, 0.5 * 2 ** min(row["attempts"], 10))))
        else:
            await self._pool.execute(finish, row["id"], state, None)

    def _close(self, value: dict[str, Any], key: str) -> bytes:
        return self._seal.close(json.dumps(value).encode(), column(key))


def column(text: str) -> str:
    """Text made fit for a Postgres column."""
    return text[:1000].replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
