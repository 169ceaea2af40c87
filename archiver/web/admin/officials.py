"""Officials: the list, one of them with all that is known, and changing it."""

from __future__ import annotations

from datetime import date
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from aiohttp import web

from archiver.capture.standing import Standing, standings
from archiver.db import Connection, tenant_tx
from archiver.ledger.audit import note
from archiver.ledger.canonical import column
from archiver.reading import officials as known
from archiver.reading.officials import Official
from archiver.web import roles
from archiver.web.admin import registry
from archiver.web.admin.fields import KINDS as DEVICES
from archiver.web.admin.fields import OWNERS, Fields
from archiver.web.admin.page import form_of, page, today, word
from archiver.web.admin.registry import KINDS, TERM, Kind, NoSuchEntry, Refused
from archiver.web.admin.table import EXAMPLE, TITLES, written
from archiver.web.context import ARCHIVE, language
from archiver.web.trail import line

routes = web.RouteTableDef()

SHOWN = 50
WHEN = ("all", "now", "not")
ROOMS = """
    SELECT room.room_id, room.user_id, room.membership FROM room WHERE room.org = $1 AND room.room_id IN (
        SELECT room_id FROM record WHERE record.org = $1 AND record.state_key = ANY($2) AND record.type = 'm.room.member')
"""
SEEN = """
    SELECT user_id, device_id, max(seen_at) AS seen_at, bool_or(cross_signed) AS cross_signed FROM sender_device
    WHERE org = $1 AND user_id = ANY($2) GROUP BY user_id, device_id ORDER BY max(seen_at) DESC LIMIT 100
"""


@routes.get("/admin/officials")
async def listed(request: web.Request) -> web.StreamResponse:
    """A page of officials."""
    archive, query = request.app[ARCHIVE], request.query
    words, when = column(query.get("q", "").strip(), 100), query.get("when", "all")
    when = when if when in WHEN else "all"
    number = query.get("page", "1")
    current = int(number) if number.isascii() and number.isdecimal() and 1 <= len(number) <= 6 else 1
    await _look(request, "list officials", words=words or None)
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        found, total = await known.choose(
            tx, archive.vault.org, words, when, today(), SHOWN, (max(current, 1) - 1) * SHOWN
        )  # fmt: skip

    def to(which: int) -> str:
        return "/admin/officials?" + urlencode({"q": words, "when": when, "page": which})

    previous, following = to(current - 1) if current > 1 else "", to(current + 1) if total > current * SHOWN else ""
    return page(
        request, "officials.html", found=found, total=total, words=words, when=when, previous=previous, next=following
    )  # fmt: skip


@routes.get("/admin/officials.csv")
async def download(request: web.Request) -> web.StreamResponse:
    """All officials as the file that can be imported again."""
    archive = request.app[ARCHIVE]
    await _look(request, "export officials")
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        found = await known.officials(tx, archive.vault.org)
    return _csv("ambtsdragers.csv", b"".join(written(found, TITLES[language(request).code])))


@routes.get("/admin/officials/example.csv")
async def example(request: web.Request) -> web.StreamResponse:
    """A file to fill in."""
    server = request.app[ARCHIVE].settings.homeserver.server_name or "rijk.example"
    rows = [tuple(cell.format(server=server) for cell in cells) for cells in EXAMPLE]
    return _csv("voorbeeld.csv", b"".join(line(cells) for cells in (TITLES[language(request).code], *rows)))


@routes.get("/admin/officials/new")
async def new(request: web.Request) -> web.StreamResponse:
    """The form for a new official, with their first function."""
    return _official_form(request, {"from_day": str(today())}, {})


@routes.post("/admin/officials")
async def add(request: web.Request) -> web.StreamResponse:
    """A new official."""
    archive, form = request.app[ARCHIVE], await form_of(request)
    fields = Fields(form)
    name, values = fields.text("name"), TERM.read(fields)
    if fields.problems:
        return _official_form(request, form, fields.problems, 422)
    org, by = archive.vault.org, request["actor"]
    try:
        async with registry.changing(archive.pool, org, by, fields.raw("reason")) as tx:
            official_id = await registry.add_official(tx, org, by, name)
            await registry.add(tx, org, by, TERM, official_id, values)
    except Refused as refused:
        return _official_form(request, form, refused.problems, 409)
    raise web.HTTPSeeOther(f"/admin/officials/{official_id}?done=added")


@routes.get("/admin/officials/{official}")
async def show(request: web.Request) -> web.StreamResponse:
    """All that is known of an official."""
    return await _show(request, word(request, "official"))


