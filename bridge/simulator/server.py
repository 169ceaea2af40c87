"""The simulator as a running thing: Graph API, control API and the page with the phone, on one port."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from importlib.resources import files
from typing import Any

from aiohttp import web

from bridge.simulator.accounts import account_from
from bridge.simulator.calls import local
from bridge.simulator.control import Control
from bridge.simulator.graph import Graph
from bridge.simulator.groups import Groups
from bridge.simulator.history import History
from bridge.simulator.knobs import Knobs
from bridge.simulator.phones import Phones
from bridge.simulator.receipts import Receipts
from bridge.simulator.sending import Sending
from bridge.simulator.webhook import Webhook
from bridge.simulator.world import World

MAX_REQUEST = 150 * 1024 * 1024  # a document of 100 MB in base64
PAGE_POLICY = (
    "default-src 'none'; script-src 'sha256-{script}'; style-src 'unsafe-inline'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}


class Simulator:
    """WhatsApp, as far as a bridge can tell.

    Settings: `host`, `port`, and either `accounts`, each `{"id", "access_token", "webhook_url", "app_secret", "verify_token",
    "name", "numbers": [{"id", "display_phone_number", "official", "coexistence"}]}`, or those fields of a single account at the
    top; and `knobs`, as `GET /sim/knobs` shows them. Other settings are others'.
    """

    def __init__(self, **settings: Any) -> None:
        shared = {
            name: settings[name] for name in ("webhook_url", "app_secret", "verify_token", "access_token") if name in settings
        }
        listed = settings.get("accounts") or [{"id": "102290129340398", "numbers": settings.get("numbers", [])}]
        accounts = [account_from(shared | account) for account in listed]
        self.world = World(str(settings["host"]), int(settings["port"]), accounts, Knobs(**settings.get("knobs", {})))
        self.webhook = Webhook(self.world)
        receipts = Receipts(self.world, self.webhook)
        sending = Sending(self.world, self.webhook, receipts)
        groups = Groups(self.world, self.webhook)
        history = History(self.world, self.webhook)
        phones = Phones(self.world, self.webhook, receipts, sending)
        self._graph = Graph(self.world, self.webhook, sending, groups, history)
        self._control = Control(self.world, self.webhook, phones, groups, history, receipts)

    def app(self) -> web.Application:
        """Everything it answers."""
        app = web.Application(client_max_size=MAX_REQUEST)
        app.on_shutdown.append(self._control.stop)
        app.add_routes(self._control.routes())
        app.add_routes([web.get("/", _to_phone), web.get("/phone", _page), web.get("/phone/{who}", _page)])
        app.add_routes(self._graph.routes())
        return app


async def _to_phone(_: web.Request) -> web.StreamResponse:
    raise web.HTTPFound("/phone")


async def _page(request: web.Request) -> web.StreamResponse:
    if not local(request):
        return web.Response(status=403, text="The phone is for this machine only.")
    page = (files("bridge.simulator") / "page.html").read_text()
    # Only this very script runs: what a contact writes can never be one.
    script = hashlib.sha256(page.partition("<script>")[2].rpartition("</script>")[0].encode()).digest()
    policy = PAGE_POLICY.format(script=base64.b64encode(script).decode())
    return web.Response(text=page, content_type="text/html", headers=PAGE_HEADERS | {"Content-Security-Policy": policy})


async def serve(simulator: Simulator, stop: asyncio.Event) -> None:
    """Answer until `stop` is set."""
    runner = web.AppRunner(simulator.app(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, simulator.world.host, simulator.world.port).start()
        await stop.wait()
    finally:
        await simulator.webhook.stop()
        await runner.cleanup()
