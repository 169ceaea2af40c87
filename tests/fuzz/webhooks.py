"""`make fuzz`: hostile deliveries through the webhook itself, over HTTP, into a real Postgres: 200,000 of them.

No crash, none accepted with a wrong signature, no good message lost beside a bad one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import asyncpg
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from bridge.alarm import Alarms
from bridge.numbers import Numbers
from bridge.pulse import Pulse
from bridge.relay import Relay
from bridge.sealing import Seal
from bridge.settings import Bridge
from bridge.webhook import Webhook
from tests.fuzz.whatsapp import CLOUD, SECRET, Deliveries, Delivery, read

ROUND = 2_000  # deliveries between two looks at what was kept
SEAL = Seal(AESGCM(b"\3" * 32))


class Ordeal:
    """A webhook, and deliveries for it."""

    def __init__(self, pool: asyncpg.Pool, url: str, http: aiohttp.ClientSession, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self._pool = pool
        self._url = url
        self._http = http
        self._deliveries = Deliveries(random.Random(seed))

    async def run(self, count: int) -> None:
        """Deliver so many; raises AssertionError at the first that does harm."""
        batch = [self._deliveries.next() for _ in range(count)]
        for start in range(0, count, 16):
            await asyncio.gather(*map(self._one, batch[start : start + 16]))
        kept = [
            json.loads(SEAL.open(row["sealed"], row["dedupe"]))
            for row in await self._pool.fetch("SELECT dedupe, sealed FROM inbox ORDER BY id")
        ]
        texts = {}
        for change in kept:
            incoming = read(change)
            if incoming is not None and incoming.message_id.startswith("wamid.goed"):
                texts[incoming.message_id] = incoming.text
        for one in batch:
            if not one.signed:
                assert not one.good.keys() & texts.keys(), "a message came in by a delivery that is not signed"
            elif one.whole:
                assert one.good.items() <= texts.items(), one.raw
                self.counts["good"] += len(one.good)
        assert await self._pool.fetchval("SELECT count(*) FROM rejected") <= sum(one.signed for one in batch)
        self.counts["changes kept"] += len(kept)
        await self._pool.execute("TRUNCATE inbox, rejected")

    async def _one(self, one: Delivery) -> None:
        headers = {} if one.header is None else {"X-Hub-Signature-256": one.header}
        async with self._http.post(self._url, data=one.raw, headers=headers) as answer:
            await answer.read()
            self.counts[f"answered {answer.status}"] += 1
            if not one.signed:
                assert answer.status == 401, one
            elif one.whole:
                assert answer.status == 200, one
            else:
                assert answer.status in (200, 400), one


@asynccontextmanager
async def ordeal(url: str, seed: int) -> AsyncIterator[Ordeal]:
    """The real webhook over a database of its own on the server at `url`."""
    name, owner = f"w{secrets.token_hex(6)}", await asyncpg.connect(url)
    await owner.execute(f"CREATE DATABASE {name}")
    async with asyncpg.create_pool(urlunsplit(urlsplit(url)._replace(path=f"/{name}")), min_size=4, max_size=16) as pool:
        for file in sorted((files("bridge") / "migrations").iterdir(), key=lambda file: file.name):
            await pool.execute(file.read_text())
        settings = Bridge(app_secret=SecretStr(SECRET), verify_token=SecretStr("x"), replay_days=0)
        app = web.Application()
        app.add_routes(Webhook(settings, CLOUD, Relay(pool, SEAL), Numbers(settings), Pulse(), Alarms(pool)).routes())
        async with TestServer(app) as server, aiohttp.ClientSession() as http:
            yield Ordeal(pool, str(server.make_url("/webhook")), http, seed)
    await owner.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await owner.close()


async def main(count: int, seed: int) -> None:
    """Deliver so many hostile bodies; each round has a seed of its own, which is on the screen."""
    from tests.fuzz.__main__ import postgres

    print(f"--seed {seed} --deliveries {count}", flush=True)
    logging.disable(logging.CRITICAL)
    total: Counter[str] = Counter()
    began = time.monotonic()
    done = 0
    async with postgres() as url:
        while done < count:
            async with ordeal(url, seed + done) as this:
                for _ in range(10):
                    await this.run(min(ROUND, count - done))
                    done += min(ROUND, count - done)
                    if done >= count:
                        break
            total += this.counts
            seconds = time.monotonic() - began
            print(f"{done:>9} deliveries, {seconds:.0f} s, {done / seconds:.0f}/s", flush=True)
    print(f"No crash, none with a wrong signature, no lost neighbour: {dict(total)} in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.webhooks")
    parser.add_argument("--deliveries", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    given = parser.parse_args()
    try:
        asyncio.run(main(given.deliveries, given.seed))
    except KeyboardInterrupt:
        sys.exit(130)
