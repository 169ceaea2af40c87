"""Media, sealed and content-addressed, in a local folder.

A file's address is HMAC-SHA-256(search key, room id · SHA-256 of the content): the same content in the same room is kept once,
and the address of a known document can't be computed without the organisation's key.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import tempfile
import time
from datetime import datetime
from pathlib import Path

from archiver.db import Connection
from archiver.ledger.sealing import SealingError, Vault, bound, month_of

ABANDONED = 3600.0  # seconds


class StoreError(Exception):
    """The store of files can't be written to; the message says why, never what."""


class FileStore:
    """The folder of sealed media."""

    def __init__(self, root: Path) -> None:
        self.root = root

    async def write(self, vault: Vault, tx: Connection, room_id: str, sent_at: datetime, content: bytes) -> bytes:
        """Seal and keep a file under the data key of its room and month; return its address. Raises StoreError."""
        address = hmac.digest(vault.search_key, room_id.encode() + hashlib.sha256(content).digest(), hashlib.sha256)
        place = room_id, month_of(sent_at)
        key = (await vault.keys_for(tx, {place}))[place]
        sealed = key.seal(content, bound(vault.org, room_id, f"file|{address.hex()}"))
        try:
            await asyncio.to_thread(self._keep, self._path(address), sealed)
        except OSError as error:
            raise StoreError(f"{self.root} can't be written to: {error.strerror}.") from None
        return address

    async def read(self, vault: Vault, tx: Connection, room_id: str, address: bytes) -> bytes:
        """The content of a file; raises SealingError when it is gone or damaged."""
        try:
            sealed = await asyncio.to_thread(self._path(address).read_bytes)
        except OSError as error:
            raise SealingError(f"The sealed file {address.hex()} can't be read: {error.strerror}.") from None
        [content] = await vault.open_many(tx, [(room_id, f"file|{address.hex()}", sealed)])
        if content is None:
            raise SealingError(f"The key of the sealed file {address.hex()} was destroyed.")
        return content

    def _path(self, address: bytes) -> Path:
        name = address.hex()
        return self.root / name[:2] / name

    def _keep(self, path: Path, sealed: bytes) -> None:
        """Write a file that appears under its name only when it is whole and on the disk."""
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = self._partials()
        descriptor, name = tempfile.mkstemp(dir=partial)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(sealed)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def tidy(self) -> None:
        """Remove what a crash left half-written an hour ago or longer; what another process is writing now stays."""
        for left in self._partials().iterdir():
            if left.stat().st_mtime < time.time() - ABANDONED:
                left.unlink(missing_ok=True)

    def _partials(self) -> Path:
        folder = self.root / "partial"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder
