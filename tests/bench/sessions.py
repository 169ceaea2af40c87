"""Starting with a million Megolm sessions held: time and memory must not grow with the keys (DESIGN D8)."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import asyncpg
import vodozemac

from tests.bench import table
from tests.bench.archive import reachable
from tests.bench.catchup import peak
from tests.bench.waiting import until
from tests.conftest import running_stack
from tests.facility import Facility, facility

SESSIONS = int(os.environ.get("GRIFFIER_BENCH_SESSIONS", "1000000"))
# Ten thousand devices with a hundred sessions each, all of them looked at before.
FILL = """
    INSERT INTO megolm_session (org, room_id, session_id, user_id, sender_key, signing_key, first_index, pickle, giver)
    SELECT 1, '!zaal' || n % 2000 || ':rijk.example', encode(sha256(n::text::bytea), 'base64'), $1,
           left(encode(sha256(('d' || n % 10000)::bytea), 'base64'), 43), 's', 0, $2, '@ambtenaar' || n % 10000 || ':rijk.example'
    FROM generate_series(1, $3::integer) AS n
"""
KNOW = """
    INSERT INTO sender_device (org, user_id, curve25519, ed25519, device_id, cross_signed)
    SELECT DISTINCT 1, giver, sender_key, 's', 'D', true FROM megolm_session ON CONFLICT DO NOTHING
"""
CAPTURING = "SELECT capturing AND seen_at > $1 FROM seat"


async def run(folder: Path) -> None:
    """Print time and memory, with none and with a million."""
    async with running_stack(folder) as stack, facility(stack, reachable(folder / "archive")) as archive:
        await archive.start()
        await archive.until("SELECT capturing FROM seat")
        await archive.stop()
        empty = await start(archive)
        connection = await asyncpg.connect(archive.database)
        group = vodozemac.GroupSession()
        pickle = vodozemac.InboundGroupSession(group.session_key).pickle(b"k" * 32).encode()
        await connection.execute(FILL, archive.user_id, pickle, SESSIONS)
        await connection.execute(KNOW)
        await connection.execute("VACUUM ANALYZE megolm_session")
        await connection.close()
        full = await start(archive)
        table.title(f"Start of `griffier archive` until it captures, {SESSIONS:,} Megolm sessions held")
        table.amount("baseline: none held", empty[0], "s")
        table.amount(f"{SESSIONS:,} held", full[0], "s", 3)
        table.amount("baseline: none held, memory at its highest", empty[1], "MB")
        table.amount(f"{SESSIONS:,} held, memory at its highest", full[1], "MB", 300)


async def start(archive: Facility) -> tuple[float, float]:
    """(seconds until it captures, most memory in MB in that time and the five seconds after it)."""
    connection = await asyncpg.connect(archive.database)
    try:
        now = await connection.fetchval("SELECT now()")
        began = time.perf_counter()
        process = await archive.start()
        await until(lambda: connection.fetchval(CAPTURING, now), 60, every=0.02)
        seconds = time.perf_counter() - began
    finally:
        await connection.close()
    await asyncio.sleep(5)
    memory = peak(process.pid)
    await archive.stop()
    return seconds, memory
