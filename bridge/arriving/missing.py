"""Messages whose file is still to come: shown without it, and filled in when it is there or given up."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import asyncpg
from cryptography.exceptions import InvalidTag

from bridge.network import NetworkError
from bridge.relay.relay import column
from bridge.sealing import Seal
from bridge.stopping import stopped

log = logging.getLogger(__name__)

# Seconds until each next attempt, some four days in all: WhatsApp keeps a file for seven. Few, since it blocks who fails often.
WAITS = (30, 300, 1800, 7200, 6 * 3600, 12 * 3600, 24 * 3600, 24 * 3600, 24 * 3600)
TROUBLES = 600  # attempts at showing it, should that be what fails: some two days
EVERY = 5.0  # seconds between two looks at what is due
ADD = """
    INSERT INTO missing_file (number_id, message_id, room_id, event_id, sealed, due_at)
    VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6)) ON CONFLICT DO NOTHING
"""
ONE = (
    "SELECT room_id, event_id, sealed, attempts, troubles, number_id, message_id FROM missing_file"
    " WHERE number_id = $1 AND message_id = $2"
)
DUE = """
    SELECT room_id, event_id, sealed, attempts, troubles, number_id, message_id FROM missing_file
    WHERE due_at <= now() ORDER BY due_at LIMIT 1
"""
LATER = """
    UPDATE missing_file SET attempts = attempts + $4, troubles = troubles + $5, due_at = now() + make_interval(secs => $3)
    WHERE number_id = $1 AND message_id = $2
"""
DONE = "DELETE FROM missing_file WHERE number_id = $1 AND message_id = $2"


@dataclass(frozen=True, slots=True)
class Missing:
    """A message that is shown without its file."""

    number_id: str
    message_id: str
    room_id: str
    event_id: str
    attempts: int  # at fetching it
    troubles: int  # in showing it
    sealed: bytes | None


class MissingFiles:
    """Every message that waits for its file."""

    def __init__(self, pool: asyncpg.Pool, seal: Seal) -> None:
        self._pool = pool
        self._seal = seal

    async def add(self, number_id: str, message_id: str, place: tuple[str, str], change: dict[str, Any] | None) -> None:
        """Note a message shown at (room, event); `change` to fetch its file again, None when the network will send another."""
        sealed = None if change is None else self._seal.close(json.dumps(change).encode(), _context(number_id, message_id))
        await self._pool.execute(ADD, number_id, column(message_id), *place, sealed, None if change is None else float(WAITS[0]))

    async def of(self, number_id: str, message_id: str) -> Missing | None:
        """The message with this id, if it waits for its file."""
        row = await self._pool.fetchrow(ONE, number_id, column(message_id))
        return Missing(**row) if row else None

    async def done(self, missing: Missing) -> None:
        """It is there, or given up."""
        await self._pool.execute(DONE, missing.number_id, missing.message_id)

    async def run(self, work: Callable[[dict[str, Any], Missing, bool], Awaitable[None]], stop: asyncio.Event) -> None:
        """Try again what is due, until told to stop; `work` is told whether it is the last time, and raises NetworkError."""
        while not stop.is_set():
            try:
                row = await self._pool.fetchrow(DUE)
                if row is not None:
                    await self._one(Missing(**row), work)
                    continue
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                log.warning("The files that are still to come can't be looked at (%s); trying again.", type(error).__name__)
            await stopped(stop, EVERY)

    async def _one(self, missing: Missing, work: Callable[[dict[str, Any], Missing, bool], Awaitable[None]]) -> None:
        try:
            change = json.loads(self._seal.open(missing.sealed or b"", _context(missing.number_id, missing.message_id)))
        except (InvalidTag, ValueError):
            await self.done(missing)
            return
        try:
            await work(change, missing, missing.attempts + 1 >= len(WAITS))
            await self.done(missing)
        except NetworkError as error:
            # That the network can't be reached at all says nothing of the file.
            log.info("A file could not be fetched yet: %s", error)
            counted = error.scope == "message"
            wait = WAITS[min(missing.attempts + 1, len(WAITS) - 1)] if counted else 60
            await self._pool.execute(LATER, missing.number_id, missing.message_id, float(max(wait, error.after)), int(counted), 0)
        except (asyncpg.PostgresError, asyncpg.InterfaceError):
            raise
        except Exception as error:
            log.warning("A file that came late could not be shown yet: %s", type(error).__name__)
            if missing.troubles >= TROUBLES:  # its room is gone, for instance
                await self.done(missing)
            else:
                await self._pool.execute(LATER, missing.number_id, missing.message_id, 300.0, 0, 1)


def _context(number_id: str, message_id: str) -> str:
    return f"missing|{number_id}|{column(message_id)}"
