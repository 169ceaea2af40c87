"""Bridged numbers: connecting accounts, whose each number is, pausing, testing, and what could not be carried over."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from aiohttp import web

from archiver.db import tenant_tx
from archiver.ledger.audit import note
from archiver.ledger.canonical import column
from archiver.reading.officials import Official, official_with, officials
from archiver.web.admin.bridge import (
    Account,
    Away,
    Bridge,
    BridgeError,
    Failure,
    Health,
    NotSet,
    NumberHealth,
    Refuses,
    bridge,
)
from archiver.web.admin.page import form_of, page, today
from archiver.web.context import ARCHIVE, language

log = logging.getLogger(__name__)
routes = web.RouteTableDef()

HERE = "/admin/bridge"
NUMBER_ACTS = ("pause", "resume", "test", "history")


@routes.get(HERE)
async def listed(request: web.Request) -> web.StreamResponse:
    """All accounts and numbers, and what needs attention."""
    await _note(request, "list bridged numbers")
    return await _listed(request)


@routes.post(HERE + "/accounts")
async def connect(request: web.Request) -> web.StreamResponse:
    """Connect a business account, or give it a new token. The token goes to the bridge and stays nowhere here."""
    form = await form_of(request)
    account, name = _field(form, "waba_id", 64), _field(form, "name", 100)
    token, secret = (str(form.get(field, "")).strip() for field in ("token", "app_secret"))

    async def work(there: Bridge) -> None:
        await there.connect(account, token, secret, name)

    values = {"waba_id": account, "name": name}
    return await _do(request, "connect", work, HERE, values=values, account=account)


@routes.post(HERE + "/accounts/{account}/forget")
async def forget(request: web.Request) -> web.StreamResponse:
    """Forget an account's token."""
    account = column(request.match_info["account"], 64)

    async def work(there: Bridge) -> None:
        await there.forget(account)

    return await _do(request, "forget account", work, HERE, account=account)


@routes.post(HERE + "/numbers")
async def assign(request: web.Request) -> web.StreamResponse:
    """Serve a number, for an official."""
    form = await form_of(request)
    number, official, account, label = (_field(form, name) for name in ("number", "official", "account", "label"))

    async def work(there: Bridge) -> None:
        await there.assign(number, official, account, label)

    values = {"number": number, "official": official, "account": account, "label": label}
    return await _do(request, "assign", work, HERE, values=values, number=number, official=official)


@routes.post(HERE + "/retry")
async def retry(request: web.Request) -> web.StreamResponse:
    """Carry over after all, one item or all that came from WhatsApp."""
    item = _field(await form_of(request), "item", 40)

    async def work(there: Bridge) -> None:
        await there.retry(item)

    return await _do(request, "retry", work, HERE, item=item or None)


@routes.get(HERE + "/numbers/{number}")
async def show(request: web.Request) -> web.StreamResponse:
    """One number."""
    await _note(request, "read bridged number", number=_number(request))
    return await _show(request)


@routes.post(HERE + "/numbers/{number}")
async def change(request: web.Request) -> web.StreamResponse:
    """Pause, resume, test or assign a number, let colleagues speak for it, ask for its history, or stop serving it."""
    form, number = await form_of(request), _number(request)
    what, user = _field(form, "do", 40), _field(form, "user", 255)

    async def work(there: Bridge) -> None:
        if what in NUMBER_ACTS:
            await there.do(number, what)
        elif what == "assign":
            await there.assign(number, user, _field(form, "account", 64), _field(form, "label", 100))
        elif what in ("add colleague", "remove colleague"):
            await there.colleague(number, user, may=what.startswith("add"))
        else:
            await there.remove(number)

    if what not in (*NUMBER_ACTS, "assign", "add colleague", "remove colleague", "remove"):
        raise web.HTTPNotFound
    there = HERE if what == "remove" else f"{HERE}/numbers/{quote(number, safe='')}"
    return await _do(request, what, work, there, values={"user": user}, shown=_show, number=number, user=user or None)


@routes.get(HERE + "/numbers/{number}/remove")
async def ask_remove(request: web.Request) -> web.StreamResponse:
    """Whether a number is to be served no longer."""
    return await _show(request, template="remove.html")


