"""Search in sealed messages (DESIGN D10, D18)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from archiver.db import Connection
from archiver.ledger.sealing import Vault
from archiver.reading.message import Message
from archiver.reading.project import fetch, messages
from archiver.reading.words import BlindIndex, fold, words

# A word that occurs only long ago would make the planner walk all of time backwards; the match set is made first (D18).
FIND = """
    WITH hit AS MATERIALIZED (
        SELECT room_id, event_id, sent_at FROM message
        WHERE org = $1 AND words @@ $2::text::tsquery AND ($3::text IS NULL OR room_id = $3)
        LIMIT 20000)
    SELECT room_id, event_id, least(count(*) OVER (), 1000) AS total FROM hit ORDER BY sent_at DESC, event_id LIMIT $4
"""
STILL = "SELECT v::tsvector @@ $2::text::tsquery AS still FROM unnest($1::text[]) WITH ORDINALITY AS t (v, n) ORDER BY n"
AROUND = 80


@dataclass(frozen=True, slots=True)
class Hit:
    """A message that was found, and a piece of it around the words."""

    message: Message
    snippet: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found; `total` stops counting at 1,000."""

    hits: list[Hit]
    total: int

    def shown(self) -> dict[str, list[str]]:
        """Room ids to the event ids found there: what the audit trail keeps of a search."""
        found: dict[str, list[str]] = defaultdict(list)
        for hit in self.hits:
            found[hit.message.record.room_id].append(hit.message.record.event_id)
        return dict(found)


async def search(tx: Connection, vault: Vault, query: str, room_id: str | None = None, limit: int = 50) -> Found:
    """The newest messages that match, deleted and earlier versions included. Raises NothingToSearch."""
    blind = BlindIndex(vault.search_key).query(query)
    rows = await tx.fetch(FIND, vault.org, blind, room_id, limit)
    records = {
        (record.room_id, record.event_id): record
        for record in await fetch(tx, vault, [(row["room_id"], row["event_id"]) for row in rows])
    }
    composed = await messages(tx, vault, [records[row["room_id"], row["event_id"]] for row in rows])
    wanted = set(words(query))
    return Found([Hit(message, snippet(message, wanted)) for message in composed], rows[0]["total"] if rows else 0)


async def as_shown(tx: Connection, vault: Vault, query: str, found: Found) -> Found:
    """What still matches by what this reader may see of it: the index knows later versions too, of after they left."""
    index = BlindIndex(vault.search_key)
    vectors = [index.vector(hit.message.texts()) for hit in found.hits]
    still = await tx.fetch(STILL, vectors, index.query(query))
    hits = [hit for hit, row in zip(found.hits, still, strict=True) if row["still"]]
    return Found(hits, len(hits) if found.total == len(found.hits) else found.total)


def snippet(message: Message, wanted: set[str]) -> str:
    """A piece of the message around the first word that was asked for; its beginning when only a form of the word occurs."""
    for text in message.texts()[::-1]:
        for word in text.split():
            if any(part in wanted for part in words(word)) or fold(word) in wanted:
                at = text.find(word)
                start = max(at - AROUND, 0)
                piece = text[start : at + len(word) + AROUND]
                return ("… " if start else "") + piece + (" …" if start + len(piece) < len(text) else "")
    texts = message.texts()
    return texts[-1][: 2 * AROUND] if texts else ""
