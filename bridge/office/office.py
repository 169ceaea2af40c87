"""All that runs the bridge beside carrying messages, put together: the watch, the management room, commands, the API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import asyncpg
from aiohttp import web

from bridge.accounts import Accounts
from bridge.departing.opening import Opening
from bridge.listening import serving
from bridge.network import AccountChanged, Handlers, HistoryProgress, NumberProblem
from bridge.network.cloud.graph import Graph
from bridge.numbers import Numbers
from bridge.office import assigning
from bridge.office.administration import Administration
from bridge.office.alarm import Alarms
from bridge.office.answering import Desk
from bridge.office.gate import Gate
from bridge.office.importing import Imports
from bridge.office.interruption import Interruptions
from bridge.office.linked import Linked
from bridge.office.management import Management
from bridge.office.provisioning import Provisioning
from bridge.office.pulse import Pulse
from bridge.office.retention import forget
from bridge.office.token_page import TokenPage
from bridge.office.watch import Watch
from bridge.portal.portal import Portals
from bridge.relay.lanes import SetAside
from bridge.relay.relay import Relay
from bridge.sealing import Seal
from bridge.settings import Bridge


class Office:
    """The parts, and how long they live."""

    def __init__(
        self,
        settings: Bridge,
        pool: asyncpg.Pool,
        seal: Seal,
        numbers: Numbers,
        accounts: Accounts,
        portals: Portals,
        relay: Relay,
        graph: Graph,
        opening: Opening,
        http: aiohttp.ClientSession,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._seal = seal
        self._numbers = numbers
        self.pulse = Pulse()
        self.interruptions = Interruptions(pool, numbers)
        self.alarms = Alarms(pool)
        self._imports = Imports(pool, numbers)
        self.watch = Watch(settings, pool, seal, numbers, self.pulse, self.interruptions, self.alarms, graph, http)
        told = self.interruptions, self.alarms, self._imports
        self.management = Management(settings, pool, seal, accounts, portals, opening, *told)
        self.administration = Administration(
            settings, pool, seal, numbers, self.interruptions, self.alarms, self.watch, graph, relay, portals.seating.of_number
        )
        self.gate = Gate(numbers, portals, relay, self.pulse)
        self._desk = Desk(settings, pool, self.administration)
        self.handlers: Handlers = {
            AccountChanged: self.watch.account_changed,
            NumberProblem: self.watch.number_problem,
            HistoryProgress: self._imports.note,
        }
        relay.alarm = self._ring
        graph.on_account_problem = self.watch.account_problem

    async def start(self) -> None:
        """Know the numbers, and what happened before: before the first delivery is taken."""
        await assigning.take_over(self._pool, self._settings.numbers, self._settings.waba_id)
        await self._numbers.load(self._pool, self._seal)
        await self.watch.start()

    @asynccontextmanager
    async def open(self, stop: asyncio.Event) -> AsyncIterator[None]:
        """Watch, tell, answer; and serve the API, where a token is set for it."""
        async with self._serving_api(), asyncio.TaskGroup() as tasks:
            tasks.create_task(self.watch.run(stop))
            tasks.create_task(forget(self._pool, self._settings.keep_failed_days, stop))
            tasks.create_task(self.management.run(self._desk.answer, stop))
            yield

    @asynccontextmanager
    async def _serving_api(self) -> AsyncIterator[None]:
        settings = self._settings
        if not (settings.provisioning_token.get_secret_value() or settings.linked_token.get_secret_value()):
            yield
            return
        app = web.Application(client_max_size=1 << 20)
        app.add_routes(Provisioning(settings, self.administration, self._imports).routes())
        app.add_routes(TokenPage(self._pool, self.administration).routes())
        app.add_routes(Linked(settings, self.interruptions).routes())
        async with serving(app, settings.provisioning_host, settings.provisioning_port, patience=settings.webhook_timeout):
            yield

    async def _ring(self, alarm: SetAside) -> None:
        """A message was set aside that no sender can mend. What came in is counted by the watch."""
        if alarm.table == "outbox":
            await self.alarms.ring("poison", "outbox", f"Matrix → WhatsApp: {alarm.problem}")
        await self.watch.look()