async def _do(
    request: web.Request,
    what: str,
    work: Callable[[Bridge], Awaitable[None]],
    there: str,
    *,
    values: dict[str, str] | None = None,
    shown: Any = None,
    **detail: str | None,
) -> web.Response:
    """Have the bridge do something; noted before, so that nothing is done that the trail does not know."""
    told = {name: column(value, 255) for name, value in detail.items() if value}
    await _note(request, "change bridge", what=what, **told)
    try:
        async with bridge(request.app[ARCHIVE].settings.web.bridge, request["actor"]) as asked:
            await work(asked)
    except BridgeError as error:
        if not isinstance(error, NotSet):
            await _note(request, "bridge refused", what=what, why=column(str(error), 255))
        status = 409 if isinstance(error, Refuses) else 502
        return await (shown or _listed)(request, error=error, what=what, values=values, status=status)
    raise web.HTTPSeeOther(f"{there}?done={quote(what)}")


async def _listed(
    request: web.Request,
    *,
    error: BridgeError | None = None,
    what: str = "",
    values: dict[str, str] | None = None,
    status: int = 200,
) -> web.Response:
    health: Health | None = None
    accounts: tuple[Account, ...] = ()
    failed: tuple[Failure, ...] = ()
    away: BridgeError | None = error if isinstance(error, Away | NotSet) else None
    if away is None:
        try:
            async with bridge(request.app[ARCHIVE].settings.web.bridge, request["actor"]) as there:
                health, accounts, failed = await there.health(), await there.accounts(), await there.failed()
        except BridgeError as found:
            away, status = found, 200 if isinstance(found, NotSet) else 502
            log.warning("The bridge can't be asked: %s", found)
    people = await _people(request)
    say = language(request)
    options = [(each.waba_id, each.name or each.waba_id or say.gettext("the one of the settings")) for each in accounts]
    at = {"connect": "waba_id", "assign": "number", "retry": "failed"}.get(what, "")
    whose = {each.number.id: await _registered(request, each) for each in health.numbers} if health else {}
    return page(
        request, "bridge.html", status, health=health, accounts=accounts, failed=failed, why=_why(request, away),
        refused=_why(request, error) if isinstance(error, Refuses) else "", what=what, values=values or {}, people=people,
        names=_names(people), whose=whose, not_set=isinstance(away, NotSet), account_options=options, at=at,
    )  # fmt: skip


async def _show(
    request: web.Request,
    *,
    template: str = "number.html",
    error: BridgeError | None = None,
    what: str = "",
    values: dict[str, str] | None = None,
    status: int = 200,
) -> web.Response:
    number = _number(request)
    try:
        async with bridge(request.app[ARCHIVE].settings.web.bridge, request["actor"]) as there:
            health = await there.health()
            found = next((each for each in health.numbers if each.number.id == number), None)
            if found is None:
                raise web.HTTPNotFound
            assignments, breaks = await there.assignments(number), await there.interruptions(number)
    except NotSet:
        raise web.HTTPNotFound from None
    except BridgeError as away:
        return await _listed(request, error=away, status=502)
    people = await _people(request)
    return page(
        request, template, status, found=found, assignments=assignments, breaks=breaks, people=people, names=_names(people),
        refused=_why(request, error), what=what, values=values or {}, registered=await _registered(request, found),
    )  # fmt: skip


async def _registered(request: web.Request, found: NumberHealth) -> Official | None:
    """Whose the number is by what is known of officials."""
    archive = request.app[ARCHIVE]
    digits = "".join(letter for letter in found.number.display_phone_number if letter.isdecimal())
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        return await official_with(tx, archive.vault.org, f"+{digits}", datetime.now(UTC))


async def _people(request: web.Request) -> list[Official]:
    """Officials in office: to whom a number can be given."""
    archive = request.app[ARCHIVE]
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        return [each for each in await officials(tx, archive.vault.org) if each.held(today())]


def _names(people: list[Official]) -> dict[str, str]:
    return {term.matrix_id: each.name for each in people for term in each.held(today())}


def _why(request: web.Request, error: BridgeError | None) -> str:
    """Why it could not be, for the admin."""
    say = language(request)
    if error is None:
        return ""
    if isinstance(error, Refuses):
        return error.told(say.code)
    if isinstance(error, NotSet):
        return say.gettext("No bridge is set. Fill in web.bridge.url and web.bridge.token, and start the pages anew.")
    return say.gettext(
        "The bridge can't be reached: %(why)s. See whether 'griffier bridge' runs and whether web.bridge is right. "
        "Nothing was changed; what comes from WhatsApp meanwhile is kept by WhatsApp for some days."
    ) % {"why": error}


def _number(request: web.Request) -> str:
    return column(request.match_info["number"], 64)


def _field(form: Any, name: str, limit: int = 255) -> str:
    value = form.get(name, "")
    return column(value.strip(), limit) if isinstance(value, str) else ""


async def _note(request: web.Request, action: str, **detail: str | None) -> None:
    archive = request.app[ARCHIVE]
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        await note(tx, archive.vault.org, request["actor"], action, **detail)
