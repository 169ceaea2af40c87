"""How long after a client sends it a message is committed, with the homeserver at its own full speed."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles

import asyncpg

from tests.bench import table
from tests.bench.waiting import until
from tests.conftest import running_stack
from tests.interop.client import Official

CLIENTS, EACH = 3, 200
WARM_UP = 10  # messages of each client that are not counted: keys and sessions are made with the first
HELD = "SELECT count(*) = $2 FROM record WHERE event_id = ANY($1) AND sealed_payload IS NOT NULL"
CAPTURED = "SELECT event_id, captured_at FROM record WHERE event_id = ANY($1)"


async def run(folder: Path) -> None:
    """Print the median and the 95th percentile."""
    async with contextlib.AsyncExitStack() as held:
        stack = await held.enter_async_context(running_stack(folder))
        clients = []
        for _ in range(CLIENTS):
            user_id, password = await stack.register(f"spreker-{secrets.token_hex(3)}")
            clients.append(await held.enter_async_context(Official(stack.homeserver, user_id, password)))
        first, *others = clients
        room = (await first.do("create_room", name="Snelheid", invite=[other.user_id for other in others]))["room"]
        for other in others:
            await other.do("wait_invite")
        for client in clients:
            await client.do("wait_members", room=room, count=CLIENTS + 1)
        connection = await asyncpg.connect(stack.database)
        commits: list[float] = []
        # The database tells of each commit of the archiver at the moment it is done.
        await connection.add_listener("griffier_ledger", lambda *_: commits.append(time.time()))
        bodies = [f"bericht {number} over de begroting" for number in range(EACH)]
        began = time.perf_counter()
        answers = await asyncio.gather(*(client.do("send_timed", timeout=240, room=room, bodies=bodies) for client in clients))
        speed = CLIENTS * EACH / (time.perf_counter() - began)
        sent = [each for answer in answers for each in answer["sent"][WARM_UP:]]
        ids = [each["event_id"] for each in sent]
        await until(lambda: connection.fetchval(HELD, ids, len(ids)), 60)
        captured = {row["event_id"]: row["captured_at"].timestamp() for row in await connection.fetch(CAPTURED, ids)}
        await connection.close()
    # A batch is committed at the first such moment after its transaction began: a seat has one transaction at a time.
    committed = {event_id: commits[bisect_right(commits, moment)] for event_id, moment in captured.items()}
    table.title(f"Latency: {len(sent)} encrypted messages of {CLIENTS} matrix-js-sdk clients, the homeserver at {speed:,.0f}/s")
    tell("baseline: sent until the homeserver has answered", [each["answered"] - each["began"] for each in sent])
    tell("sent until committed, decrypted", [committed[each["event_id"]] * 1000 - each["began"] for each in sent], 150)
    tell("answered until committed", [committed[each["event_id"]] * 1000 - each["answered"] for each in sent])


def tell(what: str, milliseconds: Sequence[float], budget: float | None = None) -> None:
    """The median and the 95th percentile."""
    parts = quantiles(milliseconds, n=20)
    table.amount(f"{what}, p50", parts[9], "ms")
    table.amount(f"{what}, p95", parts[18], "ms", budget)
