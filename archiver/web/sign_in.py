"""Signing in and out by OpenID Connect: authorisation code with PKCE, and the provider's own word that a session has ended."""

from __future__ import annotations

import base64
import hashlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from aiohttp import web

from archiver.db import tenant_tx
from archiver.ledger.audit import note
from archiver.ledger.sealing import SealingError
from archiver.web import access, claims, roles, sessions, tokens
from archiver.web.api import tokens as personal
from archiver.web.claims import ClaimsError
from archiver.web.context import ARCHIVE, Archive, language, public_url
from archiver.web.limit import Limit, address
from archiver.web.provider import Provider, ProviderError
from archiver.web.render import render
from archiver.web.roles import Role
from archiver.web.sessions import SignedIn, digest
from archiver.web.tokens import Expected, NotFresh, TokenError

log = logging.getLogger(__name__)
routes = web.RouteTableDef()

PROVIDER = web.AppKey("provider", Provider)
LIMIT = web.AppKey("limit", Limit)
MINUTES = 10  # to sign in at the provider
ATTEMPT = """
    INSERT INTO sign_in_attempt (org, state_hash, browser_hash, return_to) VALUES ($1, $2, $3, $4)
"""
# Taken, not read: an answer is good for one sign-in, in the browser that asked for it.
TAKE = f"""
    DELETE FROM sign_in_attempt
    WHERE org = $1 AND state_hash = $2 AND browser_hash = $3 AND made_at > now() - interval '{MINUTES} minutes'
    RETURNING return_to
"""  # noqa: S608 - a constant only
FORGET = f"DELETE FROM sign_in_attempt WHERE org = $1 AND made_at < now() - interval '{MINUTES} minutes'"  # noqa: S608
OBEYED = """
    INSERT INTO logout_token (org, issuer, jti_hash, until) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING RETURNING true
"""
FORGET_OBEYED = "DELETE FROM logout_token WHERE org = $1 AND until < now()"


class SignInRefused(Exception):  # noqa: N818 - it names what happened
    """Somebody can't sign in; `code` names the text that says what to do."""

    def __init__(self, code: str, why: str, status: int = 403, person: str = "", hint: str = "") -> None:
        super().__init__(why)
        self.code, self.status, self.person, self.hint = code, status, person, hint


@dataclass(frozen=True, slots=True)
class Attempt:
    """A sign-in on its way. Nonce and verifier follow from the browser's secret, so the database needs to hold neither."""

    browser: str
    state: str

    @property
    def nonce(self) -> str:
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        """43 characters, the least that RFC 7636 takes."""
        return self._derived("verifier")

    @property
    def challenge(self) -> str:
        return _base64(hashlib.sha256(self.verifier.encode()).digest())

    def _derived(self, what: str) -> str:
        return _base64(hashlib.sha256(f"griffier {what}|{self.browser}|{self.state}".encode()).digest())


async def provider_of(app: web.Application) -> AsyncIterator[None]:
    """The provider, for as long as the application runs."""
    settings = app[ARCHIVE].settings.web
    app[LIMIT] = Limit(settings.sign_in_limit)
    async with Provider.opened(settings.oidc) as provider:
        app[PROVIDER] = provider
        yield


def callback_url(archive: Archive) -> str:
    """Where the provider sends people back to; must be registered there."""
    return public_url(archive.settings) + "/signin/callback"


@routes.get("/signin")
async def ask(request: web.Request) -> web.StreamResponse:
    """The way to the provider."""
    return render(request, "signin.html", start=_start_link(request.query.get("next", "/")))


@routes.get("/signin/start")
async def start(request: web.Request) -> web.StreamResponse:
    """To the provider, with what its answer must match."""
    archive = request.app[ARCHIVE]
    oidc = archive.settings.web.oidc
    try:
        _limit(request)
        metadata = await _asked(request.app[PROVIDER].metadata())
    except SignInRefused as refusal:
        return await _refuse(request, refusal)
    browser = request.cookies.get(_browser_cookie(archive), "")
    attempt = Attempt(browser if len(browser) == len(sessions.new_token()) else sessions.new_token(), sessions.new_token())
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        await tx.execute(FORGET, archive.vault.org)
        values = digest(attempt.state), digest(attempt.browser), own_page(request.query.get("next", "/"))
        await tx.execute(ATTEMPT, archive.vault.org, *values)
    query = {
        "response_type": "code", "client_id": oidc.client_id, "redirect_uri": callback_url(archive), "scope": oidc.scopes,
        "state": attempt.state, "nonce": attempt.nonce, "code_challenge": attempt.challenge, "code_challenge_method": "S256",
        "ui_locales": _languages(request),
    }  # fmt: skip
    if oidc.max_age:
        query["max_age"] = str(oidc.max_age)
    if oidc.acr_values:
        query["acr_values"] = " ".join(oidc.acr_values)
    joint = "&" if "?" in metadata.authorization_endpoint else "?"
    response = web.HTTPSeeOther(metadata.authorization_endpoint + joint + urlencode(query))
    _set_cookie(response, archive, _browser_cookie(archive), attempt.browser, MINUTES * 60)
    raise response


