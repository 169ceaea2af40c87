"""No delivery stops the webhook, comes in unsigned, or costs a good message beside it. `make fuzz`: 200,000 of them."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys

from tests.fuzz.webhooks import ordeal
from tests.fuzz.whatsapp import KINDS, OTHERS, bodies, take

SEED = int(os.environ.get("GRIFFIER_FUZZ_SEED", str(secrets.randbelow(10**6))))


def test_every_documented_kind_is_read_as_it_is_before_it_is_bent():
    found = [incoming for body in bodies() for incoming in take(json.dumps(body).encode())]
    # After each kind, what echoes and history hold of conversations; what an unsupported one was is told after its colon.
    assert [incoming.network_type.partition(":")[0] for incoming in found] == [*KINDS, "text", "text"]
    assert len(bodies()) == len(KINDS) + len(OTHERS)


async def test_hostile_deliveries_over_http_into_a_real_database(postgres_url, caplog):
    print(f"GRIFFIER_FUZZ_SEED={SEED}")
    async with ordeal(postgres_url, SEED) as run:
        await run.run(2_000)
    print(dict(run.counts))
    assert run.counts["good"] > 1_500
    assert run.counts["answered 401"] > 150
    assert run.counts["answered 400"] > 20
    assert "goed 1" not in caplog.text


def test_the_guided_fuzzer_finds_nothing_in_webhooks_in_a_short_run():
    command = [sys.executable, "-m", "tests.fuzz.guided", "webhooks", "--runs", "5000", "--seed", str(1 + SEED)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert "without a crash" in done.stdout or "skipped" in done.stdout
