"""Any process can take over another's seat: when it dies, when it is told to stop, when it freezes (DESIGN D4)."""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import RunningStack
from tests.facility import Facility, facility
from tests.interop.client import Official

pytestmark = [pytest.mark.stack, pytest.mark.interop]

DRIVER = """
    SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def takeover(archive: Facility, after: float) -> float:
    """Seconds until a sync is committed once more."""
    before = await archive.fetch("SELECT seen_at FROM seat")
    await archive.until("SELECT capturing AND seen_at > $1 FROM seat", before[0]["seen_at"], seconds=after)
    return time.monotonic()


@pytest.mark.parametrize(
    ("how", "within"), [(signal.SIGKILL, 20), (signal.SIGTERM, 20), (signal.SIGSTOP, 60)], ids=["kill", "stop", "freeze"]
)
async def test_another_process_takes_over_and_nothing_is_lost(stack: RunningStack, tmp_path: Path, how, within) -> None:
    user_id, password = await stack.register(f"wissel-{secrets.token_hex(3)}")
    async with Official(stack.homeserver, user_id, password) as official, facility(stack, tmp_path) as archive:
        first = await archive.start()
        await archive.until("SELECT capturing FROM seat")
        second = await archive.start()
        room = (await official.do("create_room", name="Wissel", invite=[archive.user_id]))["room"]
        await archive.until("SELECT membership = 'join' FROM room WHERE room_id = $1", room)
        await official.do("wait_members", room=room, count=3)
        texts = [f"bericht {number} {secrets.token_hex(3)}" for number in range(60)]
        sending = asyncio.create_task(official.do("send_many", room=room, bodies=texts, gap_ms=40, timeout=120))
        await asyncio.sleep(0.8)
        first.send_signal(how)
        began = time.monotonic()
        print(f"\n{how.name}: taken over after {await takeover(archive, within) - began:.2f} s")
        ids = (await sending)["event_ids"]
        await archive.until("SELECT count(*) = $2 FROM record WHERE event_id = ANY($1) AND unreadable IS NULL", ids, len(ids))
        assert second.returncode is None
        if how is signal.SIGSTOP:
            # Awake again, it finds its seat taken and stands by.
            first.send_signal(signal.SIGCONT)
            more = (await official.do("send", room=room, body="na het ontwaken"))["event_id"]
            await archive.until("SELECT unreadable IS NULL FROM record WHERE event_id = $1", more)
            assert first.returncode is None
            await archive.until(DRIVER)
