"""The contacts of the business phone: how an official has written people down. Sealed, and for that official's own rooms only."""

from __future__ import annotations

from datetime import UTC, datetime

import asyncpg
from cryptography.exceptions import InvalidTag

from bridge.network import ContactSynced
from bridge.relay import column
from bridge.sealing import Seal

# The newest word counts, in whatever order they come.
KEEP = """
    INSERT INTO address_book (number_id, wa_id, sealed, said_at) VALUES ($1, $2, $3, $4)
    ON CONFLICT (number_id, wa_id) DO UPDATE SET sealed = excluded.sealed, said_at = excluded.said_at
    WHERE address_book.said_at <= excluded.said_at
"""
NAME = "SELECT sealed FROM address_book WHERE number_id = $1 AND wa_id = $2"
CACHED = 20_000


class AddressBook:
    """Every number's own."""

    def __init__(self, pool: asyncpg.Pool, seal: Seal) -> None:
        self._pool = pool
        self._seal = seal
        self._known: dict[tuple[str, str], str] = {}

    async def keep(self, contact: ContactSynced) -> None:
        """Note how somebody is written down, or that they no longer are."""
        place = contact.number_id, column(contact.wa_id)
        sealed = None if contact.removed else self._seal.close(contact.name.encode("utf-8", "replace"), _context(*place))
        await self._pool.execute(KEEP, *place, sealed, contact.at or datetime.now(UTC))
        self._known.pop(place, None)

    async def name(self, number_id: str, wa_id: str) -> str:
        """How somebody is written down; empty when they are not."""
        place = number_id, column(wa_id)
        if not wa_id or place in self._known:
            return self._known.get(place, "")
        sealed = await self._pool.fetchval(NAME, *place)
        try:
            name = self._seal.open(sealed, _context(*place)).decode() if sealed is not None else ""
        except InvalidTag:
            name = ""
        if len(self._known) >= CACHED:
            self._known.clear()
        self._known[place] = name
        return name


def _context(number_id: str, wa_id: str) -> str:
    return f"contact|{number_id}|{wa_id}"
