"""What every exporter gets: a room, a period, and its messages as a stream; and where it writes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, TextIO

from archiver.db import Pool, tenant_tx
from archiver.ledger.audit import note
from archiver.ledger.files import FileStore
from archiver.ledger.sealing import SealingError, Vault
from archiver.reading.bridged import Bridged
from archiver.reading.rooms import Room
from archiver.reading.timeline import Attachment, Row
from archiver.reading.walk import entries

Sink = TextIO


class ExportError(Exception):
    """The export can't be made; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """A room from a moment to a moment."""

    pool: Pool
    vault: Vault
    files: FileStore
    room: Room
    organisation: str
    made_at: datetime
    made_by: str
    language: str = "nl"
    start: datetime | None = None
    end: datetime | None = None
    progress: Callable[[int], None] = lambda _: None
    changes: bool = False  # whether formats for machines have what happened in the room too
    bridged: Bridged = field(default_factory=Bridged)  # what there is to say beside the messages of a portal

    async def __aiter__(self) -> AsyncIterator[Row]:
        done = 0
        async for entry in entries(self.pool, self.vault, self.room, self.start, self.end):
            yield entry
            done += 1
            if done % 200 == 0:
                self.progress(done)
        self.progress(done)

    async def file(self, attachment: Attachment) -> bytes | None:
        """The content of an attachment; None when it is not there, or not safe to give."""
        if attachment.address is None or not attachment.safe:
            return None
        async with tenant_tx(self.pool, self.vault.org) as tx:
            try:
                return await self.files.read(self.vault, tx, self.room.room_id, attachment.address)
            except SealingError:
                return None


class Exporter(Protocol):
    """A format."""

    name: str
    suffix: str
    media_type: str

    def write(self, transcript: Transcript, out: Sink) -> Awaitable[int]:
        """Write the transcript; return the number of messages written."""


async def audited(transcript: Transcript, format_name: str) -> None:
    """Write the export in the audit trail, before anything of it is shown (promise 5)."""
    async with tenant_tx(transcript.pool, transcript.vault.org) as tx:
        period = {
            "start": transcript.start.isoformat() if transcript.start else None,
            "end": transcript.end.isoformat() if transcript.end else None,
        }
        await note(
            tx, transcript.vault.org, transcript.made_by, "export", room_id=transcript.room.room_id, format=format_name, **period
        )


@contextmanager
def whole_file(path: Path, *, force: bool) -> Iterator[Sink]:
    """A text file that appears under its name only when it is whole. Raises ExportError."""
    if path.exists() and not force:
        raise ExportError(f"{path} exists already. Give another --out, or --force to replace it.")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        # Lone surrogates in a message must not stop its export: each is written as a question mark.
        with os.fdopen(
            os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8", errors="replace"
        ) as file:
            yield file
        partial.replace(path)
    except OSError as error:
        raise ExportError(f"{path} can't be written: {error.strerror}.") from None
    finally:
        partial.unlink(missing_ok=True)
