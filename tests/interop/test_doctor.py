"""`griffier doctor` says what is wrong, and what to do about it."""

from __future__ import annotations

import json
import secrets
import signal

import pytest

from archiver.capture import cross_signing
from archiver.capture.client import homeserver, path
from tests.facility import facility
from tests.interop.client import Official

pytestmark = [pytest.mark.stack, pytest.mark.interop]


async def test_a_healthy_archive_and_one_that_nobody_drives(stack, tmp_path):
    async with facility(stack, tmp_path) as archive:
        never = await archive.run("doctor")
        assert never.returncode == 1
        assert f"PROBLEM  capture as {archive.user_id}: it was never started. Start 'griffier archive'" in never.stdout
        process = await archive.start()
        await archive.until("SELECT capturing FROM seat")
        healthy = await archive.run("doctor", "--json")
        assert healthy.returncode == 0, healthy.stdout
        told = json.loads(healthy.stdout)
        assert told["healthy"]
        assert {"what": "the homeserver's profiles", "problem": None, "advice": None} in told["findings"]
        process.terminate()
        await process.wait()
        stopped = await archive.run("doctor")
        assert stopped.returncode == 1
        assert f"PROBLEM  capture as {archive.user_id}: it is stopped" in stopped.stdout
        state = json.loads((await archive.run("status", "--json")).stdout)
        assert (state["capturing"], state["seats"][0]["state"]) == (False, "it is stopped")


async def test_an_archiver_whose_devices_were_logged_out_signs_in_and_publishes_its_keys_anew(stack, tmp_path):
    user_id, password = await stack.register(f"uitlogger-{secrets.token_hex(3)}")
    async with Official(stack.homeserver, user_id, password) as official, facility(stack, tmp_path) as archive:
        await archive.start()
        await archive.until("SELECT capturing FROM seat")
        async with homeserver(stack.homeserver, 30) as server:
            reset = {"new_password": archive.env["GRIFFIER_ARCHIVER__PASSWORD"], "logout_devices": True}
            where = f"/_synapse/admin/v1/reset_password/{archive.user_id}"
            await server.call("POST", where, reset, token=stack.admin_token)
        room = (await official.do("create_room", name="Uitgelogd", invite=[archive.user_id]))["room"]
        await archive.until("SELECT notice_seen_at IS NOT NULL FROM room WHERE room_id = $1", room, seconds=60)
        await official.do("wait_members", room=room, count=3)
        sent = (await official.do("send", room=room, body="na het uitloggen"))["event_id"]
        await archive.until("SELECT unreadable IS NULL FROM record WHERE event_id = $1", sent)
        told = await archive.run("doctor")
        assert told.returncode == 0, told.stdout


async def test_what_a_dead_or_frozen_process_said_is_not_believed(stack, tmp_path):
    async with facility(stack, tmp_path) as archive:
        process = await archive.start()
        await archive.until("SELECT capturing FROM seat")
        process.send_signal(signal.SIGSTOP)
        await archive.until("SELECT alive_at < now() - interval '10 seconds' FROM seat")
        frozen = json.loads((await archive.run("status", "--json")).stdout)
        assert frozen["seats"][0]["state"] == "the process that drives it is frozen"
        process.kill()
        await process.wait()
        dead = json.loads((await archive.run("status", "--json")).stdout)
        assert (dead["capturing"], dead["seats"][0]["state"]) == (False, "no process drives it")


async def test_an_identity_that_somebody_replaced_is_put_back_and_a_deleted_notice_posted_anew(stack, tmp_path):
    user_id, password = await stack.register(f"wisser-{secrets.token_hex(3)}")
    async with Official(stack.homeserver, user_id, password) as official, facility(stack, tmp_path) as archive:
        await archive.start()
        await archive.until("SELECT capturing FROM seat")
        room = (await official.do("create_room", name="Gewist", invite=[archive.user_id]))["room"]
        noticed = "SELECT notice_event_id FROM room WHERE room_id = $1 AND notice_seen_at IS NOT NULL"
        notice = await archive.until(noticed, room)
        await official.do("redact", room=room, event_id=notice, reason="hinderlijk")
        again = await archive.until(noticed + " AND notice_event_id <> $2", room, notice)
        shown = await archive.until("SELECT event_id FROM record WHERE event_id = $1 AND unreadable IS NULL", again)
        assert shown == again

        async with homeserver(stack.homeserver, 30) as server:
            server.token = await stack.log_in(archive.user_id, archive.env["GRIFFIER_ARCHIVER__PASSWORD"])
            mine = (await server.call("GET", path("v3", "account", "whoami")))["device_id"]
            other = cross_signing.upload(archive.user_id, mine, cross_signing.CrossSigningKeys.generate(), lambda _: "x")
            del other["master_key"]["signatures"]  # this device has no keys of its own to sign with
            await cross_signing.replace(server, archive.user_id, other, archive.env["GRIFFIER_ARCHIVER__PASSWORD"])
        [[replaced]] = await archive.fetch("SELECT now()")
        await archive.until("SELECT signed_at > $1 FROM seat WHERE capturing", replaced)
        told = await archive.run("doctor")
        assert told.returncode == 0, told.stdout


async def test_status_and_rooms_say_up_to_where_nothing_is_missing(stack, tmp_path):
    listed = json.loads((await stack.griffier("rooms", "--json")).stdout)["rooms"]
    complete = [room for room in listed if not room["holes"] and room["archiver_is_member"]]
    assert complete
    assert all(room["closed_up_to"].startswith("$") and room["closed_at"] for room in complete)
