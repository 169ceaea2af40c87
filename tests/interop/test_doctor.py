"""`griffier doctor` says what is wrong, and what to do about it."""

from __future__ import annotations

import json

import pytest

from tests.facility import facility

pytestmark = [pytest.mark.stack, pytest.mark.interop]


async def test_a_healthy_archive_and_one_that_nobody_drives(stack, tmp_path):
    async with facility(stack, tmp_path) as archive:
        never = await archive.run("doctor")
        assert never.returncode == 1
        assert "it was never made. Start 'griffier archive'" in never.stdout
        process = await archive.start()
        await archive.until("SELECT capturing FROM seat")
        healthy = await archive.run("doctor", "--json")
        assert healthy.returncode == 0, healthy.stdout
        assert json.loads(healthy.stdout)["healthy"]
        process.terminate()
        await process.wait()
        stopped = await archive.run("doctor")
        assert stopped.returncode == 1
        assert "PROBLEM  capture: it is stopped" in stopped.stdout


async def test_status_and_rooms_say_up_to_where_nothing_is_missing(stack, tmp_path):
    listed = json.loads((await stack.griffier("rooms", "--json")).stdout)["rooms"]
    complete = [room for room in listed if not room["holes"] and room["archiver_is_member"]]
    assert complete
    assert all(room["closed_up_to"].startswith("$") and room["closed_at"] for room in complete)
