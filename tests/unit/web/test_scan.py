"""Every route, by every method, for whoever has not signed in: only what is meant to be open answers, and all is protected."""

from __future__ import annotations

import asyncio
import secrets
from urllib.parse import quote

import pytest
from aiohttp.test_utils import TestClient

from archiver.db import tenant_tx
from archiver.settings import Settings
from archiver.web import access, sessions
from archiver.web.api import tokens
from archiver.web.context import ARCHIVE
from tests.unit.web.api.conftest import token_of
from tests.unit.web.signed_in import served, session_of
from tests.unit.web.test_access import OPEN, routes_of
from tests.unit.web.test_membership import Room

pytestmark = pytest.mark.postgres

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
OUTSIDE = (
    "/geen-pagina", "/api", "/api/", "/api/v1", "/api/v2/rooms", "/static/", "/static/../settings.py",
    "/%2e%2e/etc/passwd",
    "/.git/config", "/.env", "/server-status", "/rooms/", "/tokens/", "/api/v1/rooms/", "/api/v1//rooms",
)  # fmt: skip
SAID = "allergeheimst"


def addresses(client: TestClient, room: str, event: str) -> tuple[dict[str, bool], dict[str, set[str]]]:
    """Each path of the application, with things that are there, and some that are none of its.

    Whether it is meant to be open, and the methods that it knows.
    """
    known = {"room_id": room, "event_id": event, "person": "iemand", "role": "inspector"}
    found: dict[str, bool] = {}
    own: dict[str, set[str]] = {path: {"GET"} for path in OUTSIDE}
    made: dict[str, str] = {}
    for method, canonical in routes_of(client.app):
        path = made.get(canonical, canonical)
        for name in [part.partition("}")[0] for part in path.split("{")[1:]]:
            path = path.replace(f"{{{name}}}", quote(known.get(name, secrets.token_hex(16)), safe=""))
        made[canonical] = path
        found[path] = canonical in OPEN
        own.setdefault(path, set()).add(method)
    return found | dict.fromkeys(OUTSIDE, False), own


async def passes(archive) -> list[tuple[str, dict[str, str]]]:
    """What may be tried instead of a session: its name and the headers."""
    expired, ended = await session_of(archive, "inspector"), await session_of(archive, "inspector")
    old, revoked = await token_of(archive, "inspector"), await token_of(archive, "inspector")
    good = await token_of(archive, "inspector")
    async with tenant_tx(archive.pool, 1) as tx:
        was = "UPDATE web_session SET seen_at = now() - interval '1 day' WHERE token_hash = $1"
        await tx.execute(was, sessions.digest(expired))
        gone = await sessions.find(tx, 1, ended, Settings().web)
        await sessions.end(tx, 1, gone.session_id)
        stale, taken = await tokens.find(tx, 1, old), await tokens.find(tx, 1, revoked)
        await tx.execute(
            "UPDATE personal_token SET made_at = now() - interval '9 days', expires_at = now() WHERE token_id = $1",
            stale.token_id,
        )
        await tokens.revoke(tx, 1, "beheer", taken.token_id, own=False)
    flipped = good[:-1] + ("a" if good[-1] != "a" else "b")
    return [
        ("nobody", {}),
        ("a made-up cookie", {"cookie": "verzonnen"}),
        ("a cookie of the right form", {"cookie": secrets.token_urlsafe(32)}),
        ("an expired session", {"cookie": expired}),
        ("an ended session", {"cookie": ended}),
        ("an expired token", {"Authorization": f"Bearer {old}"}),
        ("a revoked token", {"Authorization": f"Bearer {revoked}"}),
        ("a mistyped token", {"Authorization": f"Bearer {flipped}"}),
        ("a made-up token", {"Authorization": f"Bearer {tokens.new()}"}),
        ("a token as a password", {"Authorization": f"Basic {good}"}),
        ("a token as a cookie", {"cookie": good}),
        ("a cookie as a token", {"Authorization": f"Bearer {secrets.token_urlsafe(32)}"}),
    ]


