"""`make bench`: what the ledger and the index cost, each as a ratio to a baseline measured in the same run."""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import tempfile
import time
from pathlib import Path

from archiver.db import connect, migrate, tenant_tx
from archiver.demo.postgres import Postgres
from archiver.demo.supervisor import Part, Supervisor
from archiver.ledger.event import Rules, check, event_id
from archiver.ledger.record import Arrival, append
from archiver.ledger.sealing import FileKey, Vault
from archiver.reading.project import project_batch
from archiver.reading.words import BlindIndex
from tests.conftest import free_port_base

EVENTS, BATCH = 20_000, 500
WORDS = "de minister heeft vandaag besloten dat het voorstel naar de Kamer gaat met twee wijzigingen over water en dijken".split()  # noqa: SIM905


def arrivals() -> list[Arrival]:
    """Events as a homeserver gives them, with a payload of a dozen words."""
    made = []
    for number in range(EVENTS):
        body = " ".join(secrets.choice(WORDS) for _ in range(12))
        event = {
            "type": "m.room.encrypted", "room_id": f"!r{number % 20}:x", "sender": f"@u{number % 50}:x", "depth": number,
            "content": {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": secrets.token_urlsafe(220), "session_id": "s"},
            "origin_server_ts": 1_764_000_000_000 + number, "prev_events": [f"$p{number}"], "auth_events": ["$a", "$b", "$c"],
            "hashes": {"sha256": "x"}, "signatures": {"x": {"ed25519:a": "y"}},
        }  # fmt: skip
        payload = json.dumps({"type": "m.room.message", "content": {"msgtype": "m.text", "body": body}}).encode()
        rules = Rules("11")
        made.append(Arrival(event["room_id"], event_id(event, rules), event, rules, check(event, None, rules, {}), payload))
    return made


async def main(folder: Path) -> None:
    """Print the ratios."""
    server = Postgres(folder, free_port_base(), "bench")
    server.initialise()

    async def ready() -> bool:
        done = await asyncio.create_subprocess_exec(
            str(Path(server.command()[0]).parent / "pg_isready"),
            "-h",
            "127.0.0.1",
            "-p",
            str(server.port),
            stdout=subprocess.DEVNULL,
        )
        return await done.wait() == 0

    supervisor = Supervisor(lambda _: None)
    await supervisor.start(Part("Postgres", server.command(), ready, folder / "postgres.log", user=server.user))
    try:
        await server.make_databases()
        await measure(server.url("griffier"), folder)
    finally:
        await supervisor.stop()


def tell(what: str, rate: float, base: float) -> None:
    """One line of the table."""
    print(f"{what:<52} {rate:>9,.0f}/s   {rate / base:6.3f} ×")


async def measure(url: str, folder: Path) -> None:
    """The ledger against bare COPY of the same bytes; the reading view and the index beside it."""
    async with connect(url) as pool:
        await migrate(pool)
        async with tenant_tx(pool, 1) as tx:
            key = FileKey.load(folder / "keys", create=True)
            await Vault.set_up(tx, 1, "bench", key)
            vault = await Vault.open(tx, 1, key)
        made = arrivals()
        raw = [(arrival.room_id, arrival.event_id, json.dumps(arrival.event).encode(), arrival.payload) for arrival in made]
        async with pool.acquire() as connection:
            await connection.execute("CREATE TABLE bare (room_id text, event_id text, event bytea, payload bytea)")
            began = time.perf_counter()
            await connection.copy_records_to_table("bare", records=raw)
            bare = EVENTS / (time.perf_counter() - began)

        rules = Rules("11")
        began = time.perf_counter()
        for start in range(0, EVENTS, BATCH):
            batch = made[start : start + BATCH]
            for arrival in batch:
                event_id(arrival.event, rules)
                check(arrival.event, arrival.event_id, rules, {})
            async with tenant_tx(pool, 1) as tx:
                await append(tx, vault, batch)
        ledger = EVENTS / (time.perf_counter() - began)

        index = BlindIndex(vault.search_key)
        began = time.perf_counter()
        taken = 1
        while taken:
            async with tenant_tx(pool, 1) as tx:
                taken = await project_batch(tx, vault, index)
        reading = EVENTS / (time.perf_counter() - began)
        print(f"{EVENTS:,} events, ratio to the baseline of this run")
        tell("baseline: COPY of the same bytes", bare, bare)
        tell("ledger: ids, hashes, sealing, edges (budget 0.2)", ledger, bare)
        tell("reading view with blind index, beside it", reading, bare)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="griffier-bench-") as name:
        Path(name).chmod(0o755)
        asyncio.run(main(Path(name)))
