"""WhatsApp Business Cloud API: our own thin client (DESIGN D12), after Meta's documentation of webhooks and messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import aiohttp

from bridge.network import Incoming, Media, NetworkError, Outgoing
from bridge.network.cloud import delivery, message, sending
from bridge.network.cloud.delivery import parse, signature_ok
from bridge.network.cloud.graph import Graph, Token

__all__ = ["Cloud", "parse", "signature_ok"]


class Cloud:
    """The Cloud API, for all business numbers."""

    name = "whatsapp"

    def __init__(self, http: aiohttp.ClientSession, url: str, version: str, token: Token, limit: int) -> None:
        self.graph = Graph(http, url, version, token, limit)

    def split(self, body: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
        return delivery.split(body)

    def read(self, change: dict[str, Any]) -> Incoming | None:
        return message.read(change)

    async def download(self, media: Media, number_id: str) -> bytes:
        return await self.graph.download(media, number_id)

    async def send(self, number_id: str, outgoing: Outgoing) -> str:
        media_id = await self.graph.upload(number_id, outgoing.media, outgoing.content) if outgoing.media is not None else ""
        answer = await self.graph.request("POST", f"{number_id}/messages", number_id, body=sending.body(outgoing, media_id))
        try:
            return str(answer["messages"][0]["id"])
        except (KeyError, IndexError, TypeError):
            raise NetworkError("the network's answer names no message", final=False) from None
