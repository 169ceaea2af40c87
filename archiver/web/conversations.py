"""The list of conversations: chosen, sorted, a page at a time."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from archiver.capture.standing import standings, whole
from archiver.db import tenant_tx
from archiver.ledger.audit import note
from archiver.ledger.canonical import column
from archiver.reading.conversations import SORTS, STATES, Choice, Place, conversations, networks, officials, see_to
from archiver.web.access import reading
from archiver.web.context import ARCHIVE
from archiver.web.place import NoDay, NoPlace, day, place_in_list, read_place_in_list
from archiver.web.render import render

routes = web.RouteTableDef()

PAGE = 50
FILTERS = ("official", "network", "from", "to", "state", "sort")


@routes.get("/")
async def index(request: web.Request) -> web.StreamResponse:
    """The conversations that are asked for."""
    archive, query, org = request.app[ARCHIVE], request.query, request.app[ARCHIVE].vault.org
    choice, problems = chosen(query)
    try:
        at = read_place_in_list(query.get("at"), choice.sort)
    except NoPlace:
        at, problems = None, {**problems, "at": "no_place"}
    everything = request["visitor"].reads_everything
    async with tenant_tx(archive.pool, org) as tx:
        filters = {name: column(query[name], 255) for name in FILTERS if query.get(name)}
        await note(tx, org, request["actor"], "list rooms", **filters)
    if choice.official and everything:
        async with tenant_tx(archive.pool, org) as tx:
            await see_to(tx, archive.vault, choice)
    async with reading(request) as tx:
        listed = await conversations(tx, archive.vault, choice, at, PAGE)
        capturing = whole(await standings(tx, archive.settings))
        known = (await networks(tx, org), await officials(tx, org) if everything else [])

    def link(to: Place | None) -> str:
        return "/?" + urlencode({**filters, "at": place_in_list(to, choice.sort)}) if to else ""

    return render(
        request, "index.html", 400 if problems else 200, listed=listed, capturing=capturing, query=query, problems=problems,
        networks=known[0], officials=known[1], states=list(STATES), sorts=list(SORTS), sort=choice.sort, everything=everything,
        earlier=link(listed.earlier), later=link(listed.later), filtered=bool(filters.keys() - {"sort"}),
    )  # fmt: skip


def chosen(query: Any) -> tuple[Choice, dict[str, str]]:
    """The filters of an address, and what is wrong with them by name; what can't be read is left out of the choice."""
    problems: dict[str, str] = {}

    def moment(name: str, more: int) -> Any:
        try:
            return day(query.get(name), more)
        except NoDay:
            problems[name] = "no_day"
            return None

    def one_of(name: str, known: Any) -> str | None:
        told: str = query.get(name, "")
        if told and told not in known:
            problems[name] = "not_one"
        return told if told in known else None

    official = column(query.get("official", "").strip(), 255) or None
    network = column(query.get("network", "").strip(), 100) or None
    start, end = moment("from", 0), moment("to", 1)
    if start and end and start >= end:
        problems["to"] = "ends_before"
        start = end = None
    return Choice(official, network, start, end, one_of("state", STATES), one_of("sort", SORTS) or "latest"), problems
