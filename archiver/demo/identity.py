"""The demo's identity provider: OpenID Connect with a person to click. On this machine only, and never part of a deployment."""

from __future__ import annotations

import base64
import hashlib
import hmac
import html
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from archiver.demo import people
from archiver.demo.people import SignIn

log = logging.getLogger(__name__)

MINUTES = 5  # that a code and an ID token last
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
PAGE = """<!DOCTYPE html>
<html lang="nl"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Inloggen (voorbeeld) · Sign in (demo)</title>
<style>
body {{ font: 1rem/1.5 Verdana, "Noto Sans", sans-serif; margin: 0 auto; max-width: 40rem; padding: 1rem; color: #1b1b1b; }}
h1 {{ color: #154273; }} ul {{ list-style: none; padding: 0; }} li {{ margin: .6rem 0; }}
button {{ font: inherit; width: 100%; text-align: left; padding: .6rem .9rem; border: 1px solid #154273; border-left-width: 6px;
  border-radius: .4rem; background: #f3f6f9; color: #1b1b1b; cursor: pointer; }} button strong {{ color: #154273; }}
:focus-visible {{ outline: 3px solid #f9b000; outline-offset: 2px; }}
</style></head><body><main>{content}</main></body></html>"""
PERSON = """<li><form method="post"><input type="hidden" name="person" value="{sub}">
<button><strong>{name}</strong><br>{about}</button></form></li>"""


@dataclass(slots=True)
class Grant:
    """A code that was given out, and for what."""

    person: SignIn
    nonce: str
    redirect_uri: str
    challenge: str
    sid: str
    made_at: float = field(default_factory=time.monotonic)


