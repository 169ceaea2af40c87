"""How the bridge tells that it is well, to whoever asks and however often; and that what it set aside is not kept for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import aiohttp
import asyncpg
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bridge.listening import serving
from bridge.numbers import Numbers
from bridge.office.alarm import Alarms
from bridge.office.health import Health
from bridge.office.interruption import Interruptions
from bridge.office.retention import forget
from bridge.relay.relay import Relay
from bridge.sealing import Seal
from bridge.settings import Bridge
from tests.unit.bridge.simulated import free_port

pytestmark = pytest.mark.postgres


class Asked:
    """A homeserver that counts how often it is asked."""

    def __init__(self) -> None:
        self.times = 0
        self.away = False

    async def whoami(self) -> None:
        self.times += 1
        await asyncio.sleep(0.05)
        if self.away:
            raise ConnectionError


@pytest.fixture
async def pool(bridge_url: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(bridge_url, min_size=1, max_size=4) as opened:
        yield opened


@pytest.fixture
def relay(pool: asyncpg.Pool) -> Relay:
    return Relay(pool, Seal(AESGCM(b"\1" * 32)))


async def test_the_homeserver_is_asked_once_in_a_while_however_many_ask_us(pool: asyncpg.Pool, relay: Relay, monkeypatch):
    homeserver, settings, port = Asked(), Bridge(), free_port()
    accounts: Any = SimpleNamespace(bot=SimpleNamespace(client=homeserver), signed=True)
    app = web.Application()
    app.add_routes(Health(settings, pool, accounts, relay, Interruptions(pool, Numbers(settings)), Alarms(pool)).routes())
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving(app, "127.0.0.1", port))
        http = await stack.enter_async_context(aiohttp.ClientSession())

        async def ask() -> tuple[int, Any]:
            async with http.get(f"http://127.0.0.1:{port}/healthz") as answer:
                return answer.status, await answer.json()

        told = await asyncio.gather(*(ask() for _ in range(30)))
        assert {status for status, _ in told} == {200}
        assert told[0][1]["in_failed"] == 0
        assert homeserver.times == 1
        homeserver.away = True
        assert (await ask())[0] == 200
        monkeypatch.setattr("bridge.office.health.HELD", 0.0)
        assert await ask() == (503, {"status": "not ready: ConnectionError"})
        homeserver.away, accounts.signed = False, False
        assert (await ask())[0] == 503
        accounts.signed = True
        assert (await ask())[0] == 200
        assert homeserver.times == 4


async def test_what_was_set_aside_loses_its_content_after_a_while_and_not_before(pool: asyncpg.Pool, relay: Relay):
    await relay.take_in([(f"message|1|{word}", "1|316", {}) for word in ("oud", "nieuw", "wacht")])
    await relay.take_out([{"event_id": f"${word}", "room_id": "!een"} for word in ("oud", "vastgehouden")])
    for raw in (b"oud", b"nieuw"):
        await relay.reject(raw, "no changes", [""])
    long_ago = "now() - interval '91 days'"
    await pool.execute("UPDATE inbox SET state = 'kept', finished_at = now() - interval '89 days', problem = 'x'")
    await pool.execute(f"UPDATE inbox SET state = 'kept', problem = NULL, finished_at = {long_ago} WHERE id = 1")
    await pool.execute(f"UPDATE inbox SET state = 'waiting', finished_at = {long_ago} WHERE id = 3")
    await pool.execute(f"UPDATE outbox SET state = 'failed', problem = 'x', arrived_at = {long_ago}")
    await pool.execute("UPDATE outbox SET state = 'held' WHERE id = 2")
    await pool.execute(f"UPDATE rejected SET arrived_at = {long_ago} WHERE id = 1")
    stop = asyncio.Event()
    forgetting = asyncio.create_task(forget(pool, 90, stop))
    for _ in range(100):
        if await pool.fetchval("SELECT count(*) FROM rejected WHERE sealed IS NULL"):
            break
        await asyncio.sleep(0.05)
    stop.set()
    await asyncio.wait_for(forgetting, 5)
    kept = {
        table: [row["id"] for row in await pool.fetch(f"SELECT id FROM {table} WHERE sealed IS NOT NULL ORDER BY id")]
        for table in ("inbox", "outbox", "rejected")
    }
    assert kept == {"inbox": [2, 3], "outbox": [2], "rejected": [2]}
    await relay.take_in([("message|1|oud", "1|316", {})])  # still comes only once
    assert await pool.fetchval("SELECT count(*) FROM inbox") == 3
