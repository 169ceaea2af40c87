"""A conversation as a chat: its newest page or any other, a day, one message in its context, a thread."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import quote

from aiohttp import web

from archiver.capture.standing import standings, whole
from archiver.export.happened import isolated, sentence
from archiver.export.html import Shown, how
from archiver.ledger.canonical import column
from archiver.reading import rooms as room_list
from archiver.reading.bridged import bridged
from archiver.reading.happening import Happening
from archiver.reading.rooms import Room
from archiver.reading.timeline import Cursor, Entry
from archiver.reading.walk import Page, page_after, page_around, page_before, thread
from archiver.reading.weave import Strand, weave
from archiver.web.access import reading
from archiver.web.context import ARCHIVE, language
from archiver.web.looks import look
from archiver.web.place import NoDay, NoPlace, day, place, read_place
from archiver.web.render import render

routes = web.RouteTableDef()

PAGE = 100


@routes.get("/rooms/{room_id}")
async def read(request: web.Request) -> web.StreamResponse:
    """A conversation, newest page first; `before` and `after` walk through it, `date` goes to a day."""
    room, query, problem = await room_of(request), request.query, ""
    try:
        before, after = read_place(query.get("before")), read_place(query.get("after"))
    except NoPlace:
        before, after, problem = None, None, "no_place"
    try:
        wanted = day(query.get("date"))
    except NoDay:
        wanted, problem = None, "no_day"
    told = {"before": before.event_id if before else None, "after": after.event_id if after else None}
    await look(request, "read", room.room_id, **told, date=wanted.date().isoformat() if wanted else None)
    if wanted is not None:
        return await _show(request, room, lambda tx: _of_day(tx, request, room, wanted), day=wanted)
    archive = request.app[ARCHIVE]

    async def find(tx: Any) -> Page:
        if after is not None:
            return await page_after(tx, archive.vault, room, after, PAGE)
        return await page_before(tx, archive.vault, room, before, PAGE)

    return await _show(request, room, find, status=400 if problem else 200, problem=problem)


@routes.get("/rooms/{room_id}/messages/{event_id}")
async def message(request: web.Request) -> web.StreamResponse:
    """One message in its context; of an edit, a reaction or a deletion, what it is about."""
    archive, room, event_id = request.app[ARCHIVE], await room_of(request), event_of(request)
    await look(request, "read", room.room_id, message=event_id)
    async with reading(request) as tx:
        found = await page_around(tx, archive.vault, room, event_id, PAGE)
    if found is None:
        raise web.HTTPNotFound
    page, aim = found

    async def find(_: Any) -> Page:
        return page

    return await _show(request, room, find, aim=aim)


@routes.get("/rooms/{room_id}/threads/{event_id}")
async def read_thread(request: web.Request) -> web.StreamResponse:
    """A thread: what it began with, and the replies in it."""
    archive, room, root = request.app[ARCHIVE], await room_of(request), event_of(request)
    try:
        after, problem = read_place(request.query.get("after")), ""
    except NoPlace:
        after, problem = None, "no_place"
    await look(request, "read", room.room_id, thread=root, after=after.event_id if after else None)
    async with reading(request) as tx:
        began, page = await thread(tx, archive.vault, room, root, after, PAGE)
    if not page.rows and after is None:
        raise web.HTTPNotFound  # nothing was answered there, or nothing that this reader may see
    newer = f"?after={place(page.newer)}" if page.newer else ""
    strands = [Strand(row) for row in page.rows]
    shown = {row.event_id: shown_of(room, row) for row in (*page.rows, *([began] if began else [])) if isinstance(row, Entry)}
    return render(
        request, "thread.html", 400 if problem else 200, room=room, began=began, strands=strands, shown_files=shown, newer=newer,
        first=after is None, problem=problem, root=root, **words_of(request, room),
    )  # fmt: skip


async def room_of(request: web.Request) -> Room:
    """The conversation that the address names, if the visitor may see it."""
    archive, room_id = request.app[ARCHIVE], request.match_info["room_id"]
    if column(room_id, 255) != room_id:
        raise web.HTTPNotFound
    async with reading(request) as tx:
        found = await room_list.rooms(tx, archive.vault, room_id)
    if not found:
        raise web.HTTPNotFound
    return found[0]


def event_of(request: web.Request) -> str:
    """The event that the address names: whatever stands there, made fit to look for."""
    return column(request.match_info["event_id"], 255)


def shown_of(room: Room, entry: Entry) -> Shown | None:
    """How a message's file is shown in a page."""
    attachment = entry.attachment
    if attachment is None:
        return None
    room_part, event_part = quote(room.room_id, safe=""), quote(entry.event_id, safe="")
    url = f"/rooms/{room_part}/files/{event_part}?type={quote(attachment.media_type, safe='')}"
    if attachment.scan == "infected":
        return Shown(attachment, None, "file", warning=url)
    return Shown(attachment, url if attachment.address and attachment.safe else None, how(attachment.media_type))


async def _of_day(tx: Any, request: web.Request, room: Room, wanted: datetime) -> Page:
    """From the first message of a day on; where nothing was said any more, the end."""
    archive = request.app[ARCHIVE]
    page = await page_after(tx, archive.vault, room, Cursor(wanted, -1, ""), PAGE)
    return page if page.rows else await page_before(tx, archive.vault, room, None, PAGE)


async def _show(
    request: web.Request,
    room: Room,
    find: Callable[[Any], Any],
    *,
    status: int = 200,
    aim: str = "",
    problem: str = "",
    day: datetime | None = None,
) -> web.Response:
    """A page of a conversation."""
    archive = request.app[ARCHIVE]
    async with reading(request) as tx:
        page: Page = await find(tx)
        beside = await bridged(tx, archive.vault, room)
        capturing = whole(await standings(tx, archive.settings))
    strands = weave(
        page.rows, room.completeness.gaps, beside.interruptions, first=page.older is None, last=page.newer is None
    )  # fmt: skip
    say = language(request)
    other_day = bool(day and (not page.rows or say.day(page.rows[0].sent_at) != say.day(day)))
    if day and page.rows and not aim:
        aim = next((row.event_id for row in page.rows if row.sent_at >= day), "")
    return render(
        request, "room.html", status, room=room, strands=strands, capturing=capturing, bridged=beside, aim=aim, problem=problem,
        shown_files={row.event_id: shown_of(room, row) for row in page.rows if isinstance(row, Entry)},
        older=f"?before={place(page.older)}" if page.older else "", newer=f"?after={place(page.newer)}" if page.newer else "",
        date=request.query.get("date", "")[:40], other_day=other_day, day=day, **words_of(request, room),
    )  # fmt: skip


def words_of(request: web.Request, room: Room) -> dict[str, Any]:
    """What the templates of messages ask: how changes are told, and where things are."""
    say, base = language(request), f"/rooms/{quote(room.room_id, safe='')}"

    def told(happening: Happening) -> str:
        return sentence(happening, say, isolated)

    def link(event_id: str) -> str:
        part = quote(event_id, safe="")
        return f"{base}/messages/{part}#{part}"

    return {
        "base": base, "tell": told, "link": link, "proof_link": lambda event: f"{base}/messages/{quote(event, safe='')}/proof",
        "thread_link": lambda event: f"{base}/threads/{quote(event, safe='')}",
    }  # fmt: skip
