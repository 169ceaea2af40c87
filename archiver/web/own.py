"""An official's own page: what is archived of them, who can read it, who did, and what will happen with it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from aiohttp import web

from archiver.db import tenant_tx
from archiver.ledger.audit import note
from archiver.ledger.trail import first_id
from archiver.reading.conversations import Choice, conversations
from archiver.reading.membership import reader_tx
from archiver.reading.own import looks, own, still
from archiver.web.access import refuse
from archiver.web.context import ARCHIVE
from archiver.web.render import render

routes = web.RouteTableDef()

ROOMS_SHOWN = 200
YEAR = timedelta(days=365)


@routes.get("/own")
async def show(request: web.Request) -> web.StreamResponse:
    """Their own page."""
    archive, visitor, org = request.app[ARCHIVE], request["visitor"], request.app[ARCHIVE].vault.org
    if visitor.matrix_id is None:
        return await refuse(request, "no_matrix_id", "/own")
    async with tenant_tx(archive.pool, org) as tx:
        await note(tx, org, request["actor"], "own page")
    async with reader_tx(archive.pool, archive.vault, visitor.matrix_id) as tx:
        found = await own(tx, archive.vault, visitor.matrix_id)
        listed = await conversations(tx, archive.vault, Choice(), None, ROOMS_SHOWN)
    async with tenant_tx(archive.pool, org) as tx:
        looked = await looks(tx, org, found, visitor.person, first_id(datetime.now(UTC) - YEAR))
    names = {room.room_id: room.name for room in listed.headlines}
    return render(request, "own.html", own=found, listed=listed, looks=looked, names=names, still=still)
