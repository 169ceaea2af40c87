"""The pages of reading, large against small: a million messages in one conversation, ten thousand conversations.

python -m tests.bench reading
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from archiver.db import tenant_tx
from archiver.ledger.event import Checks, Rules, content_hash, event_id
from archiver.ledger.files import FileStore
from archiver.ledger.record import Arrival, append
from archiver.reading import walk
from archiver.reading.project import project_batch
from archiver.reading.timeline import Cursor
from archiver.reading.words import BlindIndex
from archiver.settings import Settings
from archiver.web import access, purpose, sessions
from archiver.web.app import application
from archiver.web.context import Archive as Opened
from archiver.web.place import place
from archiver.web.purpose import Purpose
from archiver.web.roles import Role
from archiver.web.sessions import SignedIn
from tests.bench import filled, table
from tests.bench.archive import Archive, archive

SMALL, LARGE = 10_000, int(os.environ.get("GRIFFIER_BENCH_MESSAGES", "1000000"))
FEW, MANY = 100, 10_000  # conversations
ROUNDS, BUDGET, ROOM_BUDGET = 30, 150.0, 1.5  # milliseconds; times as long as in the small one
EXPLAIN = "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) "
ROOM = "INSERT INTO room (org, room_id, version, membership, user_id) VALUES (1, $1, '11', 'join', '@archief:x')"
# Some messages for each conversation, so that the list has what to count and to sort by; the list opens none of them.
MESSAGES = """
    INSERT INTO message (org, room_id, event_id, sender, kind, sent_at, depth)
    SELECT org, room_id, '$' || n || room_id, '@ambtenaar000:rijk.example', 'text',
           timestamptz '2025-01-01' + n * interval '1 hour' + hashtext(room_id) % 100000 * interval '1 minute', n
    FROM room, generate_series(1, 5) AS n WHERE room_id LIKE '!gesprek%'
"""


async def run(folder: Path) -> None:
    """Print the times of each page, and the ratio of the large archive's to the small one's."""
    times: dict[int, dict[str, float]] = {}
    for count, rooms in ((SMALL, FEW), (LARGE, MANY)):
        async with archive(folder / str(count)) as kept:
            await fill(kept, count, rooms)
            times[count] = await measure(kept, folder)
            if count == LARGE:
                plans = await explained(kept)
    table.title(f"Pages of a conversation of {LARGE:,} messages, and the list of {MANY:,}; {SMALL:,} and {FEW:,} beside it; p95")
    for name, found in times[LARGE].items():
        table.amount(f"{name}: small", times[SMALL][name], "ms")
        table.amount(f"{name}: large", found, "ms", BUDGET)
        table.amount("  as a ratio", found / times[SMALL][name], "×", ROOM_BUDGET if name.startswith("conversation") else None)
    print("\n  Rows read by each statement that walks a conversation, in the large one:")
    for name, plan in plans.items():
        print(f"  {name}: {plan}", flush=True)


async def fill(kept: Archive, count: int, rooms: int) -> None:
    """One conversation of `count` messages, and `rooms` others."""
    filled.ROOMS, filled.OFFICIAL_ROOMS = 1, 1
    await filled.fill(kept, count)
    for first in range(0, rooms, 200):
        arrivals = [each for number in range(first, min(first + 200, rooms)) for each in conversation(number)]
        async with tenant_tx(kept.pool, kept.vault.org) as tx:
            for room in sorted({each.room_id for each in arrivals}):
                await tx.execute(
                    "INSERT INTO room (org, room_id, version, membership, user_id) VALUES (1, $1, '11', 'join', '@archief:x')",
                    room,
                )
            await append(tx, kept.vault, arrivals)
    async with tenant_tx(kept.pool, kept.vault.org) as tx:
        while await project_batch(tx, kept.vault, BlindIndex(kept.vault.search_key)):
            pass
    async with kept.pool.acquire() as connection:
        await connection.execute(MESSAGES, timeout=600)
        await connection.execute("VACUUM ANALYZE conversation, message, record", timeout=600)


def conversation(number: int) -> list[Arrival]:
    """A room's name and three members."""
    room, rules, made = f"!gesprek{number:05}:{filled.SERVER}", Rules("11"), []
    people = [filled.sender_name((number + each) % filled.SENDERS) for each in range(3)]
    state = [("m.room.name", "", people[0], {"name": f"Gesprek {number}"})]
    state += [("m.room.member", user, user, {"membership": "join", "displayname": user[1:13]}) for user in people]
    for depth, (kind, key, sender, content) in enumerate(state, 1):
        event: dict[str, Any] = {
            "type": kind, "room_id": room, "state_key": key, "sender": sender, "content": content, "depth": depth,
            "origin_server_ts": 1_735_000_000_000 + depth, "prev_events": [], "auth_events": [], "hashes": {}, "signatures": {},
        }  # fmt: skip
        event["hashes"] = {"sha256": content_hash(event)}
        made.append(Arrival(room, event_id(event, rules), event, rules, Checks(True, True, (filled.SERVER,), ())))
    return made


