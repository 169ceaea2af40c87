"""Two bridges on one database: one works, the other stands by and takes over."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from bridge.relay import turn as place
from bridge.relay.turn import TurnLostError, turn

pytestmark = pytest.mark.postgres
CUT = """
    SELECT pg_terminate_backend(pid) FROM pg_locks
    WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


async def test_a_second_bridge_stands_by_and_takes_over_when_the_first_ends(bridge_url, monkeypatch):
    monkeypatch.setattr(place, "EVERY", 0.05)
    stop, works = asyncio.Event(), asyncio.Event()

    async def second():
        async with turn(bridge_url, stop) as ours:
            assert ours
            works.set()

    async with turn(bridge_url, stop) as ours:
        assert ours
        waits = asyncio.create_task(second())
        await asyncio.sleep(0.4)
        assert not works.is_set()
    await asyncio.wait_for(waits, 3)
    assert works.is_set()


async def test_who_stands_by_can_be_stopped(bridge_url, monkeypatch):
    monkeypatch.setattr(place, "EVERY", 0.05)
    stop = asyncio.Event()
    async with turn(bridge_url, asyncio.Event()):
        stop.set()
        async with turn(bridge_url, stop) as ours:
            assert not ours


async def test_a_lock_that_another_has_taken_stops_the_bridge_and_one_that_nobody_took_does_not(bridge_url, monkeypatch):
    monkeypatch.setattr(place, "EVERY", 0.05)
    other = await asyncpg.connect(bridge_url)
    async with turn(bridge_url, asyncio.Event()):
        await other.execute(CUT)
        await asyncio.sleep(0.5)
        assert not await other.fetchval(place.TAKE)  # it was taken again

    async def works():
        async with turn(bridge_url, asyncio.Event()):
            while not await other.fetchval(place.TAKE):
                await other.execute(CUT)
            await asyncio.sleep(5)

    with pytest.raises(TurnLostError):
        await works()
    await other.close()