@routes.post("/admin/officials/{official}")
async def rename(request: web.Request) -> web.StreamResponse:
    """Another name for an official."""
    archive, form, official_id = request.app[ARCHIVE], await form_of(request), word(request, "official")
    fields = Fields(form)
    name = fields.text("name")
    if fields.problems:
        return await _show(request, official_id, form, fields.problems, 422)
    try:
        async with registry.changing(archive.pool, archive.vault.org, request["actor"], fields.raw("reason")) as tx:
            await registry.rename(tx, archive.vault.org, request["actor"], official_id, name)
    except NoSuchEntry:
        raise web.HTTPNotFound from None
    raise web.HTTPSeeOther(f"/admin/officials/{official_id}?done=changed")


@routes.get("/admin/officials/{official}/withdraw")
async def ask_withdraw_official(request: web.Request) -> web.StreamResponse:
    """Whether the whole official was a mistake."""
    return page(request, "withdraw.html", person=await _official(request), entry=None, kind="official")


@routes.post("/admin/officials/{official}/withdraw")
async def withdraw_official(request: web.Request) -> web.StreamResponse:
    """The whole official was a mistake."""
    archive, fields = request.app[ARCHIVE], Fields(await form_of(request))
    org, by = archive.vault.org, request["actor"]
    try:
        async with registry.changing(archive.pool, org, by, fields.raw("reason")) as tx:
            await registry.withdraw_official(tx, org, by, word(request, "official"))
    except NoSuchEntry:
        raise web.HTTPNotFound from None
    raise web.HTTPSeeOther("/admin/officials?done=withdrawn")


@routes.get("/admin/officials/{official}/{kind}/new")
async def new_entry(request: web.Request) -> web.StreamResponse:
    """The form for another function, device or number."""
    person, kind = await _official(request), _kind(request)
    start: dict[str, Any] = {"from_day": str(today()), "kind": "phone", "owner": "organisation"}
    if kind is TERM and person.terms:
        start |= {"matrix_id": person.terms[0].matrix_id, "unit": person.terms[0].unit}
    return _entry_form(request, person, kind, start)


@routes.post("/admin/officials/{official}/{kind}/new")
async def add_entry(request: web.Request) -> web.StreamResponse:
    """Another function, device or number."""
    return await _keep(request, await _official(request), _kind(request), None)


@routes.get("/admin/officials/{official}/{kind}/{entry}")
async def edit(request: web.Request) -> web.StreamResponse:
    """The form to correct or end something."""
    person, kind, entry_id = await _official(request), _kind(request), word(request, "entry")
    found = _entry(person, kind, entry_id)
    archive = request.app[ARCHIVE]
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        seen = await registry.version(tx, archive.vault.org, entry_id)
    values = {name: getattr(found, name) for name in kind.columns}
    told = {name: str(value) if isinstance(value, date) else value for name, value in values.items() if value is not None}
    return _entry_form(request, person, kind, {**told, "seen": str(seen)}, entry_id=entry_id)


@routes.post("/admin/officials/{official}/{kind}/{entry}")
async def change(request: web.Request) -> web.StreamResponse:
    """Correct or end something."""
    return await _keep(request, await _official(request), _kind(request), word(request, "entry"))


@routes.get("/admin/officials/{official}/{kind}/{entry}/withdraw")
async def ask_withdraw(request: web.Request) -> web.StreamResponse:
    """Whether something was a mistake."""
    person, kind = await _official(request), _kind(request)
    found = _entry(person, kind, word(request, "entry"))
    told = {name: getattr(found, name) for name in kind.columns}
    return page(request, "withdraw.html", person=person, entry=told, entry_id=found.entry_id, kind=kind.name)


@routes.post("/admin/officials/{official}/{kind}/{entry}/withdraw")
async def withdraw(request: web.Request) -> web.StreamResponse:
    """Something was a mistake."""
    archive, kind, fields = request.app[ARCHIVE], _kind(request), Fields(await form_of(request))
    org, by, official_id = archive.vault.org, request["actor"], word(request, "official")
    try:
        async with registry.changing(archive.pool, org, by, fields.raw("reason")) as tx:
            await registry.withdraw(tx, org, by, kind, official_id, word(request, "entry"))
    except NoSuchEntry:
        raise web.HTTPNotFound from None
    raise web.HTTPSeeOther(f"/admin/officials/{official_id}?done=withdrawn")


