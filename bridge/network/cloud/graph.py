"""Meta's Graph API: requests with the number's token, files up and down, and what its errors mean (Meta: error codes)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp

from bridge.network import Media, NetworkError
from bridge.network.cloud.refusals import UPLOAD_REFUSED, error, refusal

MEDIA_HOSTS = frozenset({"graph.facebook.com", "lookaside.fbsbx.com"})
UNREACHABLE = "WhatsApp is niet te bereiken · WhatsApp can't be reached"
ANSWER = 120.0  # seconds that an answer is waited for
SLOWEST = 125_000  # bytes a second at which a file must at least go up: 1 Mbit/s
SILENT = "WhatsApp antwoordt niet · WhatsApp does not answer"

Token = Callable[[str], str]
"""The access token for a business number's id."""
AccountProblem = Callable[[str, int, str], Awaitable[None]]
"""Told of what keeps the whole account from being used: the number's id, Meta's code, plain words."""


async def unheard(number_id: str, code: int, text: str) -> None:
    """Nobody to be told."""


class Graph:
    """The Graph API, as the business numbers may use it."""

    def __init__(self, http: aiohttp.ClientSession, url: str, version: str, token: Token, limit: int) -> None:
        self.on_account_problem: AccountProblem = unheard
        self._http = http
        self._base = f"{url.rstrip('/')}/{version}"
        self._hosts = MEDIA_HOSTS | {urlsplit(url).hostname or ""}
        self._token = token
        self._limit = limit

    async def download(self, media: Media, number_id: str) -> bytes:
        """The bytes of a file, checked. Raises NetworkError."""
        told = await self.request("GET", quote(media.media_id, safe=""), number_id, params={"phone_number_id": number_id})
        url = str(told.get("url", ""))
        # The token goes to Meta's hosts and to nobody else.
        if urlsplit(url).hostname not in self._hosts:
            raise NetworkError("the network gave an address for the file that is not its own", final=True)
        try:
            async with self._http.get(
                url, headers=self._headers(number_id), timeout=aiohttp.ClientTimeout(total=300)
            ) as response:
                if response.status != 200:
                    raise NetworkError(f"the file could not be fetched (HTTP {response.status})", final=False)
                content = bytearray()
                async for chunk in response.content.iter_chunked(1 << 16):
                    content += chunk
                    if len(content) > self._limit:
                        raise NetworkError("the file is larger than bridge.media_max_bytes", final=True)
        except (aiohttp.ClientError, TimeoutError) as failed:
            raise NetworkError(f"the file could not be fetched ({type(failed).__name__})", final=False) from None
        digest = hashlib.sha256(content).digest()
        if media.sha256 and media.sha256 not in (digest.hex(), base64.b64encode(digest).decode()):
            raise NetworkError("the file is not the one that was announced (its SHA-256 differs)", final=False)
        return bytes(content)

    async def upload(self, number_id: str, media: Media, content: bytes) -> str:
        """Upload a file; returns its id. Raises NetworkError."""
        form = aiohttp.FormData()
        form.add_field("messaging_product", "whatsapp")
        form.add_field("file", content, filename=media.name or "bestand", content_type=media.media_type)
        try:
            patience = ANSWER + len(content) / SLOWEST
            answer = await self.request("POST", f"{number_id}/media", number_id, data=form, patience=patience)
        except NetworkError as refused:
            if refused.code == 100:  # what Meta answers to a file of a type that it doesn't take
                raise error(UPLOAD_REFUSED) from None
            if refused.unsure:  # a file alone is no message; that it does not get through says nothing of what is not so large
                refused.unsure, refused.scope = False, "message"
            raise
        return str(answer.get("id", ""))

    async def request(
        self,
        method: str,
        path: str,
        number_id: str,
        *,
        body: Any = None,
        data: Any = None,
        params: dict[str, str] | None = None,
        patience: float = ANSWER,
    ) -> dict[str, Any]:
        """A request for a number; returns the answer's object, within `patience` seconds. Raises NetworkError."""
        timeout = aiohttp.ClientTimeout(total=patience)
        try:
            async with self._http.request(
                method,
                f"{self._base}/{path}",
                json=body,
                data=data,
                params=params,
                headers=self._headers(number_id),
                timeout=timeout,
            ) as response:
                answer = json.loads(await response.read())
        except aiohttp.ClientConnectorError as failed:  # nothing was sent
            raise NetworkError(f"{UNREACHABLE} ({type(failed).__name__})", final=False, scope="account") from None
        except (aiohttp.ClientError, TimeoutError) as failed:
            raise NetworkError(f"{SILENT} ({type(failed).__name__})", final=False, scope="account", unsure=True) from None
        except (ValueError, RecursionError):
            raise error(0, max(response.status, 500)) from None
        problem = answer.get("error") if isinstance(answer, dict) else {"code": 0}
        if problem:
            code = problem.get("code") if isinstance(problem, dict) else None
            refused = error(
                code if isinstance(code, int) else 0, response.status, _seconds(response.headers.get("Retry-After", ""))
            )
            if refusal(refused.code, response.status).account:
                await self.on_account_problem(number_id, refused.code, str(refused))
            raise refused
        return dict(answer)

    def _headers(self, number_id: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token(number_id)}"}


def _seconds(retry_after: str) -> float:
    """Retry-After in seconds, an hour at most; dates are not used by Meta."""
    return min(3600.0, float(retry_after)) if retry_after.isascii() and retry_after.isdecimal() else 0.0