def protected(answer) -> None:
    """The headers that every answer has."""
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["Server"] == "griffier"
    assert "X-Powered-By" not in answer.headers
    assert not any(name.lower().startswith("access-control-") for name in answer.headers)
    cached = answer.headers["Cache-Control"]
    assert cached == "no-store" or answer.url.path.startswith("/static/")


async def test_whoever_has_not_signed_in_gets_nothing_from_any_route_by_any_method(archive, room, tmp_path):
    told = Room(archive, room)
    event = told.say(SAID)
    told.add("m.room.name", {"name": SAID}, state_key="")
    await told.keep()
    tried = await passes(archive)
    async with served(archive, tmp_path, Settings(web={"api_limit": 1_000_000, "sign_in_limit": 1_000_000})) as client:
        cookie = access.cookie_name(client.app[ARCHIVE])
        paths, own = addresses(client, room, event)
        for path, is_open in paths.items():
            for method in METHODS:
                for name, headers in tried if method in own[path] else tried[:1]:
                    sent = {key: value for key, value in headers.items() if key != "cookie"}
                    if "cookie" in headers:
                        sent["Cookie"] = f"{cookie}={headers['cookie']}"
                    answer = await client.request(method, path, headers=sent, allow_redirects=False)
                    where, body = (method, path, name, answer.status), await answer.read()
                    assert SAID.encode() not in body, where
                    protected(answer)
                    if is_open and method in ("GET", "HEAD", "POST"):
                        assert answer.status < 500 or path in ("/readyz", "/signin/start", "/signin/callback"), where
                        continue
                    assert answer.status == 401, where
                    if path.startswith("/api/") and method != "HEAD":
                        assert answer.content_type == "application/problem+json", where
                        assert answer.headers["WWW-Authenticate"].startswith("Bearer"), where
                    assert len(body) < 4000, where
        assert len(paths) > 40


async def test_a_browser_is_led_to_the_way_in_and_a_program_never(archive, tmp_path):
    async with served(archive, tmp_path) as client:
        for path, is_open in addresses(client, "!x:x", "$x")[0].items():
            answer = await client.get(path, headers={"Accept": "text/html"}, allow_redirects=False)
            if not is_open:
                assert answer.status == (401 if path.startswith("/api/") else 303), path
                if answer.status == 303:
                    assert answer.headers["Location"].startswith("/signin?next=/"), path


async def test_every_answer_to_somebody_is_protected_too(archive, tmp_path):
    async with served(archive, tmp_path) as client:
        headers = {"Cookie": f"{access.cookie_name(client.app[ARCHIVE])}={await session_of(archive, 'records-officer')}"}
        for path in addresses(client, "!x:x", "$x")[0]:
            for method in ("GET", "POST", "PUT", "TRACE"):
                protected(await client.request(method, path, headers=headers, allow_redirects=False))


async def test_what_is_no_http_is_refused_without_telling_what_serves_it(archive, tmp_path):
    async with served(archive, tmp_path) as client:
        for sent in (b"GET / HTTP/9.9\r\n\r\n", b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\nA: \0\r\n\r\n"):
            reader, writer = await asyncio.open_connection(client.host, client.port)
            writer.write(sent)
            answer = await asyncio.wait_for(reader.read(4000), 5)
            writer.close()
            assert answer.startswith(b"HTTP/1."), answer
            assert b" 400 " in answer.partition(b"\r\n")[0]
            for name in (b"aiohttp", b"python", b"Traceback"):
                assert name.lower() not in answer.lower(), answer


async def test_over_https_every_cookie_is_bound_to_this_host_and_unseen_by_scripts(archive, tmp_path):
    settings = Settings(web={"oidc": {"public_url": "https://archief.x", "issuer": "https://sso.x", "client_id": "x"}})
    async with served(archive, tmp_path, settings) as client:
        for path in ("/signin?lang=en", "/signin?lang=nl"):
            answer = await client.get(path, allow_redirects=False)
            for cookie in answer.headers.getall("Set-Cookie"):
                assert cookie.startswith("__Host-")
                for part in ("Secure", "HttpOnly", "Path=/", "SameSite="):
                    assert part in cookie
            assert answer.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
