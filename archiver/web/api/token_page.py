"""The page on which people make and revoke access for their programs; an admin revokes anybody's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from aiohttp import web

from archiver.db import tenant_tx
from archiver.ledger.canonical import column
from archiver.web.api import tokens
from archiver.web.api.scopes import ABOUT, open_to
from archiver.web.api.tokens import PersonalToken, TooManyTokens
from archiver.web.context import ARCHIVE, language
from archiver.web.render import render
from archiver.web.roles import Role

routes = web.RouteTableDef()

DAYS = (7, 30, 90, 180, 365)
LABEL = 100  # letters


@routes.get("/tokens")
async def show(request: web.Request) -> web.StreamResponse:
    """One's tokens; for an admin, everybody's."""
    return await _page(request)


@routes.post("/tokens")
async def make(request: web.Request) -> web.StreamResponse:
    """Make a token. It is in this answer, and nowhere after."""
    archive, visitor, say = request.app[ARCHIVE], request["visitor"], language(request)
    form = await request.post()
    label, days = _text(form, "label"), _text(form, "days")
    chosen = {scope for scope in open_to(visitor.roles) if scope in form.getall("scope", [])}
    wrong = []
    if not label or len(label) > LABEL:
        wrong.append(("label", say.gettext("Say what the token is for, in at most 100 letters.")))
    if not chosen:
        wrong.append(("scopes", say.gettext("Choose at least one thing that the token may do.")))
    if days not in map(str, DAYS):
        wrong.append(("days", say.gettext("Choose how long the token is to hold.")))
    token, typed = "", {"label": label, "days": days, "scopes": chosen}
    if not wrong:
        try:
            async with tenant_tx(archive.pool, archive.vault.org) as tx:
                held = archive.vault.org, visitor.session_id
                token, _ = await tokens.make(tx, *held, column(label, 255), chosen, int(days))
        except TooManyTokens:
            wrong.append(("label", say.gettext("You have as many tokens as one person may have. Revoke one first.")))
    return await _page(request, made=token, wrong=wrong, typed=typed if wrong else {}, status=400 if wrong else 200)


@routes.get("/tokens/{token_id}/revoke")
async def ask(request: web.Request) -> web.StreamResponse:
    """Whether they are sure: a program that uses it stops working."""
    return render(request, "revoke_token.html", token=await _one(request))


@routes.post("/tokens/{token_id}/revoke")
async def revoke(request: web.Request) -> web.StreamResponse:
    """End a token; it is refused from the next request."""
    archive, visitor = request.app[ARCHIVE], request["visitor"]
    own = Role.ADMIN not in visitor.roles
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        ended = await tokens.revoke(tx, archive.vault.org, visitor.person, _id(request), own=own)
    if ended is None:
        raise web.HTTPNotFound
    raise web.HTTPSeeOther("/tokens")


async def _page(request: web.Request, status: int = 200, **told: Any) -> web.Response:
    archive, visitor = request.app[ARCHIVE], request["visitor"]
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        found = await tokens.tokens(tx, archive.vault.org, None if Role.ADMIN in visitor.roles else visitor.person)
    own = [each for each in found if each.person == visitor.person]
    others = [each for each in found if each.person != visitor.person]
    values = {
        "own": own, "others": others, "now": datetime.now(UTC), "scopes": open_to(visitor.roles), "about": ABOUT, "days": DAYS,
        "made": "", "wrong": [], "typed": {},
    }  # fmt: skip
    return render(request, "tokens.html", status, **{**values, **told})


async def _one(request: web.Request) -> PersonalToken:
    archive, visitor = request.app[ARCHIVE], request["visitor"]
    person = None if Role.ADMIN in visitor.roles else visitor.person
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        found = await tokens.tokens(tx, archive.vault.org, person)
    token_id = _id(request)
    for each in found:
        if each.token_id == token_id:
            return each
    raise web.HTTPNotFound


def _id(request: web.Request) -> UUID:
    try:
        return UUID(request.match_info["token_id"])
    except ValueError:
        raise web.HTTPNotFound from None


def _text(form: Any, name: str) -> str:
    value = form.get(name, "")
    return column(value.strip(), 400) if isinstance(value, str) else ""
