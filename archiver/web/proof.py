"""The original of a message and what proves it: a page in words, and the same as JSON to check again elsewhere."""

from __future__ import annotations

import json
import re

from aiohttp import web

from archiver.reading.proof import Proof, proof
from archiver.reading.rooms import Room
from archiver.reading.timeline import Names
from archiver.web.access import reading
from archiver.web.chat import event_of, room_of, words_of
from archiver.web.context import ARCHIVE
from archiver.web.looks import look
from archiver.web.render import render

routes = web.RouteTableDef()


@routes.get("/rooms/{room_id}/messages/{event_id}/proof")
async def show(request: web.Request) -> web.StreamResponse:
    """Where an event comes from, in words."""
    archive = request.app[ARCHIVE]
    room, found = await _found(request, "proof")
    names = Names(room)
    async with reading(request) as tx:
        await names.read(tx, archive.vault, {each.sender for each in (found.record, *found.related)})
    told = {each.event_id: names.at(each.sender, each.sent_at) for each in (found.record, *found.related)}
    return render(
        request, "proof.html", room=room, proof=found, record=found.record, names=told, original=_pretty(found.record.event),
        payload=_pretty(found.to_json()["payload"]), commitment=found.commitment.hex(), **words_of(request, room),
    )  # fmt: skip


@routes.get("/rooms/{room_id}/messages/{event_id}/proof.json")
async def download(request: web.Request) -> web.StreamResponse:
    """The event as it came, and all that it can be checked by."""
    _, found = await _found(request, "proof download")
    name = re.sub(r"[^A-Za-z0-9_-]", "", found.record.event_id)[:60] or "event"
    return web.Response(
        body=json.dumps(found.to_json(), indent=2, ensure_ascii=True).encode(),
        content_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{name}.json"'},
    )


async def _found(request: web.Request, action: str) -> tuple[Room, Proof]:
    archive, room, event_id = request.app[ARCHIVE], await room_of(request), event_of(request)
    await look(request, action, room.room_id, event_id=event_id)
    async with reading(request) as tx:
        found = await proof(tx, archive.vault, room.room_id, event_id)
    if found is None:
        raise web.HTTPNotFound
    return room, found


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) if value else ""
