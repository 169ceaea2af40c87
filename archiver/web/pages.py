"""The numbers on other networks, and the files that came with messages."""

from __future__ import annotations

import logging

from aiohttp import web

from archiver.db import tenant_tx
from archiver.export.html import how
from archiver.ledger.audit import note
from archiver.ledger.sealing import SealingError
from archiver.reading.channels import carried, channels, names
from archiver.reading.interruption import interruptions
from archiver.web.access import reading
from archiver.web.chat import event_of, look, room_of
from archiver.web.context import ARCHIVE, language
from archiver.web.render import render

log = logging.getLogger(__name__)
routes = web.RouteTableDef()

FILE = "SELECT address, scan FROM media WHERE org = $1 AND room_id = $2 AND event_id = $3 AND part = 'file' AND state = 'stored'"
DESPITE = "infected"  # said in the address by who has read the warning


@routes.get("/channels")
async def list_channels(request: web.Request) -> web.StreamResponse:
    """The numbers on which officials are reached on other networks, and when they were not covered."""
    archive = request.app[ARCHIVE]
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        await note(tx, archive.vault.org, request["actor"], "list channels")
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        found = channels(await carried(tx, archive.vault), await interruptions(tx, archive.vault.org))
        called = await names(tx, archive.vault, {official for channel in found for official in channel.officials})
    return render(request, "channels.html", channels=found, names=called)


@routes.get("/rooms/{room_id}/files/{event_id}")
async def file(request: web.Request) -> web.StreamResponse:
    """A file that came with a message; only pictures and sounds are shown in the page, all else is downloaded.

    What a virus scanner has yet to see is not given; what it found infected only to who has read the warning, never to be shown.
    """
    archive, room = request.app[ARCHIVE], await room_of(request)
    event_id, despite = event_of(request), request.query.get("despite") == DESPITE
    await look(request, "file", room.room_id, event_id=event_id, despite=DESPITE if despite else None)
    async with reading(request) as tx:
        kept = await tx.fetchrow(FILE, archive.vault.org, room.room_id, event_id)
        if kept is None:
            raise web.HTTPNotFound
        if kept["scan"] == "waiting":
            problem = language(request).gettext("This file is still being scanned for viruses")
            return render(request, "problem.html", 409, problem=problem)
        if kept["scan"] == "infected" and not despite:
            return render(request, "infected.html", 403, download=request.rel_url.update_query(despite=DESPITE))
        try:
            content = await archive.files.read(archive.vault, tx, room.room_id, kept["address"])
        except SealingError as error:
            log.warning("%s", error)
            raise web.HTTPNotFound from None
    asked = request.query.get("type", "")
    inline = how(asked) != "file" and kept["scan"] != "infected"
    return web.Response(
        body=content,
        content_type=asked.partition(";")[0] if inline else "application/octet-stream",
        headers={
            "Content-Disposition": "inline" if inline else "attachment",
            "Content-Security-Policy": "default-src 'none'; sandbox",
        },
    )
