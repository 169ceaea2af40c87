"""The bridge is killed at every moment of sending a message to WhatsApp: before it is taken, before and after it is answered.

The Graph API has no key by which it would know a message again; that WhatsApp has one is told in its statuses. The seed is
printed, and GRIFFIER_CHAOS_SEED repeats it; GRIFFIER_CHAOS_BRIDGE_KILLS sets how many there are: four messages for each.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import random
import secrets
import sys
from collections import Counter
from dataclasses import dataclass, field

import aiohttp
import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from bridge.relay import Relay
from tests.chaos.sending import NUMBER, SEAL, SECRET

pytestmark = pytest.mark.postgres

MESSAGES = 4 * int(os.environ.get("GRIFFIER_CHAOS_BRIDGE_KILLS", "4"))
SEED = int(os.environ.get("GRIFFIER_CHAOS_SEED", str(secrets.randbelow(10**6))))
ROOMS = 3
MOMENTS = {"never": 6, "before it is taken": 1, "before it is answered": 3, "after it is answered": 2}


@dataclass
class WhatsApp:
    """Takes messages, tells that it has them, and kills who sent them."""

    chance: random.Random
    program: list[str]
    webhook: str
    tells: bool = True
    taken: list[str] = field(default_factory=list)
    killed: Counter[str] = field(default_factory=Counter)
    process: asyncio.subprocess.Process | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def take(self, request: web.Request) -> web.Response:
        """POST …/messages."""
        [moment] = self.chance.choices(list(MOMENTS), list(MOMENTS.values()))
        key = (await request.json())["biz_opaque_callback_data"]
        if moment != "before it is taken":
            self.taken.append(key)
            if self.tells:
                self._soon(self._tell(key))
        if moment in ("before it is taken", "before it is answered"):
            await self._kill(moment)
        elif moment == "after it is answered":
            self._soon(self._kill(moment))
        return web.json_response({"messages": [{"id": f"wamid.{key}"}]})

    async def keep(self) -> None:
        """Start the program again whenever it has been killed."""
        while True:
            self.process = await asyncio.create_subprocess_exec(*self.program)
            await self.process.wait()

    async def _kill(self, moment: str) -> None:
        if moment == "after it is answered":
            await asyncio.sleep(self.chance.uniform(0, 0.004))
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            self.killed[moment] += 1

    async def _tell(self, key: str) -> None:
        await asyncio.sleep(self.chance.uniform(0, 0.3))
        status = {"id": f"wamid.{key}", "status": "sent", "timestamp": "1764000000", "recipient_id": "316"}
        value = {"metadata": {"phone_number_id": NUMBER}, "statuses": [status | {"biz_opaque_callback_data": key}]}
        raw = json.dumps({"entry": [{"changes": [{"field": "messages", "value": value}]}]}).encode()
        headers = {"X-Hub-Signature-256": "sha256=" + hmac.digest(SECRET.encode(), raw, hashlib.sha256).hex()}
        async with aiohttp.ClientSession() as http:
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.post(self.webhook, data=raw, headers=headers) as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.1)

    def _soon(self, work) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


@contextlib.asynccontextmanager
async def sending(url: str, settle: float, *, tells: bool = True):
    """The program, with WhatsApp at its other end and events in its outbox; yields WhatsApp and the events by room."""
    port, app = unused_port(), web.Application()
    whatsapp = WhatsApp(random.Random(SEED), [], f"http://127.0.0.1:{port}/webhook", tells)
    app.router.add_post("/v25.0/{number}/messages", whatsapp.take)
    async with TestServer(app) as server, asyncpg.create_pool(url, min_size=1, max_size=2) as pool:
        graph = str(server.make_url("/")).rstrip("/")
        whatsapp.program = [sys.executable, "-m", "tests.chaos.sending", url, graph, str(port), str(settle)]
        rooms = [f"!{number}" for number in range(ROOMS)]
        for room in rooms:
            await pool.execute("INSERT INTO portal VALUES ($1, $2, $1, true)", room, NUMBER)
        keys = [f"${n % ROOMS}-{n}" for n in range(MESSAGES)]
        await Relay(pool, SEAL).take_out([{"event_id": key, "room_id": f"!{key[1]}", "text": key} for key in keys])
        keeping = asyncio.create_task(whatsapp.keep())
        try:
            async with asyncio.timeout(60 + 5 * MESSAGES):
                while await pool.fetchval("SELECT count(*) FROM outbox WHERE state <> 'done'"):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
            yield whatsapp, {room: [key for key in keys if key[1] == room[1]] for room in rooms}, pool
        finally:
            keeping.cancel()
            for task in [*whatsapp.tasks, keeping]:
                task.cancel()
            await asyncio.gather(*whatsapp.tasks, keeping, return_exceptions=True)
            if whatsapp.process is not None and whatsapp.process.returncode is None:
                whatsapp.process.kill()
                await whatsapp.process.wait()


@pytest.mark.timeout(120 + 5 * MESSAGES)
async def test_a_message_is_sent_to_whatsapp_once_whenever_the_bridge_is_killed(bridge_url: str) -> None:
    print(f"\nGRIFFIER_CHAOS_SEED={SEED} GRIFFIER_CHAOS_BRIDGE_KILLS={MESSAGES // 4}")
    async with sending(bridge_url, settle=3) as (whatsapp, said, pool):
        assert {room: [key for key in whatsapp.taken if key[1] == room[1]] for room in said} == said
        noted = {row["event_id"]: row["message_id"] for row in await pool.fetch("SELECT event_id, message_id FROM carried")}
        assert noted == {key: f"wamid.{key}" for key in whatsapp.taken}
        print(f"{len(whatsapp.taken)} messages, killed {dict(whatsapp.killed)}")
        assert sum(whatsapp.killed.values()) >= MESSAGES // 8


@pytest.mark.timeout(120 + 5 * MESSAGES)
async def test_without_a_word_of_whatsapp_a_message_is_rather_sent_twice_than_lost(bridge_url: str) -> None:
    print(f"\nGRIFFIER_CHAOS_SEED={SEED}")
    async with sending(bridge_url, settle=0.5, tells=False) as (whatsapp, said, _):
        first = list(dict.fromkeys(whatsapp.taken))
        assert {room: [key for key in first if key[1] == room[1]] for room in said} == said
        twice = len(whatsapp.taken) - len(first)
        print(f"{len(first)} messages, killed {dict(whatsapp.killed)}, {twice} sent twice")
        assert twice <= ROOMS * whatsapp.killed.total()
