"""The Cloud API as a business sees it, and the phones at the other end as tests and the demo drive them.

Graph side: POST /vN/{number}/messages, POST /vN/{number}/media, GET /vN/{media}, GET /files/{media}. Control side, loopback only:
GET /phone_numbers, POST /sim/contacts/{wa_id}/send, GET /sim/messages, GET /sim/media/{media}.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

log = logging.getLogger(__name__)

URL_LIFE = 300  # seconds that the address of a file is good for
RETRIES = (0.2, 0.5, 1, 2, 5, 10, 30)  # seconds between deliveries of a webhook that was not answered with 200
FILES = ("image", "audio", "video", "document", "sticker")


@dataclass(slots=True)
class Stored:
    """A file at WhatsApp."""

    content: bytes
    media_type: str
    filename: str
    url_until: float = 0


@dataclass
class Simulator:
    """WhatsApp, as far as the bridge can tell."""

    host: str
    port: int
    webhook_url: str
    app_secret: str
    verify_token: str
    access_token: str
    numbers: list[dict[str, str]]
    sent: list[dict[str, Any]] = field(default_factory=list)
    media: dict[str, Stored] = field(default_factory=dict)
    deliveries: set[asyncio.Task[None]] = field(default_factory=set)

    # The Graph side.

    def refuse(self, request: web.Request) -> web.Response | None:
        """Meta's answer to a missing or wrong token."""
        if hmac.compare_digest(request.headers.get("Authorization", "").encode(), f"Bearer {self.access_token}".encode()):
            return None
        return _error(401, 190, "Invalid OAuth access token.")

    def number(self, number_id: str) -> dict[str, str] | None:
        return next((number for number in self.numbers if number["id"] == number_id), None)

    async def send_message(self, request: web.Request) -> web.Response:
        """A business sends a message."""
        if refused := self.refuse(request):
            return refused
        number_id = request.match_info["number"]
        if self.number(number_id) is None:
            return _error(400, 100, f"Unsupported post request. Object with ID '{number_id}' does not exist.")
        try:
            body = await request.json()
            kind, to = body["type"], str(body["to"])
            part = body[kind]
        except (ValueError, KeyError, TypeError):
            return _error(400, 100, "Invalid parameter")
        if body.get("messaging_product") != "whatsapp" or not isinstance(part, dict):
            return _error(400, 100, "(#100) The parameter messaging_product is required.")
        if kind in FILES and str(part.get("id")) not in self.media:
            return _error(400, 131009, "Parameter value is not valid: media id")
        message_id = _wamid()
        self.sent.append({"id": message_id, "phone_number_id": number_id, "at": time.time(), **body})
        for status in ("sent", "delivered", "read"):
            self._soon(self._status(number_id, message_id, to, status))
        return web.json_response(
            {
                "messaging_product": "whatsapp",
                "contacts": [{"input": to, "wa_id": to}],
                "messages": [{"id": message_id, "message_status": "accepted"}],
            }
        )

    async def upload(self, request: web.Request) -> web.Response:
        """A business uploads a file."""
        if refused := self.refuse(request):
            return refused
        form = await request.post()
        file = form.get("file")
        if not isinstance(file, web.FileField) or form.get("messaging_product") != "whatsapp":
            return _error(400, 100, "(#100) The parameter file is required.")
        return web.json_response({"id": self.keep(file.file.read(), file.content_type, file.filename)})

    async def describe(self, request: web.Request) -> web.Response:
        """A business asks where a file is."""
        if refused := self.refuse(request):
            return refused
        media_id = request.match_info["media"]
        stored = self.media.get(media_id)
        if stored is None:
            return _error(400, 100, f"Unsupported get request. Object with ID '{media_id}' does not exist.")
        stored.url_until = time.time() + URL_LIFE
        return web.json_response(
            {
                "messaging_product": "whatsapp",
                "url": f"http://{self.host}:{self.port}/files/{media_id}",
                "mime_type": stored.media_type,
                "sha256": hashlib.sha256(stored.content).hexdigest(),
                "file_size": str(len(stored.content)),
                "id": media_id,
            }
        )

    async def file(self, request: web.Request) -> web.Response:
        """The file itself, for a while, with the token."""
        if refused := self.refuse(request):
            return refused
        stored = self.media.get(request.match_info["media"])
        if stored is None or stored.url_until < time.time():
            return web.Response(status=404)
        return web.Response(body=stored.content, content_type=stored.media_type.partition(";")[0])

    # The control side.

    async def phone_numbers(self, request: web.Request) -> web.Response:
        return web.json_response(self.numbers)

    async def contact_sends(self, request: web.Request) -> web.Response:
        """Somebody's phone sends: `{"to", "name", "type", …}`; a file as `media` in base64. Answers with the message id."""
        body = await request.json()
        wa_id, kind = request.match_info["wa_id"], body.get("type", "text")
        to = body.get("to") or self.numbers[0]["id"]
        number = self.number(to)
        if number is None:
            return _error(404, 100, f"There is no number {to} here.")
        message: dict[str, Any] = {
            "from": wa_id,
            "id": body.get("id") or _wamid(),
            "timestamp": str(body.get("timestamp") or int(time.time())),
        }
        message["type"] = kind
        if kind == "text":
            message["text"] = {"body": body["text"]}
        elif kind in FILES:
            content = base64.b64decode(body["media"])
            media_type = body.get("mime_type", "application/octet-stream")
            media_id = self.keep(content, media_type, body.get("filename", ""))
            digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
            message[kind] = {"id": media_id, "mime_type": media_type, "sha256": digest}
            message[kind] |= {name: body[name] for name in ("caption", "filename", "voice") if name in body}
        else:
            message[kind] = body.get(kind, {})
        if "context" in body:
            message["context"] = {"from": number["display_phone_number"], "id": body["context"]}
        value = {
            "messaging_product": "whatsapp",
            "metadata": _metadata(number),
            "contacts": [{"profile": {"name": body.get("name", wa_id)}, "wa_id": wa_id}],
            "messages": [message],
        }
        await self._deliver(value)
        return web.json_response({"id": message["id"]})

    async def messages(self, request: web.Request) -> web.Response:
        """What businesses sent, the oldest first."""
        return web.json_response(self.sent)

    async def raw_media(self, request: web.Request) -> web.Response:
        """A file that a business sent."""
        stored = self.media.get(request.match_info["media"])
        if stored is None:
            return web.Response(status=404)
        return web.Response(body=stored.content, content_type=stored.media_type.partition(";")[0])

    # Inside.

    def keep(self, content: bytes, media_type: str, filename: str) -> str:
        media_id = str(secrets.randbelow(10**15) + 10**15)
        self.media[media_id] = Stored(content, media_type, filename)
        return media_id

    async def _status(self, number_id: str, message_id: str, to: str, status: str) -> None:
        number = self.number(number_id)
        if number is not None:
            told = {"id": message_id, "status": status, "timestamp": str(int(time.time())), "recipient_id": to}
            await self._deliver({"messaging_product": "whatsapp", "metadata": _metadata(number), "statuses": [told]})

    async def _deliver(self, value: dict[str, Any]) -> None:
        """Call the webhook until it answers 200, as Meta does, though not for days."""
        body = {
            "object": "whatsapp_business_account",
            "entry": [{"id": "WABA", "changes": [{"field": "messages", "value": value}]}],
        }
        raw = json.dumps(body, ensure_ascii=True).encode()
        signature = "sha256=" + hmac.digest(self.app_secret.encode(), raw, hashlib.sha256).hex()
        headers = {"X-Hub-Signature-256": signature, "Content-Type": "application/json"}
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as http:
            for delay in (*RETRIES, None):
                try:
                    async with http.post(self.webhook_url, data=raw, headers=headers) as response:
                        if response.status == 200:
                            return
                        log.warning("The webhook answered %d.", response.status)
                except (aiohttp.ClientError, TimeoutError) as error:
                    log.warning("The webhook does not answer: %s", type(error).__name__)
                if delay is not None:
                    await asyncio.sleep(delay)
        log.error("A delivery was given up.")

    def _soon(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self.deliveries.add(task)
        task.add_done_callback(self.deliveries.discard)


def _metadata(number: dict[str, str]) -> dict[str, str]:
    digits = "".join(letter for letter in number["display_phone_number"] if letter.isdigit())
    return {"display_phone_number": digits, "phone_number_id": number["id"]}


def _wamid() -> str:
    return "wamid." + base64.b64encode(secrets.token_bytes(30)).decode()


def _error(status: int, code: int, message: str) -> web.Response:
    return web.json_response(
        {"error": {"message": message, "type": "OAuthException", "code": code, "fbtrace_id": "sim"}}, status=status
    )


async def serve(simulator: Simulator, stop: asyncio.Event) -> None:
    """Answer until `stop` is set."""
    app = web.Application(client_max_size=110_000_000)
    app.add_routes(
        [
            web.get("/phone_numbers", simulator.phone_numbers),
            web.post("/sim/contacts/{wa_id}/send", simulator.contact_sends),
            web.get("/sim/messages", simulator.messages),
            web.get("/sim/media/{media}", simulator.raw_media),
            web.get("/files/{media}", simulator.file),
            web.post(r"/{version:v\d+\.\d+}/{number}/messages", simulator.send_message),
            web.post(r"/{version:v\d+\.\d+}/{number}/media", simulator.upload),
            web.get(r"/{version:v\d+\.\d+}/{media}", simulator.describe),
        ]
    )
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, simulator.host, simulator.port).start()
        await stop.wait()
    finally:
        for task in list(simulator.deliveries):
            task.cancel()
        await runner.cleanup()
