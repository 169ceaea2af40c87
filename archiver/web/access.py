"""Who may open what: one table for every route, and the one place where it is enforced. What is not in the table is closed."""

from __future__ import annotations

import hmac
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from uuid import UUID

from aiohttp import web
from yarl import URL

from archiver.db import Connection, tenant_tx
from archiver.export.catalogue import N_
from archiver.ledger.audit import Purpose, doing, note
from archiver.reading.membership import reader_tx
from archiver.web import jobs, roles, sessions
from archiver.web.api import bearer, problem
from archiver.web.api.scopes import Scope
from archiver.web.context import ARCHIVE, Archive, language, public_url
from archiver.web.posted import posted
from archiver.web.purpose import PURPOSE_HEADERS, Stated, policy_of, told_in_headers
from archiver.web.render import render
from archiver.web.roles import READERS, READING, Role
from archiver.web.sessions import form_token

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Whoever(Enum):
    """Rules that ask for no role."""

    OPEN = "open"  # without signing in
    SIGNED_IN = "signed in"


Rule = frozenset[Role] | Whoever
ADMINS = frozenset({Role.ADMIN})
ROUTES: dict[tuple[str, str], Rule] = {
    ("GET", "/healthz"): Whoever.OPEN,
    ("GET", "/readyz"): Whoever.OPEN,
    ("GET", "/metrics"): Whoever.OPEN,
    ("GET", "/static/{file}"): Whoever.OPEN,
    ("GET", "/signin"): Whoever.OPEN,
    ("GET", "/signin/start"): Whoever.OPEN,
    ("GET", "/signin/callback"): Whoever.OPEN,
    ("GET", "/signedout"): Whoever.OPEN,
    ("POST", "/oidc/backchannel-logout"): Whoever.OPEN,
    ("POST", "/signout"): Whoever.SIGNED_IN,
    ("GET", "/"): READING,
    ("GET", "/own"): frozenset({Role.OFFICIAL}),
    ("GET", "/rooms/{room_id}"): READING,
    ("GET", "/rooms/{room_id}/messages/{event_id}"): READING,
    ("GET", "/rooms/{room_id}/messages/{event_id}/proof"): READING,
    ("GET", "/rooms/{room_id}/messages/{event_id}/proof.json"): READING,
    ("GET", "/rooms/{room_id}/threads/{event_id}"): READING,
    ("GET", "/rooms/{room_id}/files/{event_id}"): READING,
    ("GET", "/search"): READING,
    ("GET", "/searches"): READING,
    ("POST", "/searches"): READING,
    ("POST", "/searches/{search_id}/rename"): READING,
    ("GET", "/searches/{search_id}/remove"): READING,
    ("POST", "/searches/{search_id}/remove"): READING,
    ("GET", "/channels"): READERS | {Role.ADMIN},
    ("GET", "/purpose"): READERS,
    ("POST", "/purpose"): READERS,
    ("POST", "/purpose/end"): READERS,
    ("GET", "/purpose/policy"): frozenset({Role.ADMIN}),
    ("POST", "/purpose/policy"): frozenset({Role.ADMIN}),
    ("GET", "/exports"): READERS,
    ("POST", "/exports"): READERS,
    ("GET", "/exports/{job_id}/state"): READERS,
    ("POST", "/exports/{job_id}/cancel"): READERS,
    ("GET", "/exports/{job_id}/download"): READERS,
    ("GET", "/health"): frozenset({Role.ADMIN}),
    ("GET", "/people"): frozenset({Role.ADMIN}),
    ("POST", "/people/roles"): frozenset({Role.ADMIN}),
    ("POST", "/people/sessions"): frozenset({Role.ADMIN}),
    ("GET", "/admin/officials"): ADMINS,
    ("POST", "/admin/officials"): ADMINS,
    ("GET", "/admin/officials/new"): ADMINS,
    ("GET", "/admin/officials.csv"): ADMINS,
    ("GET", "/admin/officials/example.csv"): ADMINS,
    ("GET", "/admin/officials/import"): ADMINS,
    ("POST", "/admin/officials/import"): ADMINS,
    ("GET", "/admin/officials/import/{import_id}"): ADMINS,
    ("POST", "/admin/officials/import/{import_id}"): ADMINS,
    ("GET", "/admin/officials/import/{import_id}/undo"): ADMINS,
    ("POST", "/admin/officials/import/{import_id}/undo"): ADMINS,
    ("GET", "/admin/officials/{official}"): ADMINS,
    ("POST", "/admin/officials/{official}"): ADMINS,
    ("GET", "/admin/officials/{official}/withdraw"): ADMINS,
    ("POST", "/admin/officials/{official}/withdraw"): ADMINS,
    ("GET", "/admin/officials/{official}/{kind}/new"): ADMINS,
    ("POST", "/admin/officials/{official}/{kind}/new"): ADMINS,
    ("GET", "/admin/officials/{official}/{kind}/{entry}"): ADMINS,
    ("POST", "/admin/officials/{official}/{kind}/{entry}"): ADMINS,
    ("GET", "/admin/officials/{official}/{kind}/{entry}/withdraw"): ADMINS,
    ("POST", "/admin/officials/{official}/{kind}/{entry}/withdraw"): ADMINS,
    ("GET", "/admin/organisation"): ADMINS,
    ("GET", "/admin/bridge"): ADMINS,
    ("POST", "/admin/bridge/accounts"): ADMINS,
    ("POST", "/admin/bridge/accounts/{account}/forget"): ADMINS,
    ("POST", "/admin/bridge/numbers"): ADMINS,
    ("POST", "/admin/bridge/retry"): ADMINS,
    ("GET", "/admin/bridge/numbers/{number}"): ADMINS,
    ("POST", "/admin/bridge/numbers/{number}"): ADMINS,
    ("GET", "/admin/bridge/numbers/{number}/remove"): ADMINS,
    ("GET", "/audit"): frozenset({Role.AUDITOR}),
    ("GET", "/audit/chain"): frozenset({Role.AUDITOR}),
    ("GET", "/audit.csv"): frozenset({Role.AUDITOR}),
    ("GET", "/tokens"): frozenset(Role),
    ("POST", "/tokens"): frozenset(Role),
    ("GET", "/tokens/{token_id}/revoke"): frozenset(Role),
    ("POST", "/tokens/{token_id}/revoke"): frozenset(Role),
    ("GET", "/api/v1/"): Whoever.OPEN,
    ("GET", "/api/v1/openapi.json"): Whoever.OPEN,
    ("GET", "/api/v1/me"): Whoever.SIGNED_IN,
    ("GET", "/api/v1/rooms"): READING,
    ("GET", "/api/v1/rooms/{room_id}"): READING,
    ("GET", "/api/v1/rooms/{room_id}/messages"): READING,
    ("GET", "/api/v1/rooms/{room_id}/changes"): READERS,  # what changed after they left is not an official's
    ("GET", "/api/v1/rooms/{room_id}/messages/{event_id}"): READING,
    ("GET", "/api/v1/rooms/{room_id}/messages/{event_id}/proof"): READING,
    ("GET", "/api/v1/rooms/{room_id}/messages/{event_id}/file"): READING,
    ("GET", "/api/v1/search"): READING,
    ("GET", "/api/v1/channels"): READERS | {Role.ADMIN},
    ("GET", "/api/v1/health"): frozenset({Role.ADMIN}),
    ("GET", "/api/v1/roles"): frozenset({Role.ADMIN}),
    ("POST", "/api/v1/roles"): frozenset({Role.ADMIN}),
    ("DELETE", "/api/v1/roles/{person}/{role}"): frozenset({Role.ADMIN}),
    ("GET", "/api/v1/sessions"): frozenset({Role.ADMIN}),
    ("DELETE", "/api/v1/sessions/{session_id}"): frozenset({Role.ADMIN}),
    ("GET", "/api/v1/exports"): READERS,
    ("POST", "/api/v1/exports"): READERS,
    ("GET", "/api/v1/exports/{export_id}"): READERS,
    ("DELETE", "/api/v1/exports/{export_id}"): READERS,
    ("GET", "/api/v1/exports/{export_id}/file"): READERS,
    ("GET", "/api/v1/audit"): frozenset({Role.AUDITOR}),
}
LONGEST_BACK = 1500  # characters of an address that a form is put in
# Where a script of a page of ours says to the API what a form says in a field.
FORM_TOKEN = "Griffier-Form-Token"  # noqa: S105 - a name
# What readers may open shows content, and asks for a purpose first. Only what stands here doesn't: a new page can't forget it.
# What a conversation is called is content.
WITHOUT_CONTENT: frozenset[tuple[str, str]] = frozenset({
    ("GET", "/channels"), ("GET", "/purpose"), ("POST", "/purpose"), ("POST", "/purpose/end"),
    ("GET", "/exports/{job_id}/state"), ("POST", "/exports/{job_id}/cancel"),
    ("GET", "/searches"), ("POST", "/searches"), ("POST", "/searches/{search_id}/rename"),
    ("GET", "/searches/{search_id}/remove"), ("POST", "/searches/{search_id}/remove"),
    ("GET", "/tokens"), ("POST", "/tokens"), ("GET", "/tokens/{token_id}/revoke"), ("POST", "/tokens/{token_id}/revoke"),
    ("GET", "/api/v1/channels"),
    ("GET", "/api/v1/exports"), ("GET", "/api/v1/exports/{export_id}"), ("DELETE", "/api/v1/exports/{export_id}"),
})  # fmt: skip
# What a page asks for by itself, again and again: nobody has to be there for it, so it keeps no session alive.
BY_ITSELF = frozenset({"/exports/{job_id}/state"})
# What each role finds in the menu: the address and its name. The first is where they come in.
MENU: tuple[tuple[str, str], ...] = (
    ("/", N_("Conversations")),
    ("/own", N_("My archive")),
    ("/health", N_("Health")),
    ("/channels", N_("Channels")),
    ("/search", N_("Search")),
    ("/exports", N_("Exports")),
    ("/people", N_("People and roles")),
    ("/admin/officials", N_("Officials")),
    ("/admin/bridge", N_("Bridged numbers")),
    ("/admin/organisation", N_("Organisation")),
    ("/purpose/policy", N_("Purposes of reading")),
    ("/audit", N_("Audit trail")),
    ("/tokens", N_("Access for programs")),
)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is asking, and what they are now."""

    session_id: UUID
    person: str
    name: str
    roles: frozenset[Role]
    matrix_id: str | None
    form_token: str = field(repr=False)
    stated: Stated | None = None  # why they read what others said
    scopes: frozenset[Scope] | None = None  # of a personal access token; None is a session, which has no such bounds
    token_id: UUID | None = None

    @property
    def reads_everything(self) -> bool:
        return bool(self.roles & READERS)


def rule(method: str, path: str) -> Rule:
    """The rule of a route, by its canonical path."""
    return ROUTES.get(("GET" if method == "HEAD" else method, path), frozenset())


def allows(found: Rule, held: frozenset[Role] | None) -> bool:
    """Whether somebody with these roles may; None is nobody, who has not signed in."""
    if found is Whoever.OPEN:
        return True
    if held is None:
        return False
    return found is Whoever.SIGNED_IN or bool(isinstance(found, frozenset) and found & held)


def shows_content(method: str, path: str) -> bool:
    """Whether a route shows what others said to who may read everything; they tell why first."""
    found, wanted = rule(method, path), ("GET" if method == "HEAD" else method, path)
    return isinstance(found, frozenset) and bool(found & READERS) and wanted not in WITHOUT_CONTENT


def menu(held: frozenset[Role]) -> list[tuple[str, str]]:
    """The pages that somebody may open."""
    return [(path, name) for path, name in MENU if allows(rule("GET", path), held)]


def cookie_name(archive: Archive) -> str:
    """The session's cookie. Browsers keep `__Host-` to https and this host; without it, the port tells two archives apart."""
    url = public_url(archive.settings)
    return "__Host-griffier" if url.startswith("https:") else f"griffier_session_{archive.settings.web.port}"


