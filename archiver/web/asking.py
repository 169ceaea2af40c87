"""The pages about purposes: the form that stands before content, and what an organisation asks of its readers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from archiver.db import tenant_tx
from archiver.ledger.audit import note
from archiver.web import purpose
from archiver.web.context import ARCHIVE, language
from archiver.web.purpose import Policy
from archiver.web.render import render
from archiver.web.sign_in import own_page

routes = web.RouteTableDef()

OTHER = "·other"  # no purpose begins so: of a list that an admin wrote
LONGEST_FIELD = 10_000


@routes.get("/purpose")
async def ask(request: web.Request) -> web.StreamResponse:
    """The form; `next` is where to go on to."""
    policy = await _policy(request)
    stated = request["visitor"].stated
    known = stated.purpose if stated else None
    values = {"purpose": "", "other": "", "case_number": known.case_number or "" if known else ""}
    if known:
        listed = known.text in policy.purposes
        values |= {"purpose": known.text if listed else OTHER, "other": "" if listed else known.text}
    return _form(request, policy, values, {}, own_page(request.query.get("next", "/")))


@routes.post("/purpose")
async def tell(request: web.Request) -> web.StreamResponse:
    """Take a purpose, and go on to what was asked for."""
    archive, visitor, form = request.app[ARCHIVE], request["visitor"], await request.post()
    policy, back = await _policy(request), own_page(_field(form, "next") or "/")
    values = {name: _field(form, name) for name in ("purpose", "other", "case_number")}
    chosen = "" if values["purpose"] == OTHER else values["purpose"]
    judged = purpose.answer(policy, chosen, values["other"], values["case_number"])
    if judged.purpose is None:
        return _form(request, policy, values, judged.problems, back, 400)
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        await purpose.state(tx, archive.vault.org, visitor.session_id, visitor.person, judged.purpose, policy.minutes)
    raise web.HTTPSeeOther(back)


@routes.post("/purpose/end")
async def stop(request: web.Request) -> web.StreamResponse:
    """Be done: no content opens until a purpose is stated again."""
    archive, visitor = request.app[ARCHIVE], request["visitor"]
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        await purpose.end(tx, archive.vault.org, visitor.session_id, visitor.person)
    raise web.HTTPSeeOther("/")


@routes.get("/purpose/policy")
async def show_policy(request: web.Request) -> web.StreamResponse:
    """For an admin: what is asked of readers."""
    archive = request.app[ARCHIVE]
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        await note(tx, archive.vault.org, request["actor"], "look at purpose policy")
    return _policy_form(request, _values(await _policy(request)), {}, kept="kept" in request.query)


@routes.post("/purpose/policy")
async def change_policy(request: web.Request) -> web.StreamResponse:
    """Change what is asked of readers; it holds from their next purpose on."""
    archive, form = request.app[ARCHIVE], await request.post()
    names = ("required", "purposes", "free_text", "case_number", "case_pattern", "minutes")
    values = {name: _field(form, name) for name in names}
    try:
        minutes = float(values["minutes"].replace(",", "."))
    except ValueError:
        minutes = 0.0
    lines = (" ".join(line.split()) for line in values["purposes"].splitlines())
    made = Policy(
        bool(values["required"]), tuple(dict.fromkeys(line for line in lines if line)), bool(values["free_text"]),
        values["case_number"], values["case_pattern"].strip(), minutes,
    )  # fmt: skip
    problems = purpose.judged(made)
    if problems:
        return _policy_form(request, values, problems, status=400)
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        await purpose.change(tx, archive.vault.org, request["actor"], made)
    raise web.HTTPSeeOther("/purpose/policy?kept=1")


async def _policy(request: web.Request) -> Policy:
    archive = request.app[ARCHIVE]
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        return await purpose.policy_of(tx, archive.vault.org, archive.settings.web.purpose)


def _form(
    request: web.Request, policy: Policy, values: Mapping[str, str], problems: Mapping[str, str], back: str, status: int = 200
) -> web.Response:
    say = language(request)
    texts = {
        ("purpose", "choose"): say.gettext("Choose a purpose, or write one of your own."),
        ("purpose", "long"): say.gettext("Write the purpose in at most 200 characters, on one line."),
        ("case_number", "missing"): say.gettext("Fill in the case number: your organisation requires one."),
        ("case_number", "long"): say.gettext("A case number has at most 64 characters, on one line."),
        ("case_number", "pattern"): say.gettext("This is not how your organisation writes case numbers; see the example."),
    }
    if not policy.free_text:
        texts["purpose", "choose"] = say.gettext("Choose a purpose.")
    told = {name: texts[name, kind] for name, kind in problems.items()}
    options = [("", say.gettext("choose a purpose")), *((each, each) for each in policy.purposes)]
    if policy.free_text:
        options.append((OTHER, say.gettext("another purpose, namely:")))
    return render(
        request, "purpose.html", status, policy=policy, values=values, problems=told, back=back, options=options,
        changing=request["visitor"].stated is not None,
    )  # fmt: skip


def _policy_form(
    request: web.Request, values: Mapping[str, Any], problems: Mapping[str, str], status: int = 200, *, kept: bool = False
) -> web.Response:
    say = language(request)
    texts = {
        ("purposes", "none"): say.gettext("Name at least one purpose, or let readers write one themselves."),
        ("purposes", "long"): say.gettext("At most 50 purposes, of at most 200 characters each."),
        ("case_number", "choose"): say.gettext("Choose whether a case number is asked for."),
        ("case_pattern", "pattern"): say.gettext("Use # for a digit, @ for a letter, ? for anything, and * only at the end."),
        ("minutes", "minutes"): say.gettext("A purpose holds for 1 to 1440 minutes."),
    }
    told = {name: texts[name, kind] for name, kind in problems.items()}
    return render(request, "purpose_policy.html", status, values=values, problems=told, kept=kept)


def _values(policy: Policy) -> dict[str, str]:
    return {
        "required": "1" if policy.required else "", "purposes": "\n".join(policy.purposes),
        "free_text": "1" if policy.free_text else "", "case_number": policy.case_number, "case_pattern": policy.case_pattern,
        "minutes": f"{policy.minutes:g}",
    }  # fmt: skip


def _field(form: Any, name: str) -> str:
    value = form.get(name, "")
    return value[:LONGEST_FIELD] if isinstance(value, str) else ""
