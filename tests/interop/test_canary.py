"""The canary's test pair through the real homeserver and the archive; and what it says when the archive has stopped."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import GRIFFIER, RunningStack
from tests.facility import Facility, facility

pytestmark = pytest.mark.stack
PARTS = ["message", "edit", "file", "deletion"]


@pytest.fixture
async def archive(stack: RunningStack, tmp_path: Path) -> AsyncIterator[Facility]:
    """An archive with a test pair that nobody has used."""
    more: dict[str, str] = {"WEB__PORT": str(free_port())}
    for role in ("SENDER", "RECEIVER"):
        user_id, password = await stack.register(f"kanarie-{secrets.token_hex(3)}")
        more |= {f"CANARY__{role}": user_id, f"CANARY__{role}_PASSWORD": password}
    async with facility(stack, tmp_path, **more) as made:
        yield made


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def serve(archive: Facility) -> str:
    """Start the archive's web application; returns its address."""
    process = await asyncio.create_subprocess_exec(GRIFFIER, "web", env=archive.env)
    archive.processes.append(process)
    return f"http://127.0.0.1:{archive.env['GRIFFIER_WEB__PORT']}"


async def metrics(url: str) -> dict[tuple[str, ...], float]:
    """(name, labels) to value, read by Prometheus's own parser; without signing in."""
    async with aiohttp.ClientSession() as http:
        for _ in range(100):
            try:
                async with http.get(f"{url}/metrics") as answer:
                    assert answer.status == 200
                    assert answer.headers["Content-Type"].startswith("text/plain; version=")
                    families = text_string_to_metric_families(await answer.text())
                    samples = [sample for family in families for sample in family.samples]
                    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.1)
    raise AssertionError("the web application does not answer")


