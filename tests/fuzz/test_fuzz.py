"""No input from outside stops capture, harms a neighbour, is believed or is dropped. `make fuzz`: a million events."""

import json
import os
import random
import secrets
import subprocess
import sys

from tests.fuzz.hostile import Hostile, real_page
from tests.fuzz.pure import take_event, take_page
from tests.fuzz.real import BENT, SECRET, Ordeal, seated
from tests.unit.conftest import dump

SEED = int(os.environ.get("GRIFFIER_FUZZ_SEED", str(secrets.randbelow(10**6))))


def test_nothing_that_a_homeserver_can_send_is_too_much_for_the_event_path():
    print(f"GRIFFIER_FUZZ_SEED={SEED}")
    chance = random.Random(SEED)
    hostile = Hostile(chance)
    for number in range(20_000):
        event = json.loads(hostile.raw(hostile.event()))
        take_event(event, str(number % 14))
    for _ in range(100):
        page = hostile.bend(hostile.bend(real_page()))
        take_page(hostile.torn(json.dumps(page).encode()) if chance.random() < 0.2 else json.dumps(page).encode())


def test_the_guided_fuzzer_finds_nothing_in_a_short_run():
    command = [sys.executable, "-m", "tests.fuzz.guided", "--runs", "5000", "--seed", str(1 + SEED)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "without a crash" in done.stdout or "skipped" in done.stdout


async def test_hostile_pages_are_kept_and_flagged_and_their_good_neighbours_are_read(archive, caplog):
    print(f"GRIFFIER_FUZZ_SEED={SEED}")
    async with seated(archive.url, archive.vault) as seat:
        ordeal = Ordeal(archive.pool, archive.vault, seat, SEED)
        await ordeal.run(3_000)
    print(dict(ordeal.counts))
    assert ordeal.counts["flagged"] > 1_000
    assert ordeal.counts["oddities"] > 10
    assert ordeal.counts["good"] > 300
    assert SECRET.encode() not in dump(archive.url)
    assert SECRET not in caplog.text
    assert BENT not in caplog.text
