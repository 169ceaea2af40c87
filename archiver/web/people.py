"""For admins: who has which role, and who is signed in. Nothing of what is said."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from aiohttp import web

from archiver.db import tenant_tx
from archiver.ledger.audit import note
from archiver.ledger.canonical import column
from archiver.web import roles, sessions
from archiver.web.context import ARCHIVE, language
from archiver.web.render import render
from archiver.web.roles import Role, RoleError

routes = web.RouteTableDef()


@routes.get("/people")
async def people(request: web.Request) -> web.StreamResponse:
    """Roles and sessions."""
    archive = request.app[ARCHIVE]
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        await note(tx, archive.vault.org, request["actor"], "list people")
    return await _people(request)


@routes.post("/people/roles")
async def change_role(request: web.Request) -> web.StreamResponse:
    """Give somebody a role, or take it back."""
    archive, form = request.app[ARCHIVE], await request.post()
    person, role, matrix_id, why = (_field(form, name) for name in ("person", "role", "matrix_id", "reason"))
    if role not in list(Role):
        raise web.HTTPNotFound
    org, by = archive.vault.org, request["actor"]
    try:
        async with tenant_tx(archive.pool, org) as tx:
            if form.get("do") == "take":
                await roles.revoke(tx, org, by, person, Role(role), reason=why or None)
            else:
                beside = {
                    Role(each)
                    for session in await sessions.live(tx, org, archive.settings.web)
                    for each in session.roles
                    if session.person == person
                }
                await roles.grant(tx, org, by, person, Role(role), matrix_id=matrix_id or None, reason=why or None, beside=beside)
    except RoleError as error:
        return await _people(request, problem=language(request).role_problem(error), status=409)
    raise web.HTTPSeeOther("/people")


@routes.post("/people/sessions")
async def end_session(request: web.Request) -> web.StreamResponse:
    """End somebody's session."""
    archive, form = request.app[ARCHIVE], await request.post()
    try:
        session_id = UUID(_field(form, "session"))
    except ValueError:
        raise web.HTTPNotFound from None
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        ended = await sessions.end(tx, archive.vault.org, session_id)
        if ended:
            told = {"person": ended.person, "session": str(session_id)}
            await note(tx, archive.vault.org, request["actor"], "session ended", **told)
    raise web.HTTPSeeOther("/people")


async def _people(request: web.Request, problem: str = "", status: int = 200) -> web.Response:
    archive = request.app[ARCHIVE]
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        given = await roles.assigned(tx, archive.vault.org)
        changes = await roles.history(tx, archive.vault.org)
        now = await sessions.live(tx, archive.vault.org, archive.settings.web)
    return render(request, "people.html", status, given=given, changes=changes, sessions=now, problem=problem, roles=list(Role))


def _field(form: Any, name: str) -> str:
    value = form.get(name, "")
    return column(value.strip(), 255) if isinstance(value, str) else ""
