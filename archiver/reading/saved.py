"""Searches that somebody keeps. What they ask for tells what messages are about, so it is sealed like those, its name too."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from archiver.db import Connection
from archiver.ledger.audit import uuid7
from archiver.ledger.sealing import Vault

FIND = "SELECT search_id, sealed, saved_at FROM saved_search WHERE org = $1 AND person = $2 ORDER BY search_id"
ONE = "SELECT search_id, sealed, saved_at FROM saved_search WHERE org = $1 AND person = $2 AND search_id = $3"
KEEP = """
    INSERT INTO saved_search (org, search_id, person, sealed)
    SELECT $1, $2, $3, $4 WHERE (SELECT count(*) FROM saved_search WHERE org = $1 AND person = $3) < $5 RETURNING true
"""
CHANGE = "UPDATE saved_search SET sealed = $4 WHERE org = $1 AND person = $2 AND search_id = $3"
REMOVE = "DELETE FROM saved_search WHERE org = $1 AND person = $2 AND search_id = $3 RETURNING true"
MOST = 200  # of one person
MAX_NAME = 100  # characters


@dataclass(frozen=True, slots=True)
class SavedSearch:
    """A search by its name, and what it asks for as an address carries it."""

    search_id: UUID
    name: str
    asked: tuple[tuple[str, str], ...]
    saved_at: datetime


async def saved(tx: Connection, vault: Vault, person: str) -> list[SavedSearch]:
    """Somebody's searches, the first one first."""
    return [_open(vault, row) for row in await tx.fetch(FIND, vault.org, person)]


async def one(tx: Connection, vault: Vault, person: str, search_id: UUID) -> SavedSearch | None:
    """One of somebody's own searches."""
    row = await tx.fetchrow(ONE, vault.org, person, search_id)
    return _open(vault, row) if row else None


async def keep(tx: Connection, vault: Vault, person: str, name: str, asked: list[tuple[str, str]]) -> UUID | None:
    """Keep a search; None when they have as many as one can have."""
    search_id = uuid7()
    done = await tx.fetchval(KEEP, vault.org, search_id, person, _seal(vault, search_id, name, asked), MOST)
    return search_id if done else None


async def rename(tx: Connection, vault: Vault, person: str, search: SavedSearch, name: str) -> None:
    """Give one's own search another name."""
    sealed = _seal(vault, search.search_id, name, list(search.asked))
    await tx.execute(CHANGE, vault.org, person, search.search_id, sealed)


async def remove(tx: Connection, vault: Vault, person: str, search_id: UUID) -> bool:
    """Remove one's own search; whether there was one."""
    return bool(await tx.fetchval(REMOVE, vault.org, person, search_id))


def _seal(vault: Vault, search_id: UUID, name: str, asked: list[tuple[str, str]]) -> bytes:
    return vault.wrap(json.dumps([name, asked]).encode(), f"saved search|{search_id}")


def _open(vault: Vault, row: dict[str, object]) -> SavedSearch:
    search_id, sealed, saved_at = row["search_id"], row["sealed"], row["saved_at"]
    assert isinstance(search_id, UUID) and isinstance(sealed, bytes) and isinstance(saved_at, datetime)  # noqa: S101, PT018
    name, asked = json.loads(vault.unwrap(sealed, f"saved search|{search_id}"))
    return SavedSearch(search_id, name, tuple((key, value) for key, value in asked), saved_at)