async def measure(kept: Archive, folder: Path) -> dict[str, float]:
    """Milliseconds of each page at the 95th percentile, over HTTP, its note in the trail included."""
    room = quote(filled.room_name(0), safe="")
    middle = place(Cursor(filled.BEGIN + (filled.END - filled.BEGIN) / 2, 0, ""))
    async with tenant_tx(kept.pool, kept.vault.org) as tx:
        some = quote(await tx.fetchval("SELECT event_id FROM message ORDER BY org, sent_at DESC OFFSET 5000 LIMIT 1"), safe="")
    day = (filled.BEGIN + timedelta(days=700)).date().isoformat()
    pages = {
        "conversation, newest page": f"/rooms/{room}",
        "conversation, a page in the middle": f"/rooms/{room}?before={middle}",
        "conversation, the page after it": f"/rooms/{room}?after={middle}",
        "conversation, a day": f"/rooms/{room}?date={day}",
        "conversation, one message in its context": f"/rooms/{room}/messages/{some}",
        "conversation, the origin of a message": f"/rooms/{room}/messages/{some}/proof",
        "list, latest first": "/",
        "list, of one account": f"/?official={quote(filled.sender_name(3))}",
        "list, in a period": "/?from=2025-02-01&to=2025-02-02",
        "list, with messages missing": "/?state=incomplete",
    }
    reader = SignedIn("https://sso.x", "lezer", None, "lezer", "lezer", None, frozenset({Role.RECORDS_OFFICER}))
    official = SignedIn(
        "https://sso.x", "zij", None, "zij", "zij", filled.sender_name(0), frozenset({Role.OFFICIAL})
    )  # fmt: skip
    times = await _times(kept, folder, reader, pages)
    theirs = {
        "conversation, newest page, to an official": f"/rooms/{room}",
        "list, to an official": "/",
        "an official's own page": "/own",
    }
    return times | await _times(kept, folder, official, theirs)


async def _times(kept: Archive, folder: Path, who: SignedIn, pages: dict[str, str]) -> dict[str, float]:
    opened = Opened(Settings(), kept.pool, kept.vault, FileStore(folder / "files"))
    async with tenant_tx(kept.pool, 1) as tx:
        token, session = await sessions.start(tx, kept.vault, who, Settings().web)
        why = Purpose("meten")
        await tx.execute(purpose.KEEP, 1, session.session_id, why.text, why.case_number, 60)
    times = {}
    async with TestClient(TestServer(application(opened))) as client:
        client.session.cookie_jar.update_cookies({access.cookie_name(opened): token}, URL(client.make_url("/")))
        for name, address in pages.items():
            times[name] = await percentile(lambda address=address: _get(client, address))
    return times


async def _get(client: Any, address: str) -> None:
    answer = await client.get(URL(address, encoded=True))
    assert answer.status == 200, (address, answer.status)
    await answer.read()


async def percentile(act: Callable[[], Awaitable[None]]) -> float:
    """The 95th percentile of an act, in milliseconds, after a few to warm up."""
    times = []
    for number in range(ROUNDS + 3):
        began = time.perf_counter()
        await act()
        if number >= 3:
            times.append((time.perf_counter() - began) * 1000)
    return statistics.quantiles(times, n=20)[-1]


async def explained(kept: Archive) -> dict[str, str]:
    """How each walk is done: which indexes, and how many rows each step gives."""
    room, middle = filled.room_name(0), filled.BEGIN + (filled.END - filled.BEGIN) / 2
    plans = {}
    async with tenant_tx(kept.pool, kept.vault.org) as tx:
        for name, sign, way in (("back", "<", "DESC"), ("on", ">", "ASC")):
            statement = EXPLAIN + walk.WALK.format(sign=sign, way=way, seen=walk.ANYTHING)
            rows = await tx.fetch(statement, 1, room, middle, 0, "", walk.EARLIEST, walk.LATEST, 101)
            lines = [row[0].strip() for row in rows]
            kept_lines = [line for line in lines if "Scan" in line or "Removed" in line]
            assert not any("Seq Scan" in line for line in kept_lines), lines
            plans[name] = "; ".join(kept_lines)
    return plans
