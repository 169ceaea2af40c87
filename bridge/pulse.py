"""Signs of life: when WhatsApp last called for each number, since when an answer is due, and the bridge's own heartbeat."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

READ = "SELECT number_id, heard_at, waits_since FROM pulse"
# Only ever forward: two processes that overlap at an update take nothing back.
WRITE = """
    INSERT INTO pulse (number_id, heard_at, waits_since) VALUES ($1, $2, $3)
    ON CONFLICT (number_id) DO UPDATE SET
        heard_at = greatest(pulse.heard_at, excluded.heard_at), waits_since = excluded.waits_since
"""
LAST_BEAT = "SELECT at FROM bridge_state WHERE name = 'heartbeat'"
BEAT = """
    INSERT INTO bridge_state (name, value, at) VALUES ('heartbeat', '', $1)
    ON CONFLICT (name) DO UPDATE SET at = excluded.at
"""

BEAT_EVERY = 10.0  # seconds
DOWN = timedelta(seconds=60)  # without a heartbeat: less is a restart, and Meta delivers again within it


@dataclass(frozen=True, slots=True)
class Signs:
    """What a number has shown of itself."""

    heard_at: datetime | None = None  # the last delivery, of any kind, that was signed
    waits_since: datetime | None = None  # the first message sent after it: its status must come


def silent_since(signs: Signs, now: datetime, limit: timedelta) -> datetime | None:
    """Since when WhatsApp calls no more, if that can be told: something was sent, and for longer than `limit` nothing was heard.

    WhatsApp tells the status of every message that it accepted, most often within a second. While nothing is sent, a webhook that
    is silent and one that has nothing to tell look alike.
    """
    if signs.waits_since is None or now - signs.waits_since <= limit:
        return None
    return signs.waits_since


def was_down(last_beat: datetime | None, now: datetime) -> datetime | None:
    """Since when the bridge itself was not there, judged at its start."""
    return last_beat if last_beat is not None and now - last_beat > DOWN else None


class Pulse:
    """The signs of every number, in memory; written down with each heartbeat."""

    def __init__(self) -> None:
        self._signs: dict[str, Signs] = {}
        self._changed: set[str] = set()

    async def load(self, pool: asyncpg.Pool) -> datetime | None:
        """Read what was written down; returns the last heartbeat."""
        for row in await pool.fetch(READ):
            self._signs[row["number_id"]] = Signs(row["heard_at"], row["waits_since"])
        beat: datetime | None = await pool.fetchval(LAST_BEAT)
        return beat

    def of(self, number_id: str) -> Signs:
        """What a number has shown."""
        return self._signs.get(number_id, Signs())

    def heard(self, number_id: str, at: datetime) -> None:
        """WhatsApp called for a number."""
        self._signs[number_id] = Signs(at)
        self._changed.add(number_id)

    def sent(self, number_id: str, at: datetime) -> None:
        """WhatsApp accepted a message of a number."""
        signs = self.of(number_id)
        if signs.waits_since is None:
            self._signs[number_id] = Signs(signs.heard_at, at)
            self._changed.add(number_id)

    async def beat(self, pool: asyncpg.Pool, now: datetime) -> None:
        """Write down what has changed, and that the bridge lives."""
        changed, self._changed = self._changed, set()
        try:
            await pool.executemany(WRITE, [(n, self._signs[n].heard_at, self._signs[n].waits_since) for n in sorted(changed)])
            await pool.execute(BEAT, now)
        except BaseException:
            self._changed |= changed
            raise
