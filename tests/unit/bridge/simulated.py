"""A simulator on a free port, and a webhook beside it that remembers what it was told."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from bridge.network.cloud import signature_ok
from bridge.simulator.server import Simulator

SECRET, VERIFY, TOKEN = "geheim", "verifieer", "token-een"  # - of nothing that is outside
NUMBER, CONTACT = "106540352242922", "31600000101"
WABA = "102290129340398"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Receiver:
    """A webhook: keeps every delivery with a right signature, and answers what it is told to."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.refused = 0
        self.answers: list[int] = []  # for the next deliveries; after them 200

    async def take(self, request: web.Request) -> web.Response:
        raw = await request.read()
        if not signature_ok(SECRET, raw, request.headers.get("X-Hub-Signature-256")):
            self.refused += 1
            return web.Response(status=401)
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            self.raw.append(raw)
        return web.Response(status=status)

    async def shake(self, request: web.Request) -> web.Response:
        good = request.query["hub.verify_token"] == VERIFY
        return web.Response(text=request.query["hub.challenge"] if good else "", status=200 if good else 403)

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(raw) for raw in self.raw]

    def changes(self, field: str = "") -> list[dict[str, Any]]:
        found = [change for body in self.bodies for entry in body["entry"] for change in entry["changes"]]
        return [change["value"] for change in found if not field or change["field"] == field]

    def messages(self) -> list[dict[str, Any]]:
        return [message for value in self.changes("messages") for message in value.get("messages", [])]

    def statuses(self) -> list[dict[str, Any]]:
        return [status for value in self.changes("messages") for status in value.get("statuses", [])]


class Sim:
    """The simulator as a test sees it."""

    def __init__(self, url: str, http: aiohttp.ClientSession, receiver: Receiver) -> None:
        self.url, self.http, self.hook = url, http, receiver

    async def ask(self, path: str, body: Any = None, *, method: str = "", status: int = 200) -> Any:
        """A call of the control API."""
        method = method or ("GET" if body is None else "POST")
        async with self.http.request(method, self.url + path, json=body) as answer:
            told = await answer.json()
            assert answer.status == status, told
            return told

    async def graph(self, path: str, body: Any = None, *, method: str = "", token: str = TOKEN) -> tuple[int, Any]:
        """A call of the Graph API; returns its HTTP status and JSON."""
        method = method or ("GET" if body is None else "POST")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with self.http.request(method, f"{self.url}/v25.0/{path}", json=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def send(self, kind: str = "text", part: Any = None, **more: Any) -> tuple[int, Any]:
        """A business sends a message."""
        part = {"body": "dag"} if part is None else part
        return await self.graph(
            f"{NUMBER}/messages", {"messaging_product": "whatsapp", "to": CONTACT, "type": kind, kind: part} | more
        )

    async def upload(self, content: bytes, media_type: str, name: str = "x", token: str = TOKEN) -> tuple[int, Any]:
        form = aiohttp.FormData()
        form.add_field("messaging_product", "whatsapp")
        form.add_field("file", content, filename=name, content_type=media_type)
        headers = {"Authorization": f"Bearer {token}"}
        async with self.http.post(f"{self.url}/v25.0/{NUMBER}/media", data=form, headers=headers) as answer:
            return answer.status, await answer.json()

    async def settled(self) -> None:
        """Wait until everything has been delivered."""
        assert (await self.ask("/sim/flush", {}))["busy"] == 0

    async def contact(self, text: str = "hallo", who: str = CONTACT, **more: Any) -> str:
        """A contact sends; returns the message id."""
        return str((await self.ask(f"/sim/contacts/{who}/send", {"text": text, "name": "Hatice Yıldız"} | more))["id"])


@asynccontextmanager
async def simulated() -> AsyncIterator[Sim]:
    receiver, port, hook_port = Receiver(), free_port(), free_port()
    hook = web.Application(client_max_size=4 * 1024 * 1024)
    hook.add_routes([web.post("/webhook", receiver.take), web.get("/webhook", receiver.shake)])
    simulator = Simulator(
        host="127.0.0.1",
        port=port,
        webhook_url=f"http://127.0.0.1:{hook_port}/webhook",
        app_secret=SECRET,
        verify_token=VERIFY,
        access_token=TOKEN,
        numbers=[{"id": NUMBER, "display_phone_number": "+31 97 0102 03040", "official": "@minister:rijk"}],
    )
    runners = [web.AppRunner(hook, access_log=None), web.AppRunner(simulator.app(), access_log=None)]
    for runner, at in zip(runners, (hook_port, port), strict=True):
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", at).start()
    try:
        async with aiohttp.ClientSession() as http:
            yield Sim(f"http://127.0.0.1:{port}", http, receiver)
    finally:
        await simulator.webhook.stop()
        for runner in runners:
            await runner.cleanup()
