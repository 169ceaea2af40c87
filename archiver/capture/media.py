"""Pictures, documents, voice messages: fetched at once, checked, decrypted, sealed (promise 7: never a link in an export)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from nio.crypto.attachments import decrypt_attachment
from nio.exceptions import EncryptionError
from unpaddedbase64 import decode_base64

from archiver.capture.client import CaptureError, Homeserver, MatrixError, TooLarge
from archiver.db import Connection, Pool, tenant_tx
from archiver.ledger.canonical import HostileJson, JsonObject, parse_object
from archiver.ledger.files import FileStore, StoreError
from archiver.ledger.record import Arrival, Record, moment
from archiver.ledger.sealing import Vault, bound, month_of
from archiver.stopping import pause

log = logging.getLogger(__name__)

ADD = """
    INSERT INTO media (org, room_id, event_id, part, sealed_source) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
"""
# Taken for a moment that is made longer as long as we fetch: a crash in between leaves it to the next process soon.
LEASE = 15.0  # seconds
TAKE = """
    UPDATE media SET attempts = attempts + 1, due_at = now() + make_interval(secs => $2)
    WHERE (org, room_id, event_id, part) IN (
        SELECT org, room_id, event_id, part FROM media WHERE state = 'waiting' AND due_at <= now()
          AND room_id IN (SELECT room_id FROM room WHERE room.org = media.org AND room.user_id = $1)
        ORDER BY due_at LIMIT 4 FOR UPDATE SKIP LOCKED)
    RETURNING room_id, event_id, part, sealed_source, attempts
"""
HOLD = """
    UPDATE media SET due_at = now() + make_interval(secs => $5)
    WHERE org = $1 AND room_id = $2 AND event_id = $3 AND part = $4 AND state = 'waiting'
"""
STORED = """
    UPDATE media SET state = 'stored', address = $5, size = $6, stored_at = now(), problem = NULL, scan = $7
    WHERE org = $1 AND room_id = $2 AND event_id = $3 AND part = $4
"""
FAILED = """
    UPDATE media SET state = $5, problem = $6, due_at = now() + make_interval(secs => $7), size = coalesce($8, size)
    WHERE org = $1 AND room_id = $2 AND event_id = $3 AND part = $4
"""
STORE_AGAIN = 10.0  # seconds
OUTAGE_AGAIN = 120.0  # seconds at most: how often a file was asked for in vain during an outage says nothing of how long it lasts
KINDS = ("m.room.message", "m.sticker")  # the events that may have files
# What was too large under an earlier setting and no longer is.
NO_LONGER_TOO_LARGE = """
    UPDATE media SET state = 'waiting', attempts = 0, due_at = now()
    WHERE org = $1 AND state = 'failed' AND problem = 'too-large' AND size <= $2
