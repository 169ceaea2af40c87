"""The archive's own Postgres: on a disk of its own, and knocked down without the homeserver's."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg

from archiver.demo.postgres import Postgres
from archiver.demo.supervisor import die_with_parent, own_env
from tests.conftest import free_port_base

# So that a small disk is not filled by what Postgres keeps for speed.
SMALL = ["-c", "max_wal_size=64MB", "-c", "min_wal_size=32MB", "-c", "wal_keep_size=0"]


class Database:
    """A running server, started again whenever it ends, unless it is to stay down."""

    def __init__(self, server: Postgres, log: Path) -> None:
        self.url = server.url("postgres")
        self.may_run = asyncio.Event()
        self._server = server
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def keep(self) -> None:
        """Keep it running, until cancelled."""
        user = self._server.user
        who: dict[str, Any] = {"user": user.uid, "group": user.gid, "extra_groups": []} if user else {}
        try:
            while await self.may_run.wait():
                with self._log.open("ab") as log:
                    self._process = await asyncio.create_subprocess_exec(
                        *self._server.command(), *SMALL, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                        env=own_env(), start_new_session=True, preexec_fn=die_with_parent(signal.SIGINT), **who,
                    )  # fmt: skip
                await self._process.wait()
                await asyncio.sleep(0.2)
        finally:
            if self._process is not None and self._process.returncode is None:
                self._process.send_signal(signal.SIGQUIT)
                await self._process.wait()

    def signal(self, what: signal.Signals) -> None:
        """Send the server a signal, if it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(what)

    async def answers(self, seconds: float = 30) -> None:
        """Wait until it answers."""
        async with asyncio.timeout(seconds):
            while True:
                with contextlib.suppress(OSError, asyncpg.PostgresError, TimeoutError):
                    await (await asyncpg.connect(self.url, timeout=2)).close()
                    return
                await asyncio.sleep(0.1)

    async def begin_new_log_file(self) -> None:
        """Have it write to a new file of its write-ahead log: on a full disk it can't, and stops (as it should)."""
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            connection = await asyncpg.connect(self.url, timeout=2)
            try:
                await connection.execute("SELECT pg_switch_wal()", timeout=5)
                await connection.execute("SELECT txid_current(); SELECT pg_switch_wal()", timeout=5)
            finally:
                connection.terminate()


@contextlib.asynccontextmanager
async def database(folder: Path, log: Path) -> AsyncIterator[Database]:
    """An embedded Postgres in `folder` until the end of the block."""
    server = Postgres(folder, free_port_base() + 19, secrets.token_hex(8))
    server.initialise()
    made = Database(server, log)
    made.may_run.set()
    keeping = asyncio.create_task(made.keep())
    try:
        await made.answers()
        yield made
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