async def _keep(request: web.Request, person: Official, kind: Kind, entry_id: UUID | None) -> web.Response:
    """What was filled in of an entry: kept, or shown again with what is wrong."""
    archive, form = request.app[ARCHIVE], await form_of(request)
    if entry_id:
        _entry(person, kind, entry_id)
    fields = Fields(form)
    values = kind.read(fields)
    problems, status = fields.problems, 422
    if not problems:
        org, by, seen = archive.vault.org, request["actor"], fields.raw("seen")
        try:
            async with registry.changing(archive.pool, org, by, fields.raw("reason")) as tx:
                if entry_id is None:
                    await registry.add(tx, org, by, kind, person.official_id, values)
                else:
                    version = int(seen) if seen.isascii() and seen.isdecimal() and len(seen) < 19 else -1
                    await registry.change(tx, org, by, kind, person.official_id, entry_id, values, version)
        except NoSuchEntry:
            raise web.HTTPNotFound from None
        except Refused as refused:
            problems, status = refused.problems, 409
    if problems:
        return _entry_form(request, person, kind, form, problems, status, entry_id)
    raise web.HTTPSeeOther(f"/admin/officials/{person.official_id}?done={'changed' if entry_id else 'added'}")


def _official_form(request: web.Request, values: Any, problems: dict[str, str], status: int = 200) -> web.Response:
    return page(request, "new.html", status, values=values, problems=problems)


def _entry_form(
    request: web.Request,
    person: Official,
    kind: Kind,
    values: Any,
    problems: dict[str, str] | None = None,
    status: int = 200,
    entry_id: UUID | None = None,
) -> web.Response:
    return page(
        request, "entry.html", status, person=person, kind=kind.name, values=values, problems=problems or {}, entry_id=entry_id,
        kinds=DEVICES, owners=OWNERS,
    )  # fmt: skip


async def _show(
    request: web.Request, official_id: UUID, values: Any = None, problems: dict[str, str] | None = None, status: int = 200
) -> web.Response:
    archive = request.app[ARCHIVE]
    org = archive.vault.org
    await _look(request, "read official", official=str(official_id))
    async with tenant_tx(archive.pool, org) as tx:
        person = await known.official(tx, org, official_id)
        if person is None:
            raise web.HTTPNotFound
        changes = await registry.history(tx, org, official_id)
        given = [each for each in await roles.assigned(tx, org) if each.matrix_id in person.accounts]
        seen = await tx.fetch(SEEN, org, person.accounts)
        rooms, seats, unseated = await _rooms(request, tx, person)
    return page(
        request, "official.html", status, person=person, changes=changes, given=given, seen=seen, rooms=rooms,
        seats=seats, unseated=unseated,
        values=values or {"name": person.name}, problems=problems or {},
    )  # fmt: skip


async def _rooms(request: web.Request, tx: Connection, person: Official) -> tuple[int, list[tuple[Standing, int]], int]:
    """In how many conversations their accounts are or were; the archiver's seats in these; in how many it is no member."""
    archive = request.app[ARCHIVE]
    rows = await tx.fetch(ROOMS, archive.vault.org, person.accounts)
    used = {row["user_id"]: sum(each["user_id"] == row["user_id"] for each in rows) for row in rows}
    seats = [(seat, used[seat.user_id]) for seat in await standings(tx, archive.settings) if seat.user_id in used]
    return len(rows), seats, sum(row["membership"] != "join" for row in rows)


async def _look(request: web.Request, action: str, **detail: str | None) -> None:
    archive = request.app[ARCHIVE]
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        await note(tx, archive.vault.org, request["actor"], action, **detail)


async def _official(request: web.Request) -> Official:
    """The official of the address. Raises HTTPNotFound."""
    archive, official_id = request.app[ARCHIVE], word(request, "official")
    await _look(request, "read official", official=str(official_id))
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        found = await known.official(tx, archive.vault.org, official_id)
    if found is None:
        raise web.HTTPNotFound
    return found


def _kind(request: web.Request) -> Kind:
    try:
        return KINDS[request.match_info["kind"]]
    except KeyError:
        raise web.HTTPNotFound from None


def _entry(person: Official, kind: Kind, entry_id: UUID) -> Any:
    """An entry of an official. Raises HTTPNotFound."""
    entries = {"term": person.terms, "device": person.devices, "channel": person.channels}[kind.name]
    for each in entries:
        if each.entry_id == entry_id:
            return each
    raise web.HTTPNotFound


def _csv(name: str, body: bytes) -> web.Response:
    # The mark at the front tells spreadsheet programs that it is UTF-8.
    return web.Response(
        body=b"\xef\xbb\xbf" + body,
        headers={"Content-Type": "text/csv; charset=utf-8", "Content-Disposition": f'attachment; filename="{name}"'},
    )
