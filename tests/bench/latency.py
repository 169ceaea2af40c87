"""How long after a client sends it a message is committed, with the homeserver at its own full speed.

Full speed takes senders enough and no more: each one above that only makes the others wait in line at the homeserver. So they are
counted first, and they do nothing but encrypt and send, in one process: the machine is the homeserver's and the archive's.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles

import asyncpg

from tests.bench import table
from tests.bench.backlog import Room, Sent, make_room, signed_in
from tests.bench.waiting import until
from tests.conftest import running_stack

SENDERS, TRIAL, MEASURED = 4, 120, 600  # at most so many senders; messages to count them by, and to measure with
FULL = 0.9  # of the highest speed that was seen: what is called full speed
WARM_UP = 10  # messages of each sender before anything is measured: keys and sessions are made with the first
HELD = "SELECT count(*) = $2 FROM record WHERE event_id = ANY($1) AND sealed_payload IS NOT NULL"
CAPTURED = "SELECT event_id, captured_at FROM record WHERE event_id = ANY($1)"


async def run(folder: Path) -> None:
    """Print the median and the 95th percentile."""
    async with contextlib.AsyncExitStack() as held:
        stack = await held.enter_async_context(running_stack(folder))
        senders = [await held.enter_async_context(signed_in(stack, "spreker", folder)) for _ in range(SENDERS)]
        rooms = [await make_room(sender, [], seated=[stack.archiver]) for sender in senders]
        await talk(rooms, WARM_UP * SENDERS)
        speeds = [(await talk(rooms[:count], TRIAL))[1] for count in range(1, SENDERS + 1)]
        count = next(number for number, speed in enumerate(speeds, 1) if speed >= FULL * max(speeds))
        connection = await asyncpg.connect(stack.database)
        commits: list[float] = []
        # The database tells of each commit of the archiver at the moment it is done.
        await connection.add_listener("griffier_ledger", lambda *_: commits.append(time.time()))
        sent, speed = await talk(rooms[:count], MEASURED)
        ids = [each.event_id for each in sent]
        await until(lambda: connection.fetchval(HELD, ids, len(ids)), 60)
        captured = {row["event_id"]: row["captured_at"].timestamp() for row in await connection.fetch(CAPTURED, ids)}
        await connection.close()
    # A batch is committed at the first such moment after its transaction began: a seat has one transaction at a time.
    committed = {event_id: commits[bisect_right(commits, moment)] for event_id, moment in captured.items()}
    speeds_told = ", ".join(f"{number}: {each:,.0f}/s" for number, each in enumerate(speeds, 1))
    table.title(
        f"Latency: {len(sent)} encrypted messages, the homeserver at {speed:,.0f}/s with {count} sender(s) (speed by senders: "
        f"{speeds_told})"
    )
    tell("baseline: sent until the homeserver has answered", [each.answered - each.began for each in sent])
    tell("sent until committed, decrypted", [committed[each.event_id] - each.began for each in sent], 150)
    tell("answered until committed", [committed[each.event_id] - each.answered for each in sent])


async def talk(rooms: Sequence[Room], count: int) -> tuple[list[Sent], float]:
    """Send `count` messages, as many in each room, all rooms at once; returns them and how many that was a second."""
    began = time.perf_counter()
    told = await asyncio.gather(*(room.say(count // len(rooms)) for room in rooms))
    sent = [each for room in told for each in room]
    return sent, len(sent) / (time.perf_counter() - began)


def tell(what: str, seconds: Sequence[float], budget: float | None = None) -> None:
    """The median and the 95th percentile."""
    parts = quantiles(seconds, n=20)
    table.amount(f"{what}, p50", parts[9] * 1000, "ms")
    table.amount(f"{what}, p95", parts[18] * 1000, "ms", budget)
