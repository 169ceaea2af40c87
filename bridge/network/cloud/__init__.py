"""WhatsApp Business Cloud API: our own thin client (DESIGN D12), after Meta's documentation of webhooks and messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import aiohttp

from bridge.network import Media, NetworkError, NotUnderstood, Outgoing, Told
from bridge.network.cloud import delivery, message, sending, told
from bridge.network.cloud.delivery import parse, signature_ok
from bridge.network.cloud.graph import Graph, Token

__all__ = ["Cloud", "parse", "signature_ok"]

# Which part of a delivery is read how; everything else is news of the account.
READERS: Mapping[str, Callable[[dict[str, Any]], Told]] = {
    "messages": message.read,
    "message_echoes": message.read,
    "history": message.read,
    "statuses": told.receipt,
    "errors": told.problem,
    "history_errors": told.problem,
    "history_progress": told.progress,
    "state_sync": told.contact,
    "groups": told.group,
}


class Cloud:
    """The Cloud API, for all business numbers."""

    name = "whatsapp"

    def __init__(self, http: aiohttp.ClientSession, url: str, version: str, token: Token, limit: int) -> None:
        self.graph = Graph(http, url, version, token, limit)

    def split(self, body: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
        return delivery.split(body)

    def read(self, change: dict[str, Any]) -> Told:
        try:
            return READERS.get(str(change.get("kind")), told.account)(change)
        except RecursionError:
            raise NotUnderstood("it is nested too deeply") from None

    def told(self, change: dict[str, Any]) -> tuple[str, str] | None:
        return told.ours(change)

    async def download(self, media: Media, number_id: str) -> bytes:
        return await self.graph.download(media, number_id)

    async def send(self, number_id: str, outgoing: Outgoing) -> str:
        media_id = await self.graph.upload(number_id, outgoing.media, outgoing.content) if outgoing.media is not None else ""
        answer = await self.graph.request("POST", f"{number_id}/messages", number_id, body=sending.body(outgoing, media_id))
        try:
            return str(answer["messages"][0]["id"])
        except (KeyError, IndexError, TypeError):
            raise NetworkError("the network's answer names no message", final=False, unsure=True) from None
