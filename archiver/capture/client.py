"""The homeserver's client-server API, as far as the archiver uses it: thin, bytes in and typed objects out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp

from archiver.ledger.canonical import HostileJson, JsonObject, parse_object

log = logging.getLogger(__name__)

ATTEMPTS = 5


class CaptureError(Exception):
    """Capture can't go on; the message says why and what to do."""


class HomeserverUnreachable(CaptureError):  # noqa: N818 - named for what it is
    """The homeserver doesn't answer, or not in a way that can be read."""


class TooLarge(CaptureError):  # noqa: N818 - named for what it is
    """A file is larger than the archive keeps."""

    def __init__(self, limit: int, size: int | None) -> None:
        self.size = size  # bytes, if the server said so
        super().__init__(f"the file is larger than {limit} bytes (archiver.media_max_bytes)")


class MatrixError(CaptureError):
    """The homeserver refused a request."""

    def __init__(self, status: int, body: JsonObject, what: str) -> None:
        self.status = status
        self.body = body
        self.errcode = str(body.get("errcode", "M_UNKNOWN"))
        super().__init__(f"{what}: {self.errcode} ({status}) {body.get('error', '')}".strip())


def path(*parts: str) -> str:
    """A path of the client-server API, each part escaped."""
    return "/_matrix/client/" + "/".join(quote(part, safe="") for part in parts)


class Homeserver:
    """One signed-in connection to a homeserver."""

    def __init__(self, session: aiohttp.ClientSession, url: str, timeout: float) -> None:
        self._session = session
        self.url = url.rstrip("/")
        self._timeout = timeout
        self.token: str | None = None
        self.identity: Mapping[str, str] = {}
        """Who an application service speaks as: added to every query."""

    async def call(
        self,
        method: str,
        path: str,
        body: JsonObject | None = None,
        query: Mapping[str, str] | None = None,
        *,
        wait: float = 0,
        token: str | None = None,
    ) -> JsonObject:
        """One request, tried again while the server is busy or restarting. Raises MatrixError, HomeserverUnreachable.

        `wait` is how long, in seconds, the server was asked to hold the request open; `token` another account's, instead of ours.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._once(method, path, body, query, wait, token)
            except MatrixError as error:
                if error.status == 429:
                    delay = float(error.body.get("retry_after_ms", 1000)) / 1000
                elif error.status >= 500:
                    delay = 0.3 * 2**attempt
                else:
                    raise
                if attempt == ATTEMPTS:
                    raise
            except HomeserverUnreachable:
                if attempt == ATTEMPTS:
                    raise
                delay = 0.3 * 2**attempt
            await asyncio.sleep(min(delay, 30))
        raise AssertionError("unreachable")

    async def _once(
        self, method: str, path: str, body: JsonObject | None, query: Mapping[str, str] | None, wait: float, token: str | None
    ) -> JsonObject:
        bearer = token or self.token
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        params = {**(query or {}), **(self.identity if token is None else {})}
        timeout = aiohttp.ClientTimeout(total=self._timeout + wait)
        what = f"{method} {path.rsplit('/_matrix/client/', maxsplit=1)[-1]}"
        try:
            async with self._session.request(
                method, self.url + path, json=body, params=params, headers=headers, timeout=timeout
            ) as response:
                raw = await response.read()
                answer = parse_object(raw)
                if response.status >= 400:
                    raise MatrixError(response.status, answer, what)
                return answer
        except HostileJson as error:
            raise HomeserverUnreachable(f"{what}: the homeserver's answer can't be read: {error}") from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise HomeserverUnreachable(f"{what}: the homeserver at {self.url} doesn't answer: {reason}") from None

    async def download(self, mxc: str, limit: int) -> bytes:
        """The bytes of an mxc:// address (authenticated media). Raises MatrixError, HomeserverUnreachable, TooLarge.

        Of a file that the server says is larger than `limit` bytes, no byte is read. Raises ValueError for what is no address.
        """
        server, _, media_id = mxc.removeprefix("mxc://").partition("/")
        if not mxc.startswith("mxc://") or not server or not media_id:
            raise ValueError("the address of the file is not an mxc:// address")
        url = self.url + path("v1", "media", "download", server, media_id)
        try:
            async with self._session.get(
                url,
                params=self.identity,
                headers={"Authorization": f"Bearer {self.token}"},
                timeout=aiohttp.ClientTimeout(total=600),
            ) as response:
                if response.status >= 400:
                    raw = await response.content.read(65536)
                    try:
                        answer = parse_object(raw)
                    except HostileJson:
                        answer = {}
                    raise MatrixError(response.status, answer, "downloading a file")
                if (response.content_length or 0) > limit:
                    response.close()
                    raise TooLarge(limit, response.content_length)
                content = bytearray()
                async for chunk in response.content.iter_chunked(1 << 16):
                    content += chunk
                    if len(content) > limit:
                        response.close()
                        raise TooLarge(limit, None)
                return bytes(content)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise HomeserverUnreachable(f"downloading a file: {error or type(error).__name__}") from None


@asynccontextmanager
async def homeserver(url: str, timeout: float) -> AsyncIterator[Homeserver]:
    """A connection to the homeserver, not signed in yet."""
    if not url:
        raise CaptureError("No homeserver is set. Set homeserver.url in the configuration or GRIFFIER_HOMESERVER__URL.")
    connector = aiohttp.TCPConnector(limit=16)
    async with aiohttp.ClientSession(connector=connector, json_serialize=_json) as session:
        yield Homeserver(session, url, timeout)


def _json(value: Any) -> str:
    import json

    return json.dumps(value, separators=(",", ":"))
