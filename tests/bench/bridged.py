"""The bridge: how soon a webhook is acknowledged, how soon its message is in the archive, how a long queue is drained."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import secrets
import time
from bisect import bisect_right
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import asyncpg

from tests.bench import table
from tests.bench.latency import tell
from tests.bench.waiting import until
from tests.bench.whatsapp import WhatsApp
from tests.chaos.storm import children
from tests.conftest import RunningStack, running_stack

CONTACTS = 16
WARM_UP = 3  # of each that are not counted
TALKING, EACH = 4, 60  # people who each say something when what they said before is archived
PER_SECOND, SECONDS = 80, 25  # Meta's limit for a number
QUEUED = int(os.environ.get("GRIFFIER_BENCH_QUEUED", "10000"))
BATCH = 100  # messages in a delivery of the queue
HELD = "SELECT captured_at FROM record WHERE event_id = $1 AND sealed_payload IS NOT NULL"
CARRIED = "SELECT event_id FROM carried WHERE message_id = $1"
LEFT = "SELECT count(*) FROM inbox WHERE state IN ('waiting', 'aside')"
ORDER = """
    SELECT event_id FROM events WHERE event_id = ANY($1) ORDER BY stream_ordering
"""


async def run(folder: Path) -> None:
    """Print the three, each with its budget or baseline."""
    async with contextlib.AsyncExitStack() as held:
        stack = await held.enter_async_context(running_stack(folder))
        http = await held.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=200)))
        whatsapp = WhatsApp(stack, http)
        await whatsapp.find_number()
        bench = Bench(stack, whatsapp, [f"3168{number:07}" for number in range(CONTACTS)])
        async with bench.opened():
            await bench.warm_up()
            await bench.latency()
            await bench.acknowledged()
            await bench.drained()


class Bench:
    """The measurements, on one stack."""

    def __init__(self, stack: RunningStack, whatsapp: WhatsApp, contacts: list[str]) -> None:
        self.stack = stack
        self.whatsapp = whatsapp
        self.contacts = contacts
        self.commits: list[float] = []

    @contextlib.asynccontextmanager
    async def opened(self) -> Any:
        """With connections to the three databases."""
        parts = urlsplit(self.stack.database)
        self.archive = await asyncpg.create_pool(self.stack.database, min_size=1, max_size=TALKING)
        self.bridge = await asyncpg.create_pool(
            urlunsplit(parts._replace(path=f"{parts.path}_bridge")), min_size=1, max_size=TALKING
        )
        self.homeserver = await asyncpg.connect(urlunsplit(parts._replace(path=f"{parts.path}_synapse")))
        listening = await asyncpg.connect(self.stack.database)
        # The database tells of each commit of the archiver at the moment it is done.
        await listening.add_listener("griffier_ledger", lambda *_: self.commits.append(time.time()))
        try:
            yield
        finally:
            await listening.close()
            await self.homeserver.close()
            for pool in (self.archive, self.bridge):
                await pool.close()

    async def warm_up(self) -> None:
        """Ghosts and rooms are made with the first message: once for each contact."""
        await asyncio.gather(*(self.whatsapp.deliver([(who, _id(), "dag")]) for who in self.contacts))
        await until(self._empty, 120)

    async def latency(self) -> None:
        """From a webhook's departure until the message is committed in the archive."""
        began = time.perf_counter()
        moments = [moment for one in await asyncio.gather(*map(self._talk, self.contacts[:TALKING])) for moment in one[WARM_UP:]]
        speed = TALKING * EACH / (time.perf_counter() - began)
        await asyncio.sleep(0.5)  # until the last commit has been told of
        waits = [self.commits[bisect_right(self.commits, captured)] - sent for sent, captured in moments]
        table.title(f"Bridge: {len(waits)} WhatsApp messages of {TALKING} people who wait for each other, {speed:,.0f}/s")
        tell("webhook sent until archived, decrypted", waits, 400)

    async def _talk(self, who: str) -> list[tuple[float, float]]:
        """When each was sent, and when the transaction began that committed it."""
        moments = []
        for _ in range(EACH):
            message_id, sent = _id(), time.time()
            await self.whatsapp.deliver([(who, message_id, f"{secrets.token_hex(8)} over de begroting van volgend jaar")])
            event_id = ""
            while not event_id:
                event_id = await self.bridge.fetchval(CARRIED, message_id) or ""
                await asyncio.sleep(0.01)
            while (captured := await self.archive.fetchval(HELD, event_id)) is None:  # noqa: ASYNC110 - in another process
                await asyncio.sleep(0.01)
            moments.append((sent, captured.timestamp()))
        return moments

    async def acknowledged(self) -> None:
        """Webhooks at a number's limit, one message each, while what came is carried over."""
        began, sending = time.perf_counter(), []
        for number in range(PER_SECOND * SECONDS):
            await asyncio.sleep(max(0.0, began + number / PER_SECOND - time.perf_counter()))
            text = (self.contacts[number % CONTACTS], _id(), f"{secrets.token_hex(8)} bericht {number}")
            sending.append(asyncio.create_task(self.whatsapp.deliver([text])))
        waits = list(await asyncio.gather(*sending))
        took = time.perf_counter() - began
        waiting = await self.bridge.fetchval(LEFT)
        table.title(
            f"Bridge: {len(waits)} webhooks at {len(waits) / took:,.0f}/s for {took:,.0f} s, "
            f"{(len(waits) - waiting) / took:,.0f}/s of them carried over meanwhile"
        )
        tell("webhook acknowledged", waits, 50)
        await until(self._empty, 240)

    async def drained(self) -> None:
        """A long queue, against plain sends of one account to as many rooms at once as the bridge carries over."""
        ids = [_id() for _ in range(QUEUED)]
        texts = [(self.contacts[number % CONTACTS], message_id, f"rij {number}") for number, message_id in enumerate(ids)]
        began, at_rest = time.perf_counter(), self._memory()
        for start in range(0, QUEUED, BATCH):
            await self.whatsapp.deliver(texts[start : start + BATCH])
        queued = await self.bridge.fetchval(LEFT)
        seen, most = [], 0
        while await self.bridge.fetchval(LEFT):
            await asyncio.sleep(1)
            seen.append(self._memory())
        most = max(seen)
        speed = QUEUED / (time.perf_counter() - began)
        plain = await self._plain_sends(min(QUEUED, 2000))
        carried = {
            row["message_id"]: row["event_id"]
            for row in await self.bridge.fetch("SELECT * FROM carried WHERE message_id = ANY($1)", ids)
        }
        order = {row["event_id"]: place for place, row in enumerate(await self.homeserver.fetch(ORDER, list(carried.values())))}
        places = [order[carried[message_id]] for message_id in ids]
        assert len(set(places)) == QUEUED
        assert all(places[n::CONTACTS] == sorted(places[n::CONTACTS]) for n in range(CONTACTS)), "not in order"
        table.title(
            f"Bridge: {QUEUED:,} messages of {CONTACTS} contacts drained ({queued:,} waiting at most), each once and in order"
        )
        table.rate("baseline: plain sends of one account, eight at once", plain)
        table.rate("drained", speed, plain)
        table.amount("memory at rest before", at_rest, "MB")
        table.amount("memory at a tenth of the queue, the most until then", max(seen[: max(1, len(seen) // 10)]), "MB")
        table.amount("memory, the most", most, "MB")

    async def _plain_sends(self, count: int) -> float:
        user_id, password = await self.stack.register(f"kaal-{secrets.token_hex(3)}")
        headers = {"Authorization": f"Bearer {await self.stack.log_in(user_id, password)}"}
        async with aiohttp.ClientSession(self.stack.homeserver, headers=headers) as http:
            rooms = []
            for _ in range(8):
                async with http.post("/_matrix/client/v3/createRoom", json={"preset": "private_chat"}) as answer:
                    rooms.append((await answer.json())["room_id"])

            async def say(room: str) -> None:
                for _ in range(count // 8):
                    url = f"/_matrix/client/v3/rooms/{room}/send/m.room.message/{secrets.token_hex(8)}"
                    async with http.put(url, json={"msgtype": "m.text", "body": "een kaal bericht over de begroting"}) as answer:
                        assert answer.status == 200, await answer.text()

            began = time.perf_counter()
            await asyncio.gather(*map(say, rooms))
            return count // 8 * 8 / (time.perf_counter() - began)

    async def _empty(self) -> bool:
        return await self.bridge.fetchval(LEFT) == 0

    def _memory(self) -> float:
        """Megabytes of the bridge's process."""
        for pid, command in children(self.stack.process.pid).items():
            if b"bridge" in command:
                return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
        return 0.0


def _id() -> str:
    return f"wamid.{secrets.token_hex(16)}"
