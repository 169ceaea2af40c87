"""`make fuzz`: a million hostile events through the whole event path on an embedded Postgres, with how far it is and how fast."""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from archiver.db import Pool, connect, migrate, tenant_tx
from archiver.demo.postgres import Postgres
from archiver.demo.supervisor import Part, Supervisor
from archiver.ledger.sealing import FileKey, Vault
from tests.conftest import free_port_base
from tests.fuzz.real import Ordeal, seated

PAGE = 300  # hostile events on a page
ROUND = 20_000  # events in rooms of one round; each round has a database of its own, so that the last is as fast as the first


async def main(events: int, seed: int) -> None:
    """Feed so many hostile events; raises at the first that does harm, with the seed of its round on the screen."""
    print(f"--seed {seed} --events {events}", flush=True)
    logging.disable(logging.CRITICAL)
    counts: Counter[str] = Counter()
    began = time.monotonic()
    async with postgres() as url:
        while counts["hostile"] < events:
            this = seed + counts["rounds"]
            print(f"round --seed {this}", end=" ", flush=True)
            async with archive(url) as (pool, vault, database), seated(database, vault) as seat:
                ordeal = Ordeal(pool, vault, seat, this)
                await ordeal.run(min(ROUND, events - counts["hostile"]), PAGE)
            counts += ordeal.counts + Counter(rounds=1)
            seconds = time.monotonic() - began
            print(f"{counts['hostile']:>9} events, {seconds:.0f} s, {counts['hostile'] / seconds:.0f}/s", flush=True)
    print(f"No crash, no lost neighbour: {dict(counts)} in {time.monotonic() - began:.0f} s")


def open_folder() -> Path:
    """A folder that an unprivileged Postgres can reach."""
    folder = Path(tempfile.mkdtemp(prefix="griffier-fuzz-"))
    folder.chmod(0o755)
    return folder


@asynccontextmanager
async def postgres() -> AsyncIterator[str]:
    """An embedded Postgres of this run alone; yields its address."""
    folder = open_folder()
    server = Postgres(folder, free_port_base() + 17, secrets.token_hex(8))
    server.initialise()

    supervisor = Supervisor(lambda _: None)
    command = [*server.command(), "-c", "fsync=off", "-c", "autovacuum=off"]  # nothing of it is to outlive the run
    await supervisor.start(Part("Postgres", command, server.answers, folder / "postgres.log", user=server.user))
    try:
        yield server.url("postgres")
    finally:
        await supervisor.stop()
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def archive(url: str) -> AsyncIterator[tuple[Pool, Vault, str]]:
    """An empty archive, gone at the end of the block."""
    name, owner = f"f{secrets.token_hex(6)}", await asyncpg.connect(url)
    await owner.execute(f"CREATE DATABASE {name}")
    database = urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
    try:
        async with connect(database) as pool:
            await migrate(pool)
            async with tenant_tx(pool, 1) as tx:
                key = FileKey("fuzz", secrets.token_bytes(32))
                await Vault.set_up(tx, 1, "Ministerie", key)
                vault = await Vault.open(tx, 1, key)
            yield pool, vault, database
    finally:
        await owner.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await owner.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    told = parser.parse_args()
    try:
        asyncio.run(main(told.events, told.seed))
    except KeyboardInterrupt:
        sys.exit(130)
