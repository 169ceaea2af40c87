"""The search page: a form with every filter, and what was found in its context. What is asked for stays in the address."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from archiver.db import Connection, tenant_tx
from archiver.ledger.audit import note
from archiver.reading import rooms as room_list
from archiver.reading.around import around
from archiver.reading.conversations import networks, officials
from archiver.reading.message import Message
from archiver.reading.progress import Progress, progress
from archiver.reading.query import UnclearQuery
from archiver.reading.scope import NotKnown, scope
from archiver.reading.search import Found, search
from archiver.reading.timeline import authors
from archiver.web.access import reading
from archiver.web.asked import PROBLEMS, Asked, BadDay, asked_of, read_token, token
from archiver.web.context import ARCHIVE, language
from archiver.web.render import render

routes = web.RouteTableDef()

PAGE = 25


@dataclass(frozen=True, slots=True)
class Page:
    """What the template shows of what was found."""

    found: Found
    rooms: dict[str, str]  # room ids to names
    authors: dict[str, str]  # event ids to names
    beside: tuple[Message | None, Message | None] | None  # of the hit that was asked for
    opened: str  # the id of that hit
    following: str  # the address of the next page, or empty
    further: str  # the address to look further from where time was up, or for what is older than what was put in order; or empty
    progress: Progress | None  # while not all can be found yet

    @property
    def messages(self) -> list[Message]:
        return [*(hit.message for hit in self.found.hits), *(each for each in self.beside or () if each)]


@routes.get("/search")
async def find(request: web.Request) -> web.StreamResponse:
    """Search in all that one may see."""
    archive, asked = request.app[ARCHIVE], asked_of(request.query)
    if asked.empty:
        return await _form(request, asked)
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        told = {"filters": ", ".join(asked.filters)} if asked.filters else {}
        await note(tx, archive.vault.org, request["actor"], "search", words=len(asked.words.split()), **told)
    try:
        async with reading(request) as tx:
            page = await _page(tx, request, asked)
    except UnclearQuery as problem:
        return await _unclear(request, asked, "q", problem.kind, problem.at)
    except (BadDay, NotKnown) as problem:
        return await _unclear(request, asked, problem.field, problem.kind if isinstance(problem, BadDay) else problem.field)
    async with tenant_tx(archive.pool, archive.vault.org) as tx:  # what is shown is in the audit trail before it is shown
        shown = page.found.shown()
        for message in page.messages:
            seen = shown.setdefault(message.record.room_id, [])
            if message.record.event_id not in seen:
                seen.append(message.record.event_id)
        await note(tx, archive.vault.org, request["actor"], "search results", shown=shown)
    return await _form(request, asked, page=page)


async def _page(tx: Connection, request: web.Request, asked: Asked) -> Page:
    vault, visitor = request.app[ARCHIVE].vault, request["visitor"]
    start, end = asked.days()
    written = {name: asked.fields.get(name, "") for name in ("room", "sender", "official", "network")}
    filters = await scope(tx, vault, **written, start=start, end=end, has=frozenset(asked.has))
    member = None if visitor.reads_everything else visitor.matrix_id
    after = read_token(request.query.get("after"))
    found = await search(tx, vault, asked.words, filters, order=asked.sort, after=after, limit=PAGE, member=member)
    opened = request.query.get("around", "")
    hit = next((hit for hit in found.hits if hit.message.record.event_id == opened), None)
    beside = await around(tx, vault, hit.message) if hit else None
    messages = [hit.message for hit in found.hits] + [each for each in beside or () if each]
    rooms = {room.room_id: room for room in await room_list.rooms(tx, vault, sorted({each.record.room_id for each in messages}))}
    return Page(
        found=found,
        rooms={room_id: room.name for room_id, room in rooms.items()},
        authors=await authors(tx, vault, rooms, messages),
        beside=beside,
        opened=opened if hit else "",
        following=asked.address(after=token(found.following)) if found.following else "",
        progress=await progress(tx, vault.org),
        further=asked.address(after=token(found.further)) if found.further else "",
    )


async def _unclear(request: web.Request, asked: Asked, field: str, kind: str, at: int = 1) -> web.StreamResponse:
    """The form as it was filled in, with what is wrong beside its field."""
    told = language(request).gettext(PROBLEMS[kind]) % {"at": at}
    return await _form(request, asked, 400, problems={field: told})


async def _form(
    request: web.Request, asked: Asked, status: int = 200, *, page: Page | None = None, problems: dict[str, str] | None = None
) -> web.StreamResponse:
    """The form, with what can be chosen in it, and what was found."""
    org = request.app[ARCHIVE].vault.org
    async with reading(request) as tx:
        choices = {"networks": await networks(tx, org), "officials": await officials(tx, org)}
    after = request.query.get("after", "")
    return render(request, "search.html", status, asked=asked, page=page, problems=problems or {}, after=after, **choices)
