"""The control API about conversations: as phones show them, with their files and statuses, and live."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from dataclasses import asdict
from typing import Any

from aiohttp import web

from bridge.simulator.calls import Calls, Route, body_of
from bridge.simulator.errors import GraphError
from bridge.simulator.media import UPLOAD_DAYS
from bridge.simulator.phones import NotPossibleError
from bridge.simulator.receipts import STATES, Receipts
from bridge.simulator.webhook import Webhook
from bridge.simulator.world import Message, World


class Chats(Calls):
    """What was said, and what became of it."""

    def __init__(self, world: World, webhook: Webhook, receipts: Receipts) -> None:
        super().__init__(world, webhook)
        self._receipts = receipts
        self._listeners: set[asyncio.Queue[str | None]] = set()
        world.changed = self._changed

    def calls(self) -> list[Route]:
        """Where all this is found."""
        return [
            ("GET", "/sim/chats", self.chats),
            ("GET", "/sim/chats/{chat}", self.conversation),
            ("GET", "/sim/messages", self.messages),
            ("POST", "/sim/messages/{message}/status", self.set_status),
            ("GET", "/sim/marked", self.marked),
            ("GET", "/sim/media/{media}", self.raw_media),
            ("POST", "/sim/media", self.store_media),
            ("GET", "/sim/events", self.events),
        ]

    # Conversations.

    async def chats(self, request: web.Request) -> web.Response:
        """Every conversation: number, contact or group, and its last message."""
        last: dict[tuple[str, str], Message] = {}
        unread: dict[tuple[str, str], int] = {}
        for message in self._world.messages.values():
            key = message.number_id, message.chat
            if message.type != "reaction" and (key not in last or message.at >= last[key].at):
                last[key] = message
            unread[key] = unread.get(key, 0) + (
                not message.sender and message.via == "api" and message.status in ("sent", "delivered")
            )
        told = [
            {"number": number_id, "chat": chat, "unread": unread[number_id, chat], "last": self._told_message(message)}
            for (number_id, chat), message in sorted(last.items(), key=lambda item: -item[1].at)
        ]
        return web.json_response(told)

    async def conversation(self, request: web.Request) -> web.Response:
        """One conversation as the phones show it, `?number=…`."""
        chat = request.match_info["chat"]
        if chat not in self._world.groups and (person := self._world.find(chat)):
            chat = person.wa_id
        number = self._to(dict(request.query) | {"to": request.query.get("number", "")})
        found = [message for message in self._world.chat(number.id, chat) if message.type != "reaction"]
        return web.json_response([self._told_message(message) for message in found])

    def _told_message(self, message: Message) -> dict[str, Any]:
        told = asdict(message)
        told["read_by"] = sorted(message.read_by)
        if message.sender and message.sender in self._world.contacts:
            told["sender_name"] = self._world.contacts[message.sender].name
        if message.type == "template":
            account = self._world.account_of(message.number_id)
            told["buttons"] = [
                str(button.get("text", ""))
                for template in account.templates
                if (template.name, template.language) == (message.content.get("name"), message.content["language"]["code"])
                for component in template.components
                for button in component.get("buttons", [])
            ]
        return told

    async def messages(self, request: web.Request) -> web.Response:
        """What businesses sent, the oldest first."""
        return web.json_response(self._world.sent)

    async def set_status(self, request: web.Request) -> web.Response:
        """Report a status of a message that a business sent, whatever the phones do."""
        body, message = await body_of(request), self._world.messages.get(request.match_info["message"])
        state = str(body["status"])
        if message is None or message.via != "api" or state not in (*STATES[1:], "failed"):
            raise NotPossibleError("There is no such message of a business, or no such status.")
        error = GraphError(int(body.get("code", 131026)), str(body.get("details", ""))) if state == "failed" else None
        who = self._world.find(str(body["who"])) if "who" in body else None
        await self._receipts.report(message, state, error, who)
        return web.json_response({})

    async def marked(self, request: web.Request) -> web.Response:
        """What businesses marked as read, the oldest first."""
        return web.json_response(self._world.marked)

    async def raw_media(self, request: web.Request) -> web.Response:
        """A file, by its id."""
        stored = self._world.media.get(request.match_info["media"])
        if stored is None:
            return web.Response(status=404)
        return web.Response(
            body=stored.content,
            content_type=stored.media_type.partition(";")[0],
            headers={
                "X-Content-Type-Options": "nosniff",
                "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'",
            },
        )

    async def store_media(self, request: web.Request) -> web.Response:
        """Store a file, as a contact's picture for one."""
        body = await body_of(request)
        content = base64.b64decode(body["media"])
        account = self._world.accounts[0]
        kept = self._world.keep(content, str(body.get("mime_type", "application/octet-stream")), "", account, UPLOAD_DAYS)
        return web.json_response({"id": kept})

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events for the page: the chat that changed, or "" for everything."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        changes: asyncio.Queue[str | None] = asyncio.Queue(maxsize=1000)
        self._listeners.add(changes)
        try:
            await response.write(b": hello\n\n")
            while True:
                try:
                    if (chat := await asyncio.wait_for(changes.get(), 15)) is None:
                        return response
                    await response.write(f"data: {json.dumps(chat)}\n\n".encode())
                except TimeoutError:
                    await response.write(b": still here\n\n")
        except ConnectionError:
            return response
        finally:
            self._listeners.discard(changes)

    async def stop(self, _: web.Application) -> None:
        """End what is being listened to, so that the server can stop."""
        self._changed(None)

    def _changed(self, chat: str | None) -> None:
        for changes in self._listeners:
            with contextlib.suppress(asyncio.QueueFull):
                changes.put_nowait(chat)
