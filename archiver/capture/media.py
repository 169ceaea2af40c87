"""Pictures, documents, voice messages: fetched at once, checked, decrypted, sealed (promise 7: never a link in an export)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from nio.crypto.attachments import decrypt_attachment
from nio.exceptions import EncryptionError

from archiver.capture.client import CaptureError, Homeserver
from archiver.db import Connection, Pool, tenant_tx
from archiver.ledger.canonical import HostileJson, JsonObject, column, parse_object
from archiver.ledger.files import FileStore
from archiver.ledger.record import Arrival, Record, moment
from archiver.ledger.sealing import Vault, bound, month_of

log = logging.getLogger(__name__)

ADD = """
    INSERT INTO media (org, room_id, event_id, part, sealed_source) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
"""
# Taken for ten minutes: a crash in between leaves it to the next process.
TAKE = """
    UPDATE media SET attempts = attempts + 1, due_at = now() + interval '10 minutes'
    WHERE (org, room_id, event_id, part) IN (
        SELECT org, room_id, event_id, part FROM media WHERE state = 'waiting' AND due_at <= now()
          AND room_id IN (SELECT room_id FROM room WHERE room.org = media.org AND room.user_id = $1)
        ORDER BY due_at LIMIT 4 FOR UPDATE SKIP LOCKED)
    RETURNING room_id, event_id, part, sealed_source, attempts
"""
STORED = """
    UPDATE media SET state = 'stored', address = $5, size = $6, stored_at = now(), problem = NULL
    WHERE org = $1 AND room_id = $2 AND event_id = $3 AND part = $4
"""
FAILED = """
    UPDATE media SET state = $5, problem = $6, due_at = now() + make_interval(secs => $7)
    WHERE org = $1 AND room_id = $2 AND event_id = $3 AND part = $4
"""
MAX_ATTEMPTS = 8
KINDS = ("m.room.message", "m.sticker")  # the events that may have files


def sources(content: JsonObject) -> Iterator[tuple[str, JsonObject]]:
    """(part, source) of each file that an event's content points at: the file itself and its thumbnail."""
    info = content.get("info")
    info = info if isinstance(info, dict) else {}
    for part, url, file in (
        ("file", content.get("url"), content.get("file")),
        ("thumbnail", info.get("thumbnail_url"), info.get("thumbnail_file")),
    ):
        if isinstance(file, dict) and isinstance(file.get("url"), str):
            yield part, {"mxc": file["url"], "key": file.get("key"), "iv": file.get("iv"), "hashes": file.get("hashes")}
        elif isinstance(url, str):
            yield part, {"mxc": url}


async def enqueue(tx: Connection, vault: Vault, arrivals: Sequence[Arrival]) -> None:
    """Note the files of these events as waiting, in the transaction that adds the events."""
    for arrival in arrivals:
        event = arrival.event if arrival.payload is None else arrival.said
        if event is None or event.get("type") not in KINDS:
            continue
        sent_at = moment(arrival.event.get("origin_server_ts"))
        await _add(tx, vault, arrival.room_id, arrival.event_id, sent_at, event)


async def enqueue_payload(tx: Connection, vault: Vault, record: Record, payload: bytes) -> None:
    """Note the files of an event that has just become readable."""
    try:
        event = parse_object(payload)
    except HostileJson:
        return
    await _add(tx, vault, record.room_id, record.event_id, record.sent_at, event)


async def _add(tx: Connection, vault: Vault, room_id: str, event_id: str, sent_at: Any, event: JsonObject) -> None:
    content = event.get("content")
    if not isinstance(content, dict) or event.get("type") not in KINDS:
        return
    for part, source in sources(content):
        place = room_id, month_of(sent_at)
        key = (await vault.keys_for(tx, {place}))[place]
        sealed = key.seal(json.dumps(source).encode(), bound(vault.org, room_id, f"{event_id}|{part}"))
        await tx.execute(ADD, vault.org, room_id, event_id, part, sealed)


class Fetcher:
    """Fetches waiting media, a few at a time."""

    def __init__(self, pool: Pool, vault: Vault, server: Homeserver, user_id: str, files: FileStore, limit: int) -> None:
        self._pool = pool
        self._vault = vault
        self._server = server
        self._user_id = user_id
        self._files = files
        self._limit = limit

    async def run(self, stop: asyncio.Event) -> None:
        """Fetch until told to stop."""
        while not stop.is_set():
            async with tenant_tx(self._pool, self._vault.org) as tx:
                rows = await tx.fetch(TAKE, self._user_id)
                opened = await self._vault.open_many(
                    tx, [(row["room_id"], f"{row['event_id']}|{row['part']}", row["sealed_source"]) for row in rows]
                )
            await asyncio.gather(*(self._fetch(row, raw) for row, raw in zip(rows, opened, strict=True) if raw))
            if not rows:
                await _pause(stop, 0.5)

    async def _fetch(self, row: Any, raw: bytes) -> None:
        place = self._vault.org, row["room_id"], row["event_id"], row["part"]
        try:
            source = parse_object(raw)
            content = await self._server.download(source["mxc"], self._limit)
            if source.get("key"):
                content = await asyncio.to_thread(decrypt, content, source)
        except (CaptureError, EncryptionError) as error:
            final = row["attempts"] >= MAX_ATTEMPTS
            log.warning(
                "A file of %s in %s can't be fetched (attempt %d): %s", row["event_id"], row["room_id"], row["attempts"], error
            )
            async with tenant_tx(self._pool, self._vault.org) as tx:
                wait = float(min(3600, 2 ** row["attempts"]))
                await tx.execute(FAILED, *place, "failed" if final else "waiting", column(str(error)), wait)
            return
        async with tenant_tx(self._pool, self._vault.org) as tx:
            sent_at = await tx.fetchval(
                "SELECT sent_at FROM record WHERE org = $1 AND room_id = $2 AND event_id = $3", *place[:3]
            )
            address = await self._files.write(self._vault, tx, row["room_id"], sent_at, content)
            await tx.execute(STORED, *place, address, len(content))


def decrypt(content: bytes, source: JsonObject) -> bytes:
    """An encrypted attachment, its SHA-256 checked. Raises EncryptionError."""
    try:
        return bytes(decrypt_attachment(content, source["key"]["k"], source["hashes"]["sha256"], source["iv"]))
    except (KeyError, TypeError, ValueError) as error:
        raise EncryptionError(f"its key is incomplete ({type(error).__name__})") from None


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
