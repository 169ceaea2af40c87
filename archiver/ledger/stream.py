"""A file of any size, sealed as it is written: what long work makes holds content, and no plaintext of it touches the disk.

Chunks of 256 KiB, each under AES-256-GCM with a key of the file's own. The nonce is the chunk's number and whether it is the last
(as in STREAM: Hoang, Reyhanitabar, Rogaway and Vizár, 2015), so that no chunk can be moved, left out or cut off unnoticed.
"""

from __future__ import annotations

import io
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from archiver.ledger.sealing import SealingError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

CHUNK = 256 * 1024
TAG = 16


class SealedFile(io.RawIOBase):
    """A new file to write to, once, from its beginning. Without `finish` it is no whole file and can't be read."""

    def __init__(self, path: Path, context: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.key = secrets.token_bytes(32)
        self.size = 0  # of the content, in bytes
        self._cipher, self._context = AESGCM(self.key), context
        self._waiting, self._number = bytearray(), 0
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def writable(self) -> bool:
        return True

    def write(self, content: ReadableBuffer, /) -> int:
        """Take bytes; those of a whole chunk are sealed and written. Raises OSError."""
        taken = bytes(content)
        self._waiting += taken
        self.size += len(taken)
        while len(self._waiting) > CHUNK:  # the last one is never empty, so what is full may yet be the last
            self._seal(bytes(self._waiting[:CHUNK]), last=False)
            del self._waiting[:CHUNK]
        return len(taken)

    def finish(self) -> None:
        """Write the last chunk and wait until all is on the disk. Raises OSError."""
        self._seal(bytes(self._waiting), last=True)
        self._waiting.clear()
        os.fsync(self._descriptor)

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()

    def _seal(self, chunk: bytes, *, last: bool) -> None:
        sealed = memoryview(self._cipher.encrypt(_nonce(self._number, last), chunk, self._context))
        self._number += 1
        while sealed:
            sealed = sealed[os.write(self._descriptor, sealed) :]


def opened(path: Path, key: bytes, context: bytes) -> Iterator[bytes]:
    """The content of a sealed file, a chunk at a time. Raises SealingError when it is gone, cut short or changed."""
    cipher, number = AESGCM(key), 0
    try:
        with path.open("rb") as file:
            chunk = file.read(CHUNK + TAG)
            while True:
                following = file.read(CHUNK + TAG)
                yield cipher.decrypt(_nonce(number, not following), chunk, context)
                if not following:
                    return
                chunk, number = following, number + 1
    except OSError as error:
        raise SealingError(f"The sealed file {path.name} can't be read: {error.strerror}.") from None
    except InvalidTag:
        raise SealingError(f"The sealed file {path.name} fails its seal: it was cut short or changed.") from None


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11) + bytes([last])
