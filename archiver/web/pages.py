"""The numbers on other networks, and the files that came with messages."""

from __future__ import annotations

from aiohttp import web

from archiver.db import tenant_tx
from archiver.export.html import how
from archiver.ledger.audit import note
from archiver.reading.channels import carried, channels, names
from archiver.reading.interruption import interruptions
from archiver.web.access import reading
from archiver.web.chat import event_of, room_of
from archiver.web.context import ARCHIVE, language
from archiver.web.given import NotGiven, given
from archiver.web.looks import look
from archiver.web.render import render

routes = web.RouteTableDef()

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
        try:
            content, infected = await given(tx, archive, room.room_id, event_id, despite=despite)
        except NotGiven as problem:
            if problem.kind == "not-scanned":
                told = language(request).gettext("This file is still being scanned for viruses")
                return render(request, "problem.html", 409, problem=told)
            if problem.kind == "infected":
                return render(request, "infected.html", 403, download=request.rel_url.update_query(despite=DESPITE))
            raise web.HTTPNotFound from None
    asked = request.query.get("type", "")
    inline = how(asked) != "file" and not infected
    return web.Response(
        body=content,
        content_type=asked.partition(";")[0] if inline else "application/octet-stream",
        headers={
            "Content-Disposition": "inline" if inline else "attachment",
            "Content-Security-Policy": "default-src 'none'; sandbox",
        },
    )
