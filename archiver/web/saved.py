"""The searches that somebody keeps for themselves: run again, renamed, removed."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from aiohttp import web
from multidict import MultiDict

from archiver.db import tenant_tx
from archiver.export.catalogue import N_
from archiver.ledger.audit import note
from archiver.reading import saved
from archiver.reading.saved import MAX_NAME, MOST, SavedSearch
from archiver.web.asked import Asked, asked_of
from archiver.web.context import ARCHIVE, language
from archiver.web.render import render

routes = web.RouteTableDef()

NAMELESS = N_("Give the search a name of at most 100 characters.")
TOO_MANY = N_("You have 200 saved searches. Remove one first.")


@routes.get("/searches")
async def list_searches(request: web.Request) -> web.StreamResponse:
    """One's own searches."""
    return await _list(request)


@routes.post("/searches")
async def save(request: web.Request) -> web.StreamResponse:
    """Keep a search under a name."""
    archive, form = request.app[ARCHIVE], await request.post()
    asked, name = asked_of(form), _name(form)
    if asked.empty or not name:
        return await _list(request, 400, asked=asked, name=name, problem=NAMELESS)
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        made = await saved.keep(tx, archive.vault, request["actor"], name, asked.pairs())
        if made is not None:
            await note(tx, archive.vault.org, request["actor"], "save search", search=str(made))
    if made is None:
        return await _list(request, 400, asked=asked, name=name, problem=TOO_MANY)
    raise web.HTTPSeeOther("/searches")


@routes.post("/searches/{search_id}/rename")
async def rename(request: web.Request) -> web.StreamResponse:
    """Give a search another name."""
    archive, form = request.app[ARCHIVE], await request.post()
    found, name = await _own(request), _name(form)
    if not name:
        return await _list(request, 400, renaming=found, problem=NAMELESS)
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        await note(tx, archive.vault.org, request["actor"], "rename search", search=str(found.search_id))
        await saved.rename(tx, archive.vault, request["actor"], found, name)
    raise web.HTTPSeeOther("/searches")


@routes.get("/searches/{search_id}/remove")
async def ask_to_remove(request: web.Request) -> web.StreamResponse:
    """Whether they are sure."""
    return render(request, "search_remove.html", search=await _own(request))


@routes.post("/searches/{search_id}/remove")
async def remove(request: web.Request) -> web.StreamResponse:
    """Remove a search; what it found is not touched."""
    archive, found = request.app[ARCHIVE], await _own(request)
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        await note(tx, archive.vault.org, request["actor"], "remove search", search=str(found.search_id))
        await saved.remove(tx, archive.vault, request["actor"], found.search_id)
    raise web.HTTPSeeOther("/searches")


async def _own(request: web.Request) -> SavedSearch:
    archive = request.app[ARCHIVE]
    try:
        search_id = UUID(request.match_info["search_id"])
    except ValueError:
        raise web.HTTPNotFound from None
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        found = await saved.one(tx, archive.vault, request["actor"], search_id)
    if found is None:
        raise web.HTTPNotFound
    return found


async def _list(
    request: web.Request,
    status: int = 200,
    *,
    asked: Asked | None = None,
    name: str = "",
    renaming: SavedSearch | None = None,
    problem: str = "",
) -> web.StreamResponse:
    archive = request.app[ARCHIVE]
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        found = await saved.saved(tx, archive.vault, request["actor"])
    shown = [(each, asked_of(MultiDict(each.asked))) for each in found]
    told = language(request).gettext(problem) if problem else ""
    return render(
        request, "searches.html", status, searches=shown, asked=asked, name=name, renaming=renaming, problem=told, most=MOST
    )


def _name(form: Any) -> str:
    given = form.get("name", "")
    name = given.strip() if isinstance(given, str) else ""
    return name if len(name) <= MAX_NAME else ""
