"""The pages for reading: the list of rooms, a room as a chat, and the files that came with messages."""

from __future__ import annotations

import logging
from urllib.parse import quote

from aiohttp import web

from archiver.capture.standing import standings, whole
from archiver.db import tenant_tx
from archiver.export.html import Shown, how
from archiver.ledger.audit import note
from archiver.ledger.canonical import column
from archiver.ledger.sealing import SealingError
from archiver.reading import rooms as room_list
from archiver.reading.bridged import bridged
from archiver.reading.channels import channels
from archiver.reading.interruption import interruptions
from archiver.reading.rooms import Room
from archiver.reading.timeline import Entry, page_before
from archiver.web.access import reading
from archiver.web.context import ARCHIVE, language
from archiver.web.place import place, read_place
from archiver.web.render import render

log = logging.getLogger(__name__)
routes = web.RouteTableDef()

PAGE = 100
FILE = "SELECT address, scan FROM media WHERE org = $1 AND room_id = $2 AND event_id = $3 AND part = 'file' AND state = 'stored'"
DESPITE = "infected"  # said in the address by who has read the warning


@routes.get("/")
async def index(request: web.Request) -> web.StreamResponse:
    """All conversations."""
    archive = request.app[ARCHIVE]
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        await note(tx, archive.vault.org, request["actor"], "list rooms")
    async with reading(request) as tx:
        found = await room_list.rooms(tx, archive.vault)
        capturing = whole(await standings(tx, archive.settings))
    return render(request, "index.html", rooms=found, capturing=capturing)


@routes.get("/rooms/{room_id}")
async def read(request: web.Request) -> web.StreamResponse:
    """A conversation, newest page first; `before` goes back in it."""
    archive, room = request.app[ARCHIVE], await _room(request)
    cursor = read_place(request.query.get("before"))
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        await note(
            tx, archive.vault.org, request["actor"], "read", room_id=room.room_id, before=cursor.event_id if cursor else None
        )
    async with reading(request) as tx:
        entries, more = await page_before(tx, archive.vault, room, cursor, PAGE)
        beside = await bridged(tx, archive.vault, room)
        capturing = whole(await standings(tx, archive.settings))
    shown = [(entry, _shown(room, entry)) for entry in entries]
    older = place(more) if more else None
    newest = cursor is None
    return render(request, "room.html", room=room, entries=shown, older=older, newest=newest, capturing=capturing, bridged=beside)


@routes.get("/channels")
async def list_channels(request: web.Request) -> web.StreamResponse:
    """The numbers on which officials are reached on other networks, and when they were not covered."""
    archive = request.app[ARCHIVE]
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        await note(tx, archive.vault.org, request["actor"], "list channels")
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        rooms = await room_list.rooms(tx, archive.vault)
        found = channels(rooms, await interruptions(tx, archive.vault.org))
    officials = {official for channel in found for official in channel.officials}
    names = {user: room.names[user] for room in rooms for user in officials & room.names.keys()}
    return render(request, "channels.html", channels=found, names=names)


@routes.get("/rooms/{room_id}/files/{event_id}")
async def file(request: web.Request) -> web.StreamResponse:
    """A file that came with a message; only pictures and sounds are shown in the page, all else is downloaded.

    What a virus scanner has yet to see is not given; what it found infected only to who has read the warning, never to be shown.
    """
    archive, room = request.app[ARCHIVE], await _room(request)
    event_id, despite = column(request.match_info["event_id"]), request.query.get("despite") == DESPITE
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        told = {"despite": DESPITE} if despite else {}
        await note(tx, archive.vault.org, request["actor"], "file", room_id=room.room_id, event_id=event_id, **told)
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


async def _room(request: web.Request) -> Room:
    archive, room_id = request.app[ARCHIVE], request.match_info["room_id"]
    if column(room_id) != room_id:
        raise web.HTTPNotFound
    async with reading(request) as tx:
        found = await room_list.rooms(tx, archive.vault, room_id)
    if not found:
        raise web.HTTPNotFound
    return found[0]


def _shown(room: Room, entry: Entry) -> Shown | None:
    attachment = entry.attachment
    if attachment is None:
        return None
    room_part, event_part = quote(room.room_id, safe=""), quote(entry.event_id, safe="")
    url = f"/rooms/{room_part}/files/{event_part}?type={quote(attachment.media_type, safe='')}"
    if attachment.scan == "infected":
        return Shown(attachment, None, "file", warning=url)
    return Shown(attachment, url if attachment.address and attachment.safe else None, how(attachment.media_type))
