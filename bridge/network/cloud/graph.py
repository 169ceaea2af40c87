"""Meta's Graph API: requests with the number's token, files up and down, and what its errors mean (Meta: error codes)."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp

from bridge.network import Media, NetworkError

MEDIA_HOSTS = frozenset({"graph.facebook.com", "lookaside.fbsbx.com"})
# Errors after which the same request can succeed later (Meta: error codes): a busy server, a limit, or our account's, not the
# message's, fault (190, 10, 200 to 299: the token; 368: a block that ends).
PASSING = frozenset({1, 2, 4, 3, 10, 190, 368, 80007, 130429, 131016, 131048, 131056, 131057, 133016})

Token = Callable[[str], str]
"""The access token for a business number's id."""


class Graph:
    """The Graph API, as the business numbers may use it."""

    def __init__(self, http: aiohttp.ClientSession, url: str, version: str, token: Token, limit: int) -> None:
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
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NetworkError(f"the file could not be fetched ({type(error).__name__})", final=False) from None
        digest = hashlib.sha256(content).digest()
        if media.sha256 and media.sha256 not in (digest.hex(), base64.b64encode(digest).decode()):
            raise NetworkError("the file is not the one that was announced (its SHA-256 differs)", final=False)
        return bytes(content)

    async def upload(self, number_id: str, media: Media, content: bytes) -> str:
        """Upload a file; returns its id. Raises NetworkError."""
        form = aiohttp.FormData()
        form.add_field("messaging_product", "whatsapp")
        form.add_field("file", content, filename=media.name or "bestand", content_type=media.media_type)
        answer = await self.request("POST", f"{number_id}/media", number_id, data=form)
        return str(answer.get("id", ""))

    async def request(
        self, method: str, path: str, number_id: str, *, body: Any = None, data: Any = None, params: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """A request for a number; returns the answer's object. Raises NetworkError."""
        timeout = aiohttp.ClientTimeout(total=120)
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
        except (aiohttp.ClientError, TimeoutError, ValueError, RecursionError) as error:
            raise NetworkError(f"WhatsApp does not answer ({type(error).__name__})", final=False) from None
        problem = answer.get("error") if isinstance(answer, dict) else {"code": 0, "message": "no JSON object"}
        if problem:
            code = problem.get("code") if isinstance(problem, dict) else None
            told = problem.get("message") if isinstance(problem, dict) else problem
            passing = code in PASSING or (isinstance(code, int) and 200 <= code < 300) or response.status in (401, 403, 429)
            raise NetworkError(f"WhatsApp refused: {told} ({code})", final=not passing and response.status < 500)
        return dict(answer)

    def _headers(self, number_id: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token(number_id)}"}
