"""WhatsApp's window: for 24 hours after somebody said something they can be written to freely (Meta: customer service window)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import asyncpg

from bridge.network import Incoming
from bridge.relay import column

OPEN_FOR = timedelta(hours=24)
TRIED_FOR = timedelta(days=8)  # Meta delivers a webhook for seven days: what is said now is no older
SAID = """
    INSERT INTO spoken (number_id, contact, at) VALUES ($1, $2, $3)
    ON CONFLICT (number_id, contact) DO UPDATE SET at = greatest(spoken.at, excluded.at)
"""
FORGET = "DELETE FROM spoken WHERE number_id = $1 AND contact = $2"
HEARD = "UPDATE carried SET heard = true WHERE number_id = $1 AND message_id = $2"
CLOSE = """
    INSERT INTO spoken (number_id, contact, at) VALUES ($1, $2, $4)
    ON CONFLICT (number_id, contact) DO UPDATE SET at = least(spoken.at, excluded.at) WHERE spoken.at < $3
"""


def now() -> datetime:
    return datetime.now(UTC)


class Window:
    """When the other side of each conversation last said something."""

    def __init__(self, pool: asyncpg.Pool, clock: Callable[[], datetime] = now) -> None:
        self._pool = pool
        self._clock = clock

    async def heard(self, incoming: Incoming, contact: str) -> None:
        """The other side of the conversation with `contact` said something; it opens the window."""
        now = self._clock()
        if incoming.sent_at is not None and incoming.sent_at > now - TRIED_FOR:
            # A clock that is ahead of ours keeps no window open for longer.
            await self._pool.execute(SAID, incoming.number_id, column(contact), min(incoming.sent_at, now))
        else:  # a time that can't be: WhatsApp itself has to say whether it is open
            await self._pool.execute(FORGET, incoming.number_id, column(contact))
        if incoming.kind not in ("reaction", "edit", "revoke"):
            await self._pool.execute(HEARD, incoming.number_id, column(incoming.message_id))

    async def closed(self, number_id: str, contact: str) -> bool:
        """Whether only templates are allowed now. Of whom nothing is known, WhatsApp itself has to say so."""
        query = "SELECT at FROM spoken WHERE number_id = $1 AND contact = $2"
        at: datetime | None = await self._pool.fetchval(query, number_id, column(contact))
        return at is not None and self._clock() >= at + OPEN_FOR

    async def shut(self, number_id: str, contact: str, by: datetime | None = None) -> None:
        """WhatsApp said at this time that it was closed, whatever we thought; what was said after it has opened it again."""
        by = by or self._clock()
        await self._pool.execute(CLOSE, number_id, column(contact), by, by - OPEN_FOR)