"""

# Why a file is not there: the words for people are in archiver.export.reasons.
TOO_LARGE = "too-large"
ALTERED = "altered"  # not what the sender took the checksum of
BAD_KEY = "bad-key"
BAD_ADDRESS = "bad-address"
GONE = "gone"
REFUSED = "refused"
UNREACHABLE = "unreachable"
NO_ROOM = "no-room"  # we have no room for it
# How often each is tried before it counts as a hole; what is not named here is tried for ever, less and less often.
ATTEMPTS = {TOO_LARGE: 1, BAD_ADDRESS: 1, BAD_KEY: 1, ALTERED: 3, GONE: 8, REFUSED: 8}


class AlteredFile(Exception):  # noqa: N818 - named for what it is
    """A file is not what its sender took the checksum of."""


class UnusableKey(Exception):  # noqa: N818
    """The key that came with a file can't be used."""


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

    def __init__(
        self, pool: Pool, vault: Vault, server: Homeserver, user_id: str, files: FileStore, limit: int, *, scanned: bool = False
    ) -> None:
        self._pool = pool
        self._vault = vault
        self._server = server
        self._user_id = user_id
        self._files = files
        self._limit = limit
        self._scan = "waiting" if scanned else None  # archiver.capture.scanning looks at it next

    async def run(self, stop: asyncio.Event) -> None:
        """Fetch until told to stop."""
        try:
            await asyncio.to_thread(self._files.tidy)
        except OSError as error:
            log.warning("The folder of files can't be tidied: %s", error.strerror)
        async with tenant_tx(self._pool, self._vault.org) as tx:
            await tx.execute(NO_LONGER_TOO_LARGE, self._vault.org, self._limit)
        while not stop.is_set():
            if not await self.fetch_due():
                await pause(stop, 0.5)

    async def fetch_due(self) -> int:
        """Fetch the next few files that are due; returns how many there were."""
        async with tenant_tx(self._pool, self._vault.org) as tx:
            rows = await tx.fetch(TAKE, self._user_id, LEASE)
            opened = await self._vault.open_many(
                tx, [(row["room_id"], f"{row['event_id']}|{row['part']}", row["sealed_source"]) for row in rows]
            )
        async with asyncio.TaskGroup() as tasks:
            for row, raw in zip(rows, opened, strict=True):
                if raw:
                    tasks.create_task(self._hold_and_fetch(row, raw))
        return len(rows)

    async def _hold_and_fetch(self, row: Any, raw: bytes) -> None:
        place = self._vault.org, row["room_id"], row["event_id"], row["part"]
        fetching = asyncio.ensure_future(self._fetch(row, raw))
        try:
            while not (await asyncio.wait({fetching}, timeout=LEASE / 3))[0]:
                async with tenant_tx(self._pool, self._vault.org) as tx:
                    await tx.execute(HOLD, *place, LEASE)
            fetching.result()
        finally:
            fetching.cancel()

    async def _fetch(self, row: Any, raw: bytes) -> None:
        place = self._vault.org, row["room_id"], row["event_id"], row["part"]
        try:
            source = parse_object(raw)
            content = await self._server.download(source["mxc"], self._limit)
            if source.get("key"):
                content = await asyncio.to_thread(decrypt, content, source)
        except (CaptureError, ValueError, AlteredFile, UnusableKey) as error:
            await self._note(row, error)
            return
        try:
            async with tenant_tx(self._pool, self._vault.org) as tx:
                sent_at = await tx.fetchval(
                    "SELECT sent_at FROM record WHERE org = $1 AND room_id = $2 AND event_id = $3", *place[:3]
                )
                address = await self._files.write(self._vault, tx, row["room_id"], sent_at, content)
                await tx.execute(STORED, *place, address, len(content), self._scan)
        except StoreError as error:
            # A full disk holds up files, never the messages; as soon as there is room again, what waits is fetched.
            log.error("A file of %s in %s can't be kept: %s", row["event_id"], row["room_id"], error)  # noqa: TRY400 - said
            async with tenant_tx(self._pool, self._vault.org) as tx:
                await tx.execute(FAILED, *place, "waiting", NO_ROOM, STORE_AGAIN, None)

    async def _note(self, row: Any, error: Exception) -> None:
        """Keep why a file is not there: a hole from the last attempt on."""
        why, attempts = cause(error), row["attempts"]
        final = attempts >= ATTEMPTS.get(why, attempts + 1)
        log.warning("A file of %s in %s is not there (%s, attempt %d): %s", row["event_id"], row["room_id"], why, attempts, error)
        longest = OUTAGE_AGAIN if why == UNREACHABLE else 3600.0
        wait, size = min(longest, 2.0 ** min(attempts, 12)), error.size if isinstance(error, TooLarge) else None
        place = self._vault.org, row["room_id"], row["event_id"], row["part"]
        async with tenant_tx(self._pool, self._vault.org) as tx:
            await tx.execute(FAILED, *place, "failed" if final else "waiting", why, wait, size)


def cause(error: Exception) -> str:
    """Why a file is not there, in one word."""
    if isinstance(error, MatrixError) and error.status < 500 and error.status != 429:
        return GONE if error.status == 404 else REFUSED
    kinds = {TooLarge: TOO_LARGE, AlteredFile: ALTERED, UnusableKey: BAD_KEY, ValueError: BAD_ADDRESS}
    return kinds.get(type(error), UNREACHABLE)


def decrypt(content: bytes, source: JsonObject) -> bytes:
    """An encrypted attachment, its SHA-256 checked first. Raises AlteredFile, UnusableKey."""
    try:
        key, told, start = source["key"]["k"], source["hashes"]["sha256"], source["iv"]
        expected = decode_base64(told)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnusableKey(f"its key is incomplete ({type(error).__name__})") from None
    if hashlib.sha256(content).digest() != expected:
        raise AlteredFile("its SHA-256 is not the one that its sender gave")
    try:
        return bytes(decrypt_attachment(content, key, told, start))
    except (EncryptionError, TypeError, ValueError, AttributeError) as error:
        raise UnusableKey(f"its key can't be used ({type(error).__name__})") from None
