"""WhatsApp Business Cloud API: our own thin client (DESIGN D12), after Meta's documentation of webhooks and messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import aiohttp

from bridge.departing.markup import in_parts, length
from bridge.network import Media, NetworkError, NotUnderstood, Outgoing, Told
from bridge.network.cloud import delivery, files, message, sending, templates, told
from bridge.network.cloud.delivery import parse, signature_ok
from bridge.network.cloud.graph import Graph, Token
from bridge.network.cloud.pace import Pace
from bridge.network.cloud.refusals import refusal
from bridge.network.cloud.templates import Template

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
UNKNOWN_ACCOUNT = (
    "het WhatsApp-account van dit nummer is niet bekend. Vraag uw beheerder · "
    "the WhatsApp account of this number is not known. Ask your admin"
)
READ_WITHIN = 15.0  # seconds: that something was read is worth no long wait
FRESH = 300.0  # seconds that a list of templates is good for
PAGES = 20  # of templates: an account has 6,000 at most, and nobody chooses from more than these


class Cloud:
    """The Cloud API, for all business numbers."""

    name = "whatsapp"

    def __init__(
        self,
        http: aiohttp.ClientSession,
        url: str,
        version: str,
        token: Token,
        limit: int,
        per_second: Callable[[str], float] = lambda _: 80.0,
        account: Callable[[str], str] = lambda _: "",
    ) -> None:
        self.graph = Graph(http, url, version, token, limit)
        self._pace = Pace(per_second)
        self._account = account
        self._accounts: dict[str, str] = {}
        self._templates: dict[str, tuple[float, list[Template]]] = {}

    def split(self, body: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
        return delivery.split(body)

    def read(self, change: dict[str, Any]) -> Told:
        try:
            return READERS.get(str(change.get("kind")), told.account)(change)
        except RecursionError:
            raise NotUnderstood("it is nested too deeply") from None

    def told(self, change: dict[str, Any]) -> tuple[str, str, str] | None:
        return told.ours(change)

    async def download(self, media: Media, number_id: str) -> bytes:
        return await self.graph.download(media, number_id)

    def fitted(self, outgoing: Outgoing) -> list[Outgoing]:
        """The messages that one becomes: a long text in numbered parts, words that a file can't carry after it."""
        pieces = [outgoing]
        if outgoing.kind == "text":
            pieces = [replace(outgoing, text=text) for text in in_parts(outgoing.text, sending.MAX_TEXT)]
        elif outgoing.kind == "media" and outgoing.media is not None:
            media, content = files.made_to_fit(outgoing.media, outgoing.content)
            kind, media = files.as_sent(media, content)
            fits = kind in ("image", "video", "document") and length(outgoing.text) <= files.CAPTION
            pieces = [replace(outgoing, media=media, content=content, text=outgoing.text if fits else "")]
            if outgoing.text and not fits:
                words = replace(outgoing, kind="text", media=None, content=b"", reply_to="")
                pieces += [replace(words, text=text) for text in in_parts(outgoing.text, sending.MAX_TEXT)]
        if len(pieces) == 1:
            return pieces
        # The first alone answers what is answered; each tells back which of how many it is.
        return [
            replace(piece, reply_to=piece.reply_to if number == 1 else "", key=f"{piece.key} {number}/{len(pieces)}")
            for number, piece in enumerate(pieces, 1)
        ]

    def explain(self, code: int) -> str:
        return refusal(code).text

    async def send(self, number_id: str, outgoing: Outgoing) -> str:
        sent_as = media_id = ""
        if outgoing.kind == "media" and outgoing.media is not None:
            sent_as, media = files.as_sent(outgoing.media, outgoing.content)
            outgoing = replace(outgoing, media=media)
        body = sending.body(outgoing, sent_as)
        if outgoing.media is not None:
            media_id = await self.graph.upload(number_id, outgoing.media, outgoing.content)
            body = sending.body(outgoing, sent_as, media_id)
        await self._pace.turn(number_id, outgoing.contact)
        answer = await self.graph.request("POST", f"{number_id}/messages", number_id, body=body)
        try:
            return str(answer["messages"][0]["id"])
        except (KeyError, IndexError, TypeError):
            raise NetworkError("the network's answer names no message", final=False, unsure=True) from None

    async def mark_read(self, number_id: str, message_id: str) -> None:
        body = {"messaging_product": "whatsapp", "status": "read", "message_id": message_id}
        await self.graph.request("POST", f"{number_id}/messages", number_id, body=body, patience=READ_WITHIN)

    async def _account_of(self, number_id: str) -> str:
        """The account of a number, where nobody has set it: Meta names it beside the number's health (Meta: health status)."""
        if number_id not in self._accounts:
            told = await self.graph.request("GET", number_id, number_id, params={"fields": "health_status"})
            health = told.get("health_status")
            entities = delivery.objects(health.get("entities")) if isinstance(health, dict) else ()
            found = next((str(one.get("id", "")) for one in entities if one.get("entity_type") == "WABA"), "")
            if not found:
                raise NetworkError(UNKNOWN_ACCOUNT, final=True)
            self._accounts[number_id] = found
        return self._accounts[number_id]

    async def templates(self, number_id: str) -> list[Template]:
        """What can be sent to somebody who has been silent for a day, as it is numbered in rooms. Raises NetworkError."""
        account = self._account(number_id) or await self._account_of(number_id)
        at, known = self._templates.get(account, (0.0, []))
        if known and time.monotonic() - at < FRESH:
            return known
        found: list[Template] = []
        after = ""
        for _ in range(PAGES):
            params = {"fields": templates.FIELDS, "status": "APPROVED", "limit": "100"} | ({"after": after} if after else {})
            page = await self.graph.request("GET", f"{account}/message_templates", number_id, params=params)
            found += filter(None, map(templates.read, delivery.objects(page.get("data"))))
            paging = page.get("paging")
            cursors = paging.get("cursors") if isinstance(paging, dict) and paging.get("next") else None
            after = str(cursors.get("after", "")) if isinstance(cursors, dict) else ""
            if not after:
                break
        found = templates.in_order(found)
        self._templates[account] = time.monotonic(), found
        return found