async def visitor_of(
    tx: Connection, archive: Archive, token: str, *, there: bool = True
) -> tuple[Visitor | None, roles.Conflict | None]:
    """Who has this cookie, with the roles they have now; and what stands in the way. Whether they are there themselves."""
    session = await sessions.find(tx, archive.vault.org, token, archive.settings.web, renew=there)
    if session is None:
        return None, None
    given = await roles.assigned(tx, archive.vault.org, session.person)
    held = frozenset({*map(Role, session.roles), *(Role(change.role) for change in given)})
    matrix_id = next((change.matrix_id for change in given if change.matrix_id), session.matrix_id)
    stated = None
    if session.purpose is not None and session.purpose_until and session.purpose_until > datetime.now(UTC):
        stated = Stated(Purpose(session.purpose, session.case_number), session.purpose_until)
    made = Visitor(session.session_id, session.person, session.name, held, matrix_id, form_token(token), stated)
    return made, roles.conflict(held)


@web.middleware
async def require(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let everybody do what the table says they may, and nothing else."""
    request["visitor"], request["actor"], request["menu"] = None, None, ()
    resource = request.match_info.route.resource
    path = resource.canonical if resource else ""
    found = rule(request.method, path)
    if found is Whoever.OPEN and path != "/signin":
        return await handler(request)
    visitor, clash = await _visitor(request, path not in BY_ITSELF)
    if visitor is None:
        if found is Whoever.OPEN:
            return await handler(request)
        if request.method == "GET" and not _api(request) and "text/html" in request.headers.get("Accept", ""):
            raise web.HTTPSeeOther(str(URL("/signin").with_query(next=str(request.rel_url))))
        raise web.HTTPUnauthorized(text=language(request).gettext("Sign in first."))
    request["visitor"], request["actor"] = visitor, visitor.person
    request["menu"] = () if clash else menu(visitor.roles)
    reason = await _against(request, visitor, clash, found)
    if path == "/signin" or (reason == "not_yours" and path == "/" and request["menu"]):
        raise web.HTTPSeeOther(request["menu"][0][0] if request["menu"] else "/")
    if reason and resource:
        return await refuse(request, reason, path)
    return await _under_purpose(request, handler, path)  # of no page: what is not there is not found


async def _under_purpose(request: web.Request, handler: Handler, path: str) -> web.StreamResponse:
    """Do it under the purpose that the reader has stated: without one, no content opens. What is noted carries it."""
    archive, visitor = request.app[ARCHIVE], request["visitor"]
    content = shows_content(request.method, path)
    why = visitor.stated.purpose if visitor.stated else None
    told = _api(request) and any(name in request.headers for name in PURPOSE_HEADERS)
    if content and visitor.reads_everything and (why is None or told):
        async with tenant_tx(archive.pool, archive.vault.org) as tx:
            asked = await policy_of(tx, archive.vault.org, archive.settings.web.purpose)
        if _api(request):
            why = told_in_headers(asked, request.headers).purpose
            if why is None and (told or asked.required):
                return problem.answer(request, "purpose")
        elif asked.required:
            return await _ask(request, path)
    with doing(why if visitor.reads_everything else None) as now:
        response = await handler(request)
        # Every page writes down what it shows, before it reads it. This is a net for one that forgot to, no guarantee: what was
        # sent in part has left, and what was noted may be of something else.
        if content and not now.noted and response.status == 200:
            if response.prepared:
                log.error("A page showed content that it had not written down: %s %s", request.method, path)
            async with tenant_tx(archive.pool, archive.vault.org) as tx:
                await note(tx, archive.vault.org, visitor.person, "open page", page=path)
    return response


async def _ask(request: web.Request, path: str) -> web.Response:
    """To the page that asks for a purpose, and back from there: to the form as it was filled in, if that is what was sent."""
    back = str(request.rel_url)
    if request.method not in ("GET", "HEAD"):
        fields = (await request.post()).items() if request.content_type == "application/x-www-form-urlencoded" else ()
        sent = [(name, value) for name, value in fields if isinstance(value, str) and name != "form_token"]
        form = str(URL(path).with_query(sent)) if ("GET", path) in ROUTES else "/"
        back = form if len(form) <= LONGEST_BACK else path
    to = str(URL("/purpose").with_query(next=back))
    if request.headers.get("HX-Request"):
        return web.Response(status=403, headers={"HX-Redirect": to})
    raise web.HTTPSeeOther(to)


async def _visitor(request: web.Request, there: bool) -> tuple[Visitor | None, roles.Conflict | None]:
    archive = request.app[ARCHIVE]
    if _api(request) and (sent := bearer.sent(request)) is not None:
        return await _holder(archive, sent)
    token = request.cookies.get(cookie_name(archive), "")
    if not token:
        return None, None
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        visitor, clash = await visitor_of(tx, archive, token, there=there)
        if visitor and visitor.reads_everything and not _api(request):  # nobody else has jobs, nothing else shows them
            request["ended_jobs"] = await jobs.ended(tx, archive.vault.org, visitor.person)
    return visitor, clash


async def _holder(archive: Archive, token: str) -> tuple[Visitor | None, roles.Conflict | None]:
    """Whose personal access token it is; who gives one is not asked for a session besides."""
    found, held, matrix_id = await bearer.holder(archive, token)
    if found is None:
        return None, None
    made = Visitor(
        found.token_id, found.person, found.name, held, matrix_id, form_token="", scopes=found.scopes, token_id=found.token_id
    )
    return made, roles.conflict(held)


def _api(request: web.Request) -> bool:
    return request.path.startswith(problem.API)


async def _against(request: web.Request, visitor: Visitor, clash: roles.Conflict | None, found: Rule) -> str:
    """The name of the reason why this may not be; empty when it may."""
    if visitor.scopes is None and request.method not in ("GET", "HEAD") and not await _from_our_form(request, visitor):
        return "forged"
    if isinstance(found, Whoever):
        return ""
    if clash is not None:
        return clash.reason
    if not allows(found, visitor.roles):
        return "not_yours" if visitor.roles else "no_roles"
    if visitor.scopes is not None and getattr(request.match_info.handler, "scope", None) not in visitor.scopes:
        return "scope"
    if found == READING and not visitor.reads_everything and visitor.matrix_id is None:
        return "no_matrix_id"
    return ""


async def refuse(request: web.Request, reason: str, path: str) -> web.Response:
    """Say no, and keep that it was said."""
    archive, visitor = request.app[ARCHIVE], request["visitor"]
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        await note(tx, archive.vault.org, visitor.person, "refused", page=path, method=request.method, why=reason)
    if _api(request):
        return problem.answer(request, problem.REASONS.get(reason, "apart"))
    return render(request, "refused.html", 403, reason=reason, person=visitor.person, hint="", again=False)


@asynccontextmanager
async def reading(request: web.Request) -> AsyncIterator[Connection]:
    """A transaction in which the visitor sees what they may: everything, or what an official saw as a member."""
    archive, visitor = request.app[ARCHIVE], request["visitor"]
    if visitor.reads_everything:
        async with tenant_tx(archive.pool, archive.vault.org) as tx:
            yield tx
    elif visitor.matrix_id is None:
        raise web.HTTPForbidden
    else:
        async with reader_tx(archive.pool, archive.vault, visitor.matrix_id) as tx:
            yield tx


async def _from_our_form(request: web.Request, visitor: Visitor) -> bool:
    """Whether a form was sent from a page of ours: it carries what only this session's pages hold."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        return False
    try:
        told = request.headers.get(FORM_TOKEN) if _api(request) else (await posted(request)).get("form_token", "")
    except (ValueError, LookupError):
        return False
    return isinstance(told, str) and hmac.compare_digest(told.encode("utf-8", "replace"), visitor.form_token.encode())
