"""The durable inbox and outbox: nothing is acknowledged before it is committed, nothing is carried over twice (promises 1, 2)."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
from mautrix.errors import MatrixConnectionError, MatrixRequestError

from bridge.network import NetworkError, NotUnderstood, NotYet
from bridge.sealing import Seal

log = logging.getLogger(__name__)

ADD_IN = "INSERT INTO inbox (dedupe, conversation, sealed) VALUES ($1, $2, $3) ON CONFLICT (dedupe) DO NOTHING"
ADD_OUT = "INSERT INTO outbox (event_id, room_id, sealed) VALUES ($1, $2, $3) ON CONFLICT (event_id) DO NOTHING"
REJECT = "INSERT INTO rejected (reason, sealed, digest) VALUES ($1, $2, $3) ON CONFLICT (digest) DO NOTHING"
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
MAX_ATTEMPTS = 600  # with waits of up to five minutes: two days, then people are told that it did not arrive
MAX_NOT_YET = 8  # some two minutes: what follows in the conversation waits as long
CARRY = "INSERT INTO carried (number_id, message_id, room_id, event_id) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"

KEEP_REACTION = """
    INSERT INTO reaction (number_id, target, sender, event_id) VALUES ($1, $2, $3, $4)
    ON CONFLICT (number_id, target, sender) DO UPDATE SET event_id = excluded.event_id
"""
COUNTS = """
    SELECT (SELECT count(*) FROM inbox WHERE state = 'waiting') AS in_waiting,
           (SELECT count(*) FROM inbox WHERE state = 'kept' AND problem IS NOT NULL) AS in_not_understood,
           (SELECT count(*) FROM inbox WHERE state = 'failed') AS in_failed,
           (SELECT count(*) FROM outbox WHERE state = 'waiting') AS out_waiting,
           (SELECT count(*) FROM outbox WHERE state IN ('failed', 'kept') AND problem IS NOT NULL) AS out_failed,
           (SELECT count(*) FROM rejected) AS deliveries_rejected
"""

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
        await self._pool.execute(REJECT, reason, self._seal.close(raw, "rejected"), hashlib.sha256(raw).digest())

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

    async def reaction_of(self, number_id: str, target: str, sender: str) -> str | None:
        """The event of somebody's present reaction to a WhatsApp message: there is at most one of each person."""
        query = "SELECT event_id FROM reaction WHERE number_id = $1 AND target = $2 AND sender = $3"
        found: str | None = await self._pool.fetchval(query, number_id, column(target), column(sender))
        return found

    async def keep_reaction(self, number_id: str, target: str, sender: str, event_id: str | None) -> None:
        """Remember somebody's present reaction; None when it was withdrawn."""
        place = number_id, column(target), column(sender)
        if event_id is None:
            await self._pool.execute("DELETE FROM reaction WHERE number_id = $1 AND target = $2 AND sender = $3", *place)
        else:
            await self._pool.execute(KEEP_REACTION, *place, event_id)

    async def counts(self) -> dict[str, int]:
        """How many things wait, were kept without being carried over, or failed."""
        row = await self._pool.fetchrow(COUNTS)
        return dict(row) if row else {}

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
        change: dict[str, Any] | None = None
        try:
            change = json.loads(self._seal.open(row["sealed"], row["key"]))
            state = await work(change)
        except (asyncpg.PostgresError, asyncpg.InterfaceError):
            raise
        except Exception as error:
            reason = _reason(error)
            log.warning("%s %d was not carried over (attempt %d): %s", queue.table, row["id"], row["attempts"] + 1, reason)
            if change is None or _final(error, row["attempts"] + 1):
                if change is not None:
                    await self._tell(give_up, change, reason)
                state = "kept" if isinstance(error, NotUnderstood) else "failed"
                await self._pool.execute(finish, row["id"], state, column(reason))
                return
            again = f"UPDATE {queue.table} SET attempts = attempts + 1, problem = $2, due_at = now() + make_interval(secs => $3) WHERE id = $1"  # noqa: S608, E501
            await self._pool.execute(again, row["id"], column(reason), float(min(300, 0.5 * 2 ** min(row["attempts"], 10))))
        else:
            await self._pool.execute(finish, row["id"], state, None)

    async def _tell(self, give_up: GiveUp, change: dict[str, Any], reason: str) -> None:
        try:
            await give_up(change, reason)
        except (asyncpg.PostgresError, asyncpg.InterfaceError):
            raise
        except Exception as error:
            log.warning("Nobody could be told that a message was not carried over: %s", _reason(error))

    def _close(self, value: dict[str, Any], key: str) -> bytes:
        return self._seal.close(json.dumps(value).encode(), column(key))


def _final(error: Exception, attempts: int) -> bool:
    """Whether trying again is of no use: the other side refused this message, not us and not for now."""
    if isinstance(error, NotUnderstood):
        return True
    if isinstance(error, NetworkError):
        return error.final or attempts >= MAX_ATTEMPTS
    if isinstance(error, MatrixRequestError):
        return error.http_status in (400, 413)
    if isinstance(error, MatrixConnectionError | OSError | TimeoutError):
        return False  # the homeserver is away: no fault of the message's
    return attempts >= MAX_NOT_YET


def _reason(error: Exception) -> str:
    """What went wrong, in words that hold nothing of the message (promise 7): only our own errors speak for themselves."""
    if isinstance(error, NetworkError | NotUnderstood | NotYet):
        return str(error)
    code = getattr(error, "errcode", None)
    return f"{type(error).__name__} {code}" if isinstance(code, str) else type(error).__name__


def column(text: str) -> str:
    """Text made fit for a Postgres column."""
    return text[:1000].replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
