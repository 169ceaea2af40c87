"""The identity provider, asked over HTTP: its metadata and keys (OpenID Connect Discovery 1.0), tokens, userinfo."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote_plus, urlsplit

import aiohttp
from joserfc.jwk import Key

from archiver.ledger.canonical import HostileJson, parse
from archiver.settings import Oidc
from archiver.web.tokens import UnknownKey, usable_keys

KEPT = 3600.0  # seconds that metadata and keys are used before they are asked for again
AT_MOST_EVERY = 30.0  # seconds between two times that keys are asked for because one is unknown: anybody can send unknown ones
PATIENCE = aiohttp.ClientTimeout(total=10)
LARGEST = 1_000_000  # bytes of an answer
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
T = TypeVar("T")


class ProviderError(Exception):
    """The provider can't be used; the message says why. `code` names the text for who is signing in."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Metadata:
    """Where the provider is asked what."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    end_session_endpoint: str | None
    says_issuer: bool  # its answers name it (RFC 9207)
    secret_in_body: bool


def read_metadata(document: Any, issuer: str) -> Metadata:
    """The provider's metadata. Raises ProviderError."""
    if not isinstance(document, dict) or document.get("issuer") != issuer:
        told = document.get("issuer") if isinstance(document, dict) else None
        raise ProviderError("provider_wrong", f"the provider calls itself {told!r}; web.oidc.issuer must be equal to it")
    found: dict[str, str | None] = {}
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint", "end_session_endpoint"):
        value = document.get(name)
        found[name] = value if isinstance(value, str) and is_safe(value) else None
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        if found[name] is None:
            raise ProviderError("provider_wrong", f"the provider's metadata has no usable {name} (https is needed)")
    methods = document.get("token_endpoint_auth_methods_supported")
    in_body = isinstance(methods, list) and "client_secret_basic" not in methods and "client_secret_post" in methods
    return Metadata(
        issuer,
        str(found["authorization_endpoint"]),
        str(found["token_endpoint"]),
        str(found["jwks_uri"]),
        found["userinfo_endpoint"],
        found["end_session_endpoint"],
        document.get("authorization_response_iss_parameter_supported") is True,
        in_body,
    )


def is_safe(url: str) -> bool:
    """Whether secrets may go to this address: https, or this very machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK))


class Provider:
    """The identity provider of the settings."""

    def __init__(self, settings: Oidc, http: aiohttp.ClientSession, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._http = http
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._metadata: Metadata | None = None
        self._metadata_until = 0.0
        self._keys: dict[str | None, list[Key]] = {}
        self._keys_at = float("-inf")

    @classmethod
    @asynccontextmanager
    async def opened(cls, settings: Oidc) -> AsyncIterator[Provider]:
        """A provider to ask, until the end of the block."""
        async with aiohttp.ClientSession(timeout=PATIENCE, cookie_jar=aiohttp.DummyCookieJar()) as http:
            yield cls(settings, http)

    async def metadata(self) -> Metadata:
        """Its metadata, asked for once an hour. Raises ProviderError."""
        async with self._one_at_a_time:
            if self._metadata is None or self._clock() >= self._metadata_until:
                issuer = self._settings.issuer
                if not is_safe(issuer):
                    raise ProviderError("provider_wrong", f"web.oidc.issuer must be an https address, and is {issuer!r}")
                document = await self._json("GET", issuer.rstrip("/") + "/.well-known/openid-configuration")
                self._metadata = read_metadata(document, issuer)
                self._metadata_until = self._clock() + KEPT
            return self._metadata

    async def checked(self, check: Callable[[dict[str | None, list[Key]]], T]) -> T:
        """What `check` makes of the provider's keys; when it meets an unknown one, once more with the keys asked for anew.

        Raises what `check` raises, and ProviderError.
        """
        keys = await self._known_keys(self._clock() - KEPT)
        try:
            return check(keys)
        except UnknownKey:
            newer = await self._known_keys(self._clock() - AT_MOST_EVERY)
            if newer is keys:
                raise
            return check(newer)

    async def exchange(self, code: str, verifier: str, redirect_uri: str) -> tuple[str, str | None]:
        """The ID token and the access token for a code. Raises ProviderError."""
        metadata, settings = await self.metadata(), self._settings
        secret = settings.client_secret.get_secret_value()
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri, "code_verifier": verifier}
        headers = {}
        if not secret:
            form["client_id"] = settings.client_id
        elif metadata.secret_in_body:
            form |= {"client_id": settings.client_id, "client_secret": secret}
        else:  # RFC 6749, 2.3.1: both are form-encoded before they are joined
            pair = f"{quote_plus(settings.client_id)}:{quote_plus(secret)}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        answer = await self._json("POST", metadata.token_endpoint, data=form, headers=headers)
        token, access = (answer.get("id_token"), answer.get("access_token")) if isinstance(answer, dict) else (None, None)
        if not isinstance(token, str):
            raise ProviderError("code_refused", f"the provider gave no ID token: {_error(answer)}")
        return token, access if isinstance(access, str) else None

    async def userinfo(self, access_token: str, subject: str) -> dict[str, Any]:
        """More claims of who has this access token; nothing where the provider has no such endpoint. Raises ProviderError."""
        endpoint = (await self.metadata()).userinfo_endpoint
        if endpoint is None:
            return {}
        answer = await self._json("GET", endpoint, headers={"Authorization": f"Bearer {access_token}"})
        if not isinstance(answer, dict) or answer.get("sub") != subject:
            raise ProviderError("bad_token", "the userinfo endpoint speaks of somebody else")
        return answer

    async def _known_keys(self, not_before: float) -> dict[str | None, list[Key]]:
        """The keys, asked for anew when they were last asked for before a moment."""
        metadata = await self.metadata()
        async with self._one_at_a_time:
            if self._keys_at < not_before:
                asked_at = self._clock()
                try:
                    self._keys = usable_keys(await self._json("GET", metadata.jwks_uri))
                except ProviderError:
                    if not self._keys:
                        raise
                self._keys_at = asked_at
            return self._keys

    async def _json(self, method: str, url: str, **more: Any) -> Any:
        """The JSON of an answer; refusals of the token endpoint (400, 401) are JSON too."""
        asked = urlsplit(url)._replace(query="").geturl()
        try:
            async with self._http.request(method, url, allow_redirects=False, **more) as answer:
                body = await answer.content.read(LARGEST + 1)
                while len(body) <= LARGEST and (chunk := await answer.content.read(LARGEST + 1 - len(body))):
                    body += chunk
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise ProviderError("provider_unreachable", f"{asked} does not answer: {type(error).__name__}") from None
        if status not in (200, 400, 401) or len(body) > LARGEST:
            raise ProviderError("provider_unreachable", f"{asked} answers {status}")
        try:
            return parse(body)
        except (HostileJson, ValueError):
            raise ProviderError("provider_wrong", f"{asked} answers something else than JSON") from None


def _error(answer: Any) -> str:
    code = answer.get("error") if isinstance(answer, dict) else None
    return code[:64] if isinstance(code, str) and code.isprintable() and code.isascii() else "no reason given"