class IdentityProvider:
    """A provider with one client; an async context manager that serves on 127.0.0.1."""

    def __init__(
        self, port: int, client_id: str, client_secret: str, application: str, clock: Callable[[], float] = time.time
    ) -> None:
        self.issuer = f"http://127.0.0.1:{port}"
        self._port = port
        self._client = client_id, client_secret
        self._application = application.rstrip("/")
        self._clock = clock
        self._key = ECKey.generate_key("P-256", {"kid": secrets.token_hex(8), "alg": "ES256", "use": "sig"})
        self._codes: dict[str, Grant] = {}
        self._access: dict[str, SignIn] = {}
        self._runner: web.AppRunner

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._metadata)
        app.router.add_get("/jwks", self._jwks)
        app.router.add_get("/authorize", self._ask)
        app.router.add_post("/authorize", self._answer)
        app.router.add_post("/token", self._token)
        app.router.add_get("/userinfo", self._userinfo)
        app.router.add_get("/logout", self._logout)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _metadata(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/jwks",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
                "end_session_endpoint": f"{self.issuer}/logout",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
                "code_challenge_methods_supported": ["S256"],
                "authorization_response_iss_parameter_supported": True,
                "backchannel_logout_supported": True,
                "backchannel_logout_session_supported": True,
            }
        )

    async def _jwks(self, _: web.Request) -> web.Response:
        return web.json_response(KeySet([self._key]).as_dict(private=False))

    async def _ask(self, request: web.Request) -> web.Response:
        """Who are you? No password: these people are nobody."""
        self._check(request)
        rows = "".join(
            PERSON.format(
                sub=html.escape(each.person.localpart), name=html.escape(each.person.name), about=html.escape(each.about)
            )
            for each in people.SIGN_INS
        )
        content = (
            "<h1>Wie bent u? · Who are you?</h1>"
            "<p>Voorbeeldinlog: kies een persoon, zonder wachtwoord. · Demo: choose a person, no password.</p>"
            f"<ul>{rows}</ul>"
        )
        return web.Response(text=PAGE.format(content=content), content_type="text/html")

    async def _answer(self, request: web.Request) -> web.Response:
        query = self._check(request)
        form = await request.post()
        chosen = next((each for each in people.SIGN_INS if each.person.localpart == form.get("person")), None)
        if chosen is None:
            raise web.HTTPBadRequest(text="unknown person")
        code = secrets.token_urlsafe(32)
        self._codes[code] = Grant(
            chosen, query.get("nonce", ""), query["redirect_uri"], query["code_challenge"], secrets.token_urlsafe(16)
        )
        answer = {"code": code, "state": query.get("state", ""), "iss": self.issuer}
        raise web.HTTPSeeOther(f"{query['redirect_uri']}?{urlencode(answer)}")

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        if not self._is_client(request):
            return web.json_response({"error": "invalid_client"}, status=401)
        grant = self._codes.pop(str(form.get("code", "")), None)
        verifier = str(form.get("code_verifier", ""))
        if (
            grant is None
            or time.monotonic() - grant.made_at > MINUTES * 60
            or form.get("grant_type") != "authorization_code"
            or form.get("redirect_uri") != grant.redirect_uri
            or len(verifier) < 43
            or not hmac.compare_digest(_hash(verifier), grant.challenge)
        ):
            return web.json_response({"error": "invalid_grant"}, status=400)
        access, now = secrets.token_urlsafe(32), int(self._clock())
        self._access[access] = grant.person
        claims = self._times(now) | {
            "sub": grant.person.person.localpart, "sid": grant.sid, "auth_time": now,
            "at_hash": _half(access), "nonce": grant.nonce, **grant.person.claims(),
        }  # fmt: skip
        answer = {"access_token": access, "token_type": "Bearer", "expires_in": MINUTES * 60, "id_token": self._signed(claims)}
        return web.json_response(answer, headers={"Cache-Control": "no-store"})

    async def _userinfo(self, request: web.Request) -> web.Response:
        found = self._access.get(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if found is None:
            return web.json_response({"error": "invalid_token"}, status=401)
        return web.json_response({"sub": found.person.localpart, **found.claims()})

    async def _logout(self, request: web.Request) -> web.Response:
        """End the session here, tell the application (back-channel), and go back."""
        try:
            hint = jwt.decode(request.query.get("id_token_hint", ""), self._key, algorithms=["ES256"]).claims
        except Exception:
            raise web.HTTPBadRequest(text="id_token_hint") from None
        now = int(self._clock())
        events = {"events": {LOGOUT_EVENT: {}}, "jti": secrets.token_urlsafe(16), "sub": hint["sub"], "sid": hint["sid"]}
        token = self._signed(self._times(now) | events, typ="logout+jwt")
        url = f"{self._application}/oidc/backchannel-logout"
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
                await http.post(url, data={"logout_token": token})
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("The application could not be told of a sign-out: %s", type(error).__name__)
        raise web.HTTPSeeOther(f"{self._application}/signedout")

    def _check(self, request: web.Request) -> dict[str, str]:
        """A request for a code that this client may make; anything else ends here, since nobody can be sent back with it."""
        query = dict(request.query)
        right = {
            "response_type": "code", "client_id": self._client[0], "code_challenge_method": "S256",
            "redirect_uri": f"{self._application}/signin/callback",
        }  # fmt: skip
        wrong = [name for name, value in right.items() if query.get(name) != value]
        if wrong or len(query.get("code_challenge", "")) != 43 or "openid" not in query.get("scope", "").split():
            raise web.HTTPBadRequest(text=f"invalid_request: {', '.join(wrong) or 'code_challenge, scope'}")
        return query

    def _is_client(self, request: web.Request) -> bool:
        try:
            auth = aiohttp.BasicAuth.decode(request.headers.get("Authorization", ""))
        except ValueError:
            return False
        return (auth.login, auth.password) == self._client

    def _times(self, now: int) -> dict[str, Any]:
        return {"iss": self.issuer, "aud": self._client[0], "iat": now, "exp": now + MINUTES * 60}

    def _signed(self, claims: dict[str, Any], typ: str = "JWT") -> str:
        return jwt.encode({"alg": "ES256", "kid": self._key.kid, "typ": typ}, claims, self._key)


def _hash(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _half(access: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(access.encode()).digest()[:16]).rstrip(b"=").decode()
