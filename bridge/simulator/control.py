"""The control API, /sim/*, on loopback only: tests and the page play everybody with it. docs/simulator.md has every call."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

from aiohttp import web

from bridge.simulator.accounts import copied
from bridge.simulator.calls import Calls, Route, body_of, guarded
from bridge.simulator.chats import Chats
from bridge.simulator.groups import Groups
from bridge.simulator.history import History
from bridge.simulator.knobs import Fault, Faults, Knobs, changed
from bridge.simulator.offices import Offices
from bridge.simulator.people import People
from bridge.simulator.phones import Phones
from bridge.simulator.receipts import Receipts
from bridge.simulator.webhook import Webhook
from bridge.simulator.world import World


class Control(Calls):
    """All of the control API, and what is of the whole world: the clock, the knobs, failures, webhooks."""

    def __init__(
        self, world: World, webhook: Webhook, phones: Phones, groups: Groups, history: History, receipts: Receipts
    ) -> None:
        super().__init__(world, webhook)
        chats = Chats(world, webhook, receipts)
        self.stop = chats.stop
        self._parts = (Offices(world, webhook, phones, history), People(world, webhook, phones, groups), chats)
        self._start = [copied(account) for account in world.accounts]

    def routes(self) -> list[web.RouteDef]:
        """Where the control API answers."""
        calls = [*self.calls(), *(call for part in self._parts for call in part.calls())]
        return [web.route(method, path, guarded(call)) for method, path, call in calls]

    def calls(self) -> list[Route]:
        """Where all this is found."""
        return [
            ("GET", "/sim/clock", self.clock),
            ("POST", "/sim/clock", self.set_clock),
            ("GET", "/sim/knobs", self.knobs),
            ("POST", "/sim/knobs", self.turn),
            ("DELETE", "/sim/knobs", self.turn),
            ("GET", "/sim/faults", self.faults),
            ("POST", "/sim/faults", self.add_fault),
            ("DELETE", "/sim/faults", self.add_fault),
            ("GET", "/sim/webhooks", self.deliveries),
            ("POST", "/sim/webhooks", self.deliver),
            ("POST", "/sim/flush", self.flush),
            ("POST", "/sim/reset", self.reset),
        ]

    async def clock(self, request: web.Request) -> web.Response:
        return web.json_response({"now": self._world.now(), "ahead": self._world.ahead})

    async def set_clock(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        self._world.ahead = float(body["ahead"]) if "ahead" in body else self._world.ahead + float(body["advance"])
        self._world.changed("")
        return await self.clock(request)

    async def knobs(self, request: web.Request) -> web.Response:
        return web.json_response(self._world.knobs.model_dump())

    async def turn(self, request: web.Request) -> web.Response:
        """Turn the knobs named; DELETE turns all back."""
        self._world.knobs = Knobs() if request.method == "DELETE" else changed(self._world.knobs, await body_of(request))
        self._webhook.reseed()
        return await self.knobs(request)

    async def faults(self, request: web.Request) -> web.Response:
        return web.json_response([fault.model_dump() for fault in self._world.faults.waiting])

    async def add_fault(self, request: web.Request) -> web.Response:
        if request.method == "DELETE":
            self._world.faults.waiting.clear()
        else:
            self._world.faults.waiting.append(Fault.model_validate(await body_of(request)))
        return await self.faults(request)

    async def deliveries(self, request: web.Request) -> web.Response:
        """The last webhooks; with `?raw=1` what they said (64 kB of each at most)."""
        told = [asdict(one) | {"raw": one.raw.decode() if "raw" in request.query else ""} for one in self._webhook.log]
        return web.json_response({"busy": self._webhook.busy, "dropped": self._webhook.dropped, "deliveries": told})

    async def deliver(self, request: web.Request) -> web.Response:
        """Any change: `{"field", "value", "account"}`; or exact bytes, signed: `{"raw": text}`."""
        body = await body_of(request)
        account = self._world.account(str(body.get("account") or self._world.accounts[0].id))
        if "raw" in body:
            self._webhook.post(account, str(body["raw"]).encode("utf-8", "surrogatepass"))
            return web.json_response({})
        return await self._after(self._webhook.emit(account, str(body["field"]), dict(body["value"])), {}, body)

    async def flush(self, request: web.Request) -> web.Response:
        """Send what waits for its batch and wait until everything is delivered; answers how much is not."""
        body = await body_of(request)
        end = asyncio.get_running_loop().time() + float(body.get("timeout", 10))
        self._webhook.flush()
        while self._webhook.busy and asyncio.get_running_loop().time() < end:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        return web.json_response({"busy": self._webhook.busy})

    async def reset(self, request: web.Request) -> web.Response:
        """Everything as it was at the start."""
        await self._webhook.stop()
        self._webhook.log.clear()
        self._webhook.dropped = 0
        world = self._world
        world.accounts[:] = [copied(account) for account in self._start]
        for kept in (world.contacts, world.groups, world.messages, world.talks, world.media, world.sent, world.marked):
            kept.clear()
        world.knobs, world.faults, world.ahead = Knobs(), Faults(), 0
        self._webhook.reseed()
        world.changed("")
        return web.json_response({})