async def devices(archive: Facility) -> int:
    """How many devices the sender's account has, beside the one that looks."""
    token = await archive.stack.log_in(archive.env["GRIFFIER_CANARY__SENDER"], archive.env["GRIFFIER_CANARY__SENDER_PASSWORD"])
    url, headers = f"{archive.stack.homeserver}/_matrix/client/v3", {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        found = len((await (await http.get(f"{url}/devices")).json())["devices"])
        await http.post(f"{url}/logout")
    return found - 1


async def sign_out(archive: Facility) -> None:
    """Take away all of the sender's devices, as an admin does who resets a password."""
    url = f"{archive.stack.homeserver}/_synapse/admin/v2/users/{archive.env['GRIFFIER_CANARY__SENDER']}"
    headers = {"Authorization": f"Bearer {archive.stack.admin_token}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        owned = [device["device_id"] for device in (await (await http.get(f"{url}/devices")).json())["devices"]]
        async with http.post(f"{url}/delete_devices", json={"devices": owned}) as answer:
            assert (answer.status, bool(owned)) == (200, True)


async def test_a_round_is_complete_and_once_the_archive_stops_everything_says_so(archive: Facility) -> None:
    process = await archive.start()
    await archive.until("SELECT capturing FROM seat")
    url = await serve(archive)
    first = await archive.run("canary", "--once", "--json")
    assert first.returncode == 0, first.stdout + first.stderr
    told = json.loads(first.stdout)
    print(f"\nfirst round: {told['latency_ms']}")
    assert (told["complete"], told["heard"], told["lacking"]) == (True, True, {})
    assert list(told["latency_ms"]) == PARTS
    assert all(0 <= took < 20_000 for took in told["latency_ms"].values())
    kept = await archive.fetch("SELECT type, payload_type, rel_type FROM record WHERE room_id = $1", told["room_id"])
    assert ("m.room.encrypted", "m.room.message", "m.replace") in [tuple(row) for row in kept]
    assert "m.room.redaction" in [row["type"] for row in kept]

    owned = await devices(archive)
    again = json.loads((await archive.run("canary", "--once", "--json")).stdout)
    print(f"second round: {again['latency_ms']}")
    assert again["lacking"] == {}
    assert again["room_id"] == told["room_id"], "the pair keeps its room"
    assert await devices(archive) == owned, "the pair keeps its devices"
    status = json.loads((await archive.run("status", "--json")).stdout)["canary"]
    assert status["last_24_hours"] == {"expected": 8, "arrived": 8, "completeness": 1.0}
    assert status["latency_ms"]["file"]["last"] == again["latency_ms"]["file"]
    seen = await metrics(url)
    assert seen["griffier_canary_complete",] == seen["griffier_capturing", archive.user_id] == 1
    assert seen["griffier_canary_latency_seconds", "message", "last"] == again["latency_ms"]["message"] / 1000
    assert seen["griffier_media", "waiting"] == seen["griffier_media", "failed"] == 0

    process.send_signal(signal.SIGSTOP)
    archive.env["GRIFFIER_CANARY__LIMIT"] = "8"
    stopped = await archive.run("canary", "--once", "--json")
    assert stopped.returncode == 1
    lacking = json.loads(stopped.stdout)["lacking"]
    assert [lacking[part] for part in PARTS[:3]] == ["it is not in the archive"] * 3
    assert lacking["deletion"] == "it was not sent: what it deletes is not in the archive"
    assert json.loads(stopped.stdout)["heard"], "people could still chat"
    printed = (await archive.run("status")).stdout
    assert "INCOMPLETE" in printed
    assert "8 of 12 parts arrived (66.7%)" in printed
    assert "ALARM canary test-pair: the round of " in printed
    await asyncio.sleep(5.1)  # for so long the metrics stay as they are
    seen = await metrics(url)
    assert (seen["griffier_canary_complete",], seen["griffier_alarms", "canary"]) == (0, 1)
    assert seen["griffier_capturing", archive.user_id] == 0
    assert seen["griffier_canary_completeness_ratio",] == pytest.approx(8 / 12)

    process.send_signal(signal.SIGCONT)
    archive.env["GRIFFIER_CANARY__LIMIT"] = "60"
    recovered = await archive.run("canary", "--once")
    assert recovered.returncode == 0, recovered.stdout
    assert recovered.stdout.startswith("complete: message ")
    assert await archive.fetch("SELECT FROM alarm WHERE kind = 'canary'") == [], "a complete round ends the alarm"

    await sign_out(archive)
    anew = await archive.run("canary", "--once")
    assert anew.returncode == 0, "who was signed out signs in anew: " + anew.stdout


async def test_the_role_goes_on_until_stopped_and_its_own_silence_is_an_alarm(archive: Facility) -> None:
    archive.env["GRIFFIER_CANARY__EVERY"] = "0.05"
    await archive.start()
    await archive.until("SELECT capturing FROM seat")
    canary = await asyncio.create_subprocess_exec(GRIFFIER, "canary", env=archive.env)
    archive.processes.append(canary)
    await archive.until(
        "SELECT count(*) >= 2 FROM canary_round WHERE file_ms IS NOT NULL AND deletion_ms IS NOT NULL", seconds=60
    )
    assert [row[0] for row in await archive.fetch("SELECT DISTINCT lacking FROM canary_round")] == ["{}"]
    began = time.monotonic()
    canary.terminate()
    assert await canary.wait() == 0
    assert time.monotonic() - began < 10
    # Nine seconds later, the archiver notices that three rounds did not come.
    told = await archive.until("SELECT detail FROM alarm WHERE kind = 'canary' AND detail LIKE 'no round%'", seconds=30)
    assert "is 'griffier canary' running?" in told
    assert json.loads((await archive.run("status", "--json")).stdout)["canary"]["overdue"]


async def test_without_a_pair_the_command_says_which_setting_to_set(archive: Facility) -> None:
    off = await archive.run("canary")
    assert (off.returncode, "Set canary.every" in off.stderr) == (2, True)
    del archive.env["GRIFFIER_CANARY__RECEIVER"]
    unset = await archive.run("canary", "--once")
    assert (unset.returncode, "Set canary.receiver" in unset.stderr) == (2, True)