@routes.get("/signin/callback")
async def come_back(request: web.Request) -> web.StreamResponse:
    """The provider's answer: a session, or why not."""
    archive = request.app[ARCHIVE]
    try:
        _limit(request)
        return_to, attempt = await _attempt(request)
        who = await _who(request, attempt)
        token = await _enter(archive, who)
    except SignInRefused as refusal:
        return await _refuse(request, refusal)
    if return_to == "/":
        async with tenant_tx(archive.pool, archive.vault.org) as tx:
            visitor, _ = await access.visitor_of(tx, archive, token)
        return_to = "/own" if visitor is not None and visitor.roles == {Role.OFFICIAL} else "/"
    response = web.HTTPSeeOther(return_to)
    _set_cookie(response, archive, access.cookie_name(archive), token, int(archive.settings.web.session_max * 60))
    return response


@routes.post("/signout")
async def leave(request: web.Request) -> web.StreamResponse:
    """End the session here, and offer to end it at the provider."""
    archive, visitor = request.app[ARCHIVE], request["visitor"]
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        ended = await sessions.end(tx, archive.vault.org, visitor.session_id)
        await note(tx, archive.vault.org, visitor.person, "sign out", session=str(visitor.session_id))
    onward = None
    try:
        endpoint = (await request.app[PROVIDER].metadata()).end_session_endpoint if archive.settings.web.oidc.issuer else None
        if endpoint and ended:
            query = {
                "id_token_hint": ended.id_token(archive.vault),
                "client_id": archive.settings.web.oidc.client_id,
                "post_logout_redirect_uri": public_url(archive.settings) + "/signedout",
            }
            onward = endpoint + ("&" if "?" in endpoint else "?") + urlencode(query)
    except (ProviderError, SealingError) as error:
        log.warning("The session has ended here, but not at the identity provider: %s", error)
    request["visitor"], request["actor"], request["menu"] = None, None, ()
    response = render(request, "signedout.html", onward=onward)
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    response.del_cookie(access.cookie_name(archive), path="/", secure=_secure(archive), httponly=True, samesite="Lax")
    return response


@routes.get("/signedout")
async def left(request: web.Request) -> web.StreamResponse:
    """Where the provider sends people after they signed out there."""
    return render(request, "signedout.html", onward=None)


@routes.post("/oidc/backchannel-logout")
async def told_to_end(request: web.Request) -> web.StreamResponse:
    """The provider says that a session has ended (OpenID Connect Back-Channel Logout 1.0, 2.5 to 2.8)."""
    try:
        form = await request.post() if request.content_type == "application/x-www-form-urlencoded" else {}
        await _obey(request, form.get("logout_token"))
    except (TokenError, ProviderError, ValueError, LookupError) as error:
        log.warning("A logout token was refused: %s", error)
        about = str(error) if isinstance(error, TokenError | ProviderError) else "the request can't be read"
        return web.json_response({"error": "invalid_request", "error_description": about}, status=400)
    return web.Response(status=200)


async def _obey(request: web.Request, token: object) -> None:
    """End the sessions that a logout token names. Raises TokenError, ProviderError."""
    archive = request.app[ARCHIVE]
    org, issuer = archive.vault.org, archive.settings.web.oidc.issuer
    if not issuer or not isinstance(token, str):
        raise TokenError("there is no logout_token")
    said = await request.app[PROVIDER].checked(lambda keys: tokens.logout_token(token, keys, _expected(archive), time.time()))
    async with tenant_tx(archive.pool, org) as tx:
        await tx.execute(FORGET_OBEYED, org)
        if not await tx.fetchval(OBEYED, org, issuer, digest(said.jti), datetime.fromtimestamp(said.until, UTC)):
            raise TokenError("it was obeyed before (jti)")
        for ended in await sessions.end_at_provider(tx, org, issuer, said.subject, said.sid):
            await note(tx, org, ended.person, "signed out by provider", session=str(ended.session_id))


async def _attempt(request: web.Request) -> tuple[str, Attempt]:
    """The attempt that this answer belongs to, used up now, and where they wanted to go."""
    archive, query = request.app[ARCHIVE], request.query
    attempt = Attempt(request.cookies.get(_browser_cookie(archive), ""), query.get("state", ""))
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        return_to = await tx.fetchval(TAKE, archive.vault.org, digest(attempt.state), digest(attempt.browser))
    if return_to is None:
        raise SignInRefused("expired_attempt", "the answer is to no sign-in of this browser, or to one used before (state)", 400)
    metadata = await _asked(request.app[PROVIDER].metadata())
    told = query.get("iss")
    if told != metadata.issuer and (told is not None or metadata.says_issuer):
        raise SignInRefused("bad_token", "the answer came from another provider (iss)")
    if "error" in query:
        code = "".join(letter for letter in query["error"] if letter.isascii() and letter.isprintable())[:64]
        raise SignInRefused("denied" if code == "access_denied" else "provider_error", f"the provider says {code}", hint=code)
    if not query.get("code"):
        raise SignInRefused("provider_error", "the provider gave no code")
    return return_to, attempt


