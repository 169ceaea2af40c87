"""Exports as jobs: one conversation as a file, several as a ZIP of files, written sealed as they are made."""

from __future__ import annotations

import io
import re
import zipfile
from datetime import UTC, datetime
from typing import IO, Any, cast

from archiver.db import tenant_tx
from archiver.export import EXPORTERS, Exporter, Transcript
from archiver.export.transcript import audited
from archiver.reading import rooms as room_list
from archiver.reading.bridged import bridged
from archiver.reading.rooms import Room
from archiver.web.workshop import CantDo, Result, Task

MOST_ROOMS = 200
COUNT = """
    SELECT count(*) FROM message WHERE org = $1 AND room_id = ANY($2) AND ($3::timestamptz IS NULL OR sent_at >= $3)
    AND ($4::timestamptz IS NULL OR sent_at < $4)
"""
UNSAFE = re.compile(r"[^\w .,()-]+")


async def export(task: Task) -> Result:
    """Write the conversations that were asked for. Raises CantDo."""
    asked = task.arguments
    exporter = EXPORTERS.get(asked["format"])
    if exporter is None:
        raise CantDo("no_format")
    start, end = (datetime.fromisoformat(asked[name]) if asked[name] else None for name in ("start", "end"))
    archive, ids = task.archive, asked["rooms"]
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        found = [room for room_id in ids for room in await room_list.rooms(tx, archive.vault, room_id)]
        task.total = await tx.fetchval(COUNT, archive.vault.org, ids, start, end)
    if len(found) != len(ids):
        raise CantDo("no_conversation")
    out = io.BufferedWriter(task.out, 64 * 1024)
    if len(found) == 1:
        await _write(task, exporter, found[0], start, end, out)
        out.flush()
        out.detach()  # who is thrown away closes what it wrote to
        return Result(exporter.media_type, exporter.suffix)
    with zipfile.ZipFile(cast("IO[bytes]", out), "w", zipfile.ZIP_DEFLATED, compresslevel=1) as whole:
        for number, room in enumerate(found, 1):
            with whole.open(_name(number, room, exporter), "w", force_zip64=True) as file:
                await _write(task, exporter, room, start, end, file)
    out.flush()
    out.detach()
    return Result("application/zip", ".zip")


async def _write(
    task: Task, exporter: Exporter, room: Room, start: datetime | None, end: datetime | None, out: Any
) -> None:  # fmt: skip
    archive, before = task.archive, task.done

    def progress(done: int) -> None:
        task.done = before + done

    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        beside = await bridged(tx, archive.vault, room, start, end)
    transcript = Transcript(
        pool=archive.pool, vault=archive.vault, files=archive.files, room=room,
        organisation=archive.settings.organisation.name, made_at=datetime.now(UTC), made_by=task.job.person,
        language=task.arguments["language"], start=start, end=end, bridged=beside, progress=progress,
    )  # fmt: skip
    await audited(transcript, exporter.name)
    # Lone surrogates in a message must not stop its export: each is written as a question mark.
    text = io.TextIOWrapper(out, encoding="utf-8", errors="replace", newline="")
    written = await exporter.write(transcript, text)
    text.flush()
    text.detach()
    task.done = before + written


def _name(number: int, room: Room, exporter: Exporter) -> str:
    """What a file in the ZIP is called: a name that no other has and that every system takes."""
    told = UNSAFE.sub("_", room.name.encode("utf-8", "replace").decode())[:80].strip(" .")
    return f"{number:03d} {told}{exporter.suffix}"
