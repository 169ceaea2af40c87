"""The contacts of the business phone: how an official has written people down. Sealed, and for that official's own rooms only."""

from __future__ import annotations

from datetime import UTC, datetime

import asyncpg
from cryptography.exceptions import InvalidTag

from bridge.network import ContactSynced
from bridge.relay.relay import column
from bridge.sealing import Seal

# The newest word counts, in whatever order they come.
KEEP = """
    INSERT INTO address_book (number_id, wa_id, sealed, said_at, official) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (number_id, wa_id)
    DO UPDATE SET sealed = excluded.sealed, said_at = excluded.said_at, official = excluded.official
    WHERE address_book.said_at <= excluded.said_at OR address_book.official <> excluded.official
"""
NAME = "SELECT sealed FROM address_book WHERE number_id = $1 AND wa_id = $2 AND official = $3"
CACHED = 20_000


class AddressBook:
    """Every official's own, by number: given to another, the number takes no names along."""

    def __init__(self, pool: asyncpg.Pool, seal: Seal) -> None:
        self._pool = pool
        self._seal = seal
        self._known: dict[tuple[str, str, str], str] = {}

    async def keep(self, contact: ContactSynced, official: str) -> None:
        """Note how an official has written somebody down, or that they no longer have."""
        place = contact.number_id, column(contact.wa_id)
        sealed = None if contact.removed else self._seal.close(contact.name.encode("utf-8", "replace"), _context(*place))
        await self._pool.execute(KEEP, *place, sealed, contact.at or datetime.now(UTC), official)
        self._known.pop((*place, official), None)

    async def name(self, number_id: str, wa_id: str, official: str) -> str:
        """How an official has written somebody down; empty when they have not."""
        place = number_id, column(wa_id), official
        if not wa_id or place in self._known:
            return self._known.get(place, "")
        sealed = await self._pool.fetchval(NAME, *place)
        try:
            name = self._seal.open(sealed, _context(*place[:2])).decode() if sealed is not None else ""
        except InvalidTag:
            name = ""
        if len(self._known) >= CACHED:
            self._known.clear()
        self._known[place] = name
        return name


def _context(number_id: str, wa_id: str) -> str:
    return f"contact|{number_id}|{wa_id}"