async def _who(request: web.Request, attempt: Attempt) -> SignedIn:
    """Whom the provider says they are."""
    archive, provider = request.app[ARCHIVE], request.app[PROVIDER]
    token, access_token = await _asked(provider.exchange(request.query["code"], attempt.verifier, callback_url(archive)))
    check = lambda keys: tokens.id_token(token, keys, _expected(archive), attempt.nonce, time.time(), access_token)  # noqa: E731
    try:
        told: dict[str, Any] = dict(await _asked(provider.checked(check)))
    except NotFresh as error:
        raise SignInRefused("not_fresh", str(error)) from None
    except TokenError as error:
        raise SignInRefused("bad_token", f"the ID token can't be believed: {error}") from None
    lacking = [path for path in claims.wanted(archive.settings.web.oidc) if claims.at(told, path) is None]
    if lacking and access_token:
        told = await _asked(provider.userinfo(access_token, told["sub"])) | told
    try:
        return claims.signed_in(told, archive.settings, token)
    except ClaimsError as error:
        raise SignInRefused(error.code, f"{error.code}: {error.detail}", person=str(told["sub"])) from None


async def _enter(archive: Archive, who: SignedIn) -> str:
    """A session for whom may have one; returns the cookie's token."""
    org = archive.vault.org
    async with tenant_tx(archive.pool, org) as tx:
        await personal.signed_in(tx, org, who)
        held = who.roles | {Role(change.role) for change in await roles.assigned(tx, org, who.person)}
    if not held:
        raise SignInRefused("no_roles", "they have no role", person=who.person)
    if clash := roles.conflict(held):
        raise SignInRefused(clash.reason, f"both {clash.one} and {clash.other}: {roles.WHY[clash.reason]}", person=who.person)
    async with tenant_tx(archive.pool, org) as tx:
        token, session = await sessions.start(tx, archive.vault, who, archive.settings.web)
        told = {"roles": " ".join(sorted(held)), "name": who.name, "session": str(session.session_id)}
        await note(tx, org, who.person, "sign in", **told)
    return token


async def _refuse(request: web.Request, refusal: SignInRefused) -> web.Response:
    """A page that says what to do; the reason goes to the log and the audit trail, but a flood of refusals to neither."""
    archive = request.app[ARCHIVE]
    if refusal.code not in ("too_many", "not_configured"):
        log.warning("A sign-in was refused: %s", refusal)
        async with tenant_tx(archive.pool, archive.vault.org) as tx:
            details = {"why": str(refusal)[:500].replace("\0", ""), "address": _address(request)}
            await note(tx, archive.vault.org, refusal.person or "nobody", "sign-in refused", **details)
    told = {"reason": refusal.code, "person": refusal.person, "hint": refusal.hint, "again": True}
    response = render(request, "refused.html", refusal.status, **told)
    if refusal.status == 429:
        response.headers["Retry-After"] = "60"
    return response


async def _asked(answer: Any) -> Any:
    """What the provider answers; its failures as refusals."""
    try:
        return await answer
    except ProviderError as error:
        raise SignInRefused(error.code, str(error), 502) from None


def _limit(request: web.Request) -> None:
    oidc = request.app[ARCHIVE].settings.web.oidc
    if not oidc.issuer or not oidc.client_id:
        raise SignInRefused("not_configured", "web.oidc.issuer or web.oidc.client_id is not set", 503)
    if not request.app[LIMIT].allows(_address(request)):
        raise SignInRefused("too_many", "too many sign-ins from one address", 429)


def _address(request: web.Request) -> str:
    return address(request, request.app[ARCHIVE].settings.web.proxies)


def _expected(archive: Archive) -> Expected:
    oidc = archive.settings.web.oidc
    return Expected(oidc.issuer, oidc.client_id, oidc.max_age, oidc.acr_values)


def own_page(target: str) -> str:
    """A page of ours to go on to; anything else becomes the first page."""
    fits = target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable() and len(target) < 2000
    return target if fits and "\\" not in target else "/"


def _start_link(target: str) -> str:
    return "/signin/start?" + urlencode({"next": own_page(target)})


def _languages(request: web.Request) -> str:
    """What to ask the provider to speak, the reader's language first."""
    return "en nl" if language(request).code == "en" else "nl en"


def _browser_cookie(archive: Archive) -> str:
    return access.cookie_name(archive) + "_sign_in"


def _secure(archive: Archive) -> bool:
    return public_url(archive.settings).startswith("https:")


def _set_cookie(response: web.StreamResponse, archive: Archive, name: str, value: str, seconds: int) -> None:
    # Lax: it must come along when the provider sends people back.
    response.set_cookie(name, value, max_age=seconds, path="/", httponly=True, samesite="Lax", secure=_secure(archive))


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
