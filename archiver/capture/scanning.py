"""Files shown to a virus scanner that others wrote: a program that reads each on its standard input.

A file is kept whatever is found in it, since it is part of what was said; what is infected is not shown and not exported.
No plaintext touches the disk: the bytes go from the sealed store through memory into the pipe.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from archiver.db import Pool, tenant_tx
from archiver.ledger.files import FileStore
from archiver.ledger.sealing import SealingError, Vault
from archiver.stopping import pause

log = logging.getLogger(__name__)

CLEAN, INFECTED = 0, 1  # exit codes, as ClamAV's
CHUNK = 65536
MAX_NOTE = 120
# A scanner's word for what it found needs no other letters; content it might repeat does not get through whole.
UNWANTED = re.compile(r"[^A-Za-z0-9 ._:/()+-]+")
# Taken for ten minutes: a crash in between leaves it to the next process.
TAKE = """
    UPDATE media SET scan_attempts = scan_attempts + 1, scan_due_at = now() + interval '10 minutes'
    WHERE (org, room_id, event_id, part) IN (
        SELECT org, room_id, event_id, part FROM media WHERE scan = 'waiting' AND scan_due_at <= now()
          AND room_id IN (SELECT room_id FROM room WHERE room.org = media.org AND room.user_id = $1)
        ORDER BY scan_due_at LIMIT 2 FOR UPDATE SKIP LOCKED)
    RETURNING room_id, event_id, part, address, scan_attempts
"""
FOUND = """
    UPDATE media SET scan = $5, scan_note = $6, scanned_at = now()
    WHERE org = $1 AND room_id = $2 AND event_id = $3 AND part = $4
"""
AGAIN = """
    UPDATE media SET scan_due_at = now() + make_interval(secs => $5)
    WHERE org = $1 AND room_id = $2 AND event_id = $3 AND part = $4
"""
NO_SCANNER = "UPDATE media SET scan = NULL WHERE org = $1 AND scan = 'waiting'"


class ScannerTrouble(Exception):  # noqa: N818 - named for what it is
    """The scanner can't say whether a file is clean; the message says why."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the scanner found."""

    infected: bool
    note: str = ""


class Scanner:
    """Has every file looked at that came in since a scanner was set."""

    def __init__(self, pool: Pool, vault: Vault, user_id: str, files: FileStore, command: Sequence[str], seconds: float) -> None:
        self._pool = pool
        self._vault = vault
        self._user_id = user_id
        self._files = files
        self._command = command
        self._seconds = seconds

    async def run(self, stop: asyncio.Event) -> None:
        """Scan until told to stop. Without a scanner, what waited for one waits no longer and counts as not scanned."""
        if not self._command:
            async with tenant_tx(self._pool, self._vault.org) as tx:
                await tx.execute(NO_SCANNER, self._vault.org)
            return
        while not stop.is_set():
            if not await self.scan_due():
                await pause(stop, 0.5)

    async def scan_due(self) -> int:
        """Scan the next few files that are due; returns how many there were."""
        async with tenant_tx(self._pool, self._vault.org) as tx:
            rows = await tx.fetch(TAKE, self._user_id)
        await asyncio.gather(*(self._scan(row) for row in rows))
        return len(rows)

    async def _scan(self, row: Any) -> None:
        place = self._vault.org, row["room_id"], row["event_id"], row["part"]
        try:
            async with tenant_tx(self._pool, self._vault.org) as tx:
                content = await self._files.read(self._vault, tx, row["room_id"], row["address"])
            verdict = await scan(self._command, content, self._seconds)
        except (ScannerTrouble, SealingError) as error:
            log.warning("A file of %s can't be scanned (attempt %d): %s", row["event_id"], row["scan_attempts"], error)
            async with tenant_tx(self._pool, self._vault.org) as tx:
                await tx.execute(AGAIN, *place, float(min(3600, 2 ** min(row["scan_attempts"], 12))))
            return
        if verdict.infected:
            log.warning("A file of %s in %s is infected: %s", row["event_id"], row["room_id"], verdict.note)
        async with tenant_tx(self._pool, self._vault.org) as tx:
            await tx.execute(FOUND, *place, "infected" if verdict.infected else "clean", verdict.note or None)


async def scan(command: Sequence[str], content: bytes, seconds: float) -> Verdict:
    """Show bytes to the scanner, for at most `seconds`. Raises ScannerTrouble."""
    # It is given none of our settings: some of them are secrets.
    env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    pipe = asyncio.subprocess.PIPE
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL, env=env, start_new_session=True
        )
    except OSError as error:
        raise ScannerTrouble(f"{command[0]} can't be started: {error.strerror}") from None
    done = False
    try:
        async with asyncio.timeout(seconds):
            whole, said, code = await asyncio.gather(_show(process, content), _listen(process), process.wait())
        done = True
    except TimeoutError:
        raise ScannerTrouble(f"{command[0]} took more than {seconds:g} s") from None
    finally:
        if not done:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # with whatever it has started
            await process.wait()
    if code == INFECTED:
        return Verdict(infected=True, note=said or "infected")
    if code != CLEAN:
        raise ScannerTrouble(f"{command[0]} ended with exit code {code}")
    if not whole:
        raise ScannerTrouble(f"{command[0]} did not read the whole file")
    return Verdict(infected=False)


async def _show(process: asyncio.subprocess.Process, content: bytes) -> bool:
    """Write the file to the scanner; False when it stopped reading before the end."""
    stdin = process.stdin
    assert stdin is not None  # noqa: S101 - narrows for the type checker
    try:
        view = memoryview(content)
        for start in range(0, len(content), CHUNK):
            stdin.write(view[start : start + CHUNK])
            await stdin.drain()
        stdin.close()
        await stdin.wait_closed()
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


async def _listen(process: asyncio.subprocess.Process) -> str:
    """The first line that the scanner prints, with nothing in it but plain letters; what follows is not kept."""
    stdout = process.stdout
    assert stdout is not None  # noqa: S101 - narrows for the type checker
    kept = b""
    while chunk := await stdout.read(CHUNK):
        kept += chunk[: CHUNK - len(kept)]
    line = kept.split(b"\n", 1)[0].decode("utf-8", "replace")
    return UNWANTED.sub("?", line).strip()[:MAX_NOTE]
