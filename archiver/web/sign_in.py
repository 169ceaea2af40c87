"""Signing in with a token, in its first form: a signed cookie for a working day, or the token itself as a bearer."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from archiver.web.context import ARCHIVE, Archive
from archiver.web.health import OPEN_TO_ALL
from archiver.web.render import render

routes = web.RouteTableDef()

HOURS = 8
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def cookie(archive: Archive) -> str:
    """The session's cookie: browsers tell two archives on one machine apart by it, since a cookie does not know ports."""
    return f"griffier_session_{archive.settings.web.port}"


def who(archive: Archive, token: str) -> str | None:
    """Whose token this is; every token is compared, in constant time."""
    found = None
    for name, secret in archive.settings.web.sign_in.items():
        if hmac.compare_digest(secret.get_secret_value().encode(), token.encode("utf-8", "replace")) and token:
            found = name
    return found


def session(archive: Archive, name: str, until: int) -> str:
    """A cookie value that only this archive can have made, and that ends with the token it was given for."""
    token = archive.settings.web.sign_in[name].get_secret_value()
    signature = hmac.digest(archive.vault.search_key, f"session|{name}|{until}|{token}".encode(), hashlib.sha256).hex()
    return f"{name}|{until}|{signature}"


def signed_in(request: web.Request) -> str | None:
    """Who is asking, by bearer token or cookie."""
    archive = request.app[ARCHIVE]
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return who(archive, token.strip())
    name, _, rest = request.cookies.get(cookie(archive), "").partition("|")
    until = rest.partition("|")[0]
    if name not in archive.settings.web.sign_in or not until.isdecimal() or len(until) > 12 or int(until) < time.time():
        return None
    return name if hmac.compare_digest(session(archive, name, int(until)), request.cookies[cookie(archive)]) else None


@web.middleware
async def require(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let nobody see anything but the sign-in page without signing in."""
    request["actor"] = None
    if request.path in OPEN_TO_ALL or request.path in ("/signin", "/static/style.css"):
        return await handler(request)
    actor = signed_in(request)
    if actor is None:
        if request.method == "GET" and "text/html" in request.headers.get("Accept", ""):
            raise web.HTTPSeeOther("/signin")
        raise web.HTTPUnauthorized(text="Sign in first.")
    request["actor"] = actor
    return await handler(request)


@routes.get("/signin")
async def ask(request: web.Request) -> web.StreamResponse:
    """The sign-in page; with a token in the address (the demo's link) it signs in at once."""
    if "token" in request.query:
        return _enter(request, request.query["token"])
    return render(request, "signin.html", wrong=False)


@routes.post("/signin")
async def enter(request: web.Request) -> web.StreamResponse:
    """Sign in with the token from the form."""
    form = await request.post()
    token = form.get("token", "")
    return _enter(request, token.strip() if isinstance(token, str) else "")


@routes.post("/signout")
async def leave(request: web.Request) -> web.StreamResponse:
    """Forget who is asking."""
    response = web.HTTPSeeOther("/signin")
    response.del_cookie(cookie(request.app[ARCHIVE]))
    return response


def _enter(request: web.Request, token: str) -> web.StreamResponse:
    archive = request.app[ARCHIVE]
    name = who(archive, token)
    if name is None:
        return render(request, "signin.html", status=403, wrong=True)
    response = web.HTTPSeeOther("/")
    value = session(archive, name, int(time.time()) + HOURS * 3600)
    response.set_cookie(cookie(archive), value, max_age=HOURS * 3600, httponly=True, samesite="Strict", secure=request.secure)
    return response
