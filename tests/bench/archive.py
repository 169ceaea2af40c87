"""An embedded Postgres with an empty archive, for what is measured without a homeserver."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from archiver.db import Pool, connect, migrate, tenant_tx
from archiver.demo.postgres import Postgres
from archiver.demo.supervisor import Part, Supervisor
from archiver.ledger.sealing import FileKey, Vault
from tests.conftest import free_port_base


@dataclass(frozen=True, slots=True)
class Archive:
    """Migrated and set up."""

    url: str
    pool: Pool
    vault: Vault


def reachable(folder: Path) -> Path:
    """The folder, made if need be, open to an unprivileged Postgres."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    return folder


@contextlib.asynccontextmanager
async def archive(folder: Path) -> AsyncIterator[Archive]:
    """A Postgres of its own in `folder` until the end of the block."""
    server = Postgres(reachable(folder), free_port_base(), secrets.token_hex(8))
    server.initialise()

    supervisor = Supervisor(lambda _: None)
    await supervisor.start(Part("Postgres", server.command(), server.answers, folder / "postgres.log", user=server.user))
    try:
        await server.make_databases()
        async with connect(server.url("griffier")) as pool:
            await migrate(pool)
            async with tenant_tx(pool, 1) as tx:
                key = FileKey.load(folder / "keys", create=True)
                await Vault.set_up(tx, 1, "bench", key)
                vault = await Vault.open(tx, 1, key)
            yield Archive(server.url("griffier"), pool, vault)
    finally:
        await supervisor.stop()
