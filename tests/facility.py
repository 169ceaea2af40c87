"""A second archive beside the stack's own: its own database, account and processes, so that a test may break what it likes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aiohttp
import asyncpg
from aiohttp import web

from tests.conftest import GRIFFIER, RunningStack

Change = Callable[[str, dict[str, Any]], dict[str, Any]]


@dataclass
class Proxy:
    """Between an archiver and its homeserver: shows, and may change, what goes by."""

    url: str
    change: Change = lambda _, answer: answer
    held: asyncio.Event = field(default_factory=asyncio.Event)  # cleared: requests wait, as on a cut line
    lost: Callable[[str], bool] = lambda _: False  # whether the answer to a request for this path is lost on its way
    seen: list[tuple[str, str, Any]] = field(default_factory=list)  # (method, path, body)


@contextlib.asynccontextmanager
async def proxy(target: str) -> AsyncIterator[Proxy]:
    """A proxy in front of `target` on a free port."""
    made = Proxy("")
    made.held.set()

    async def handle(request: web.Request) -> web.StreamResponse:
        await made.held.wait()
        body = await request.read()
        made.seen.append((request.method, request.path, json.loads(body) if body[:1] == b"{" else None))
        headers = {name: value for name, value in request.headers.items() if name in ("Authorization", "Content-Type")}
        try:
            async with http.request(request.method, target + request.raw_path, data=body, headers=headers) as answer:
                raw = await answer.read()
        except aiohttp.ClientError:
            return web.Response(status=502)
        if made.lost(request.path):
            return web.Response(status=502)
        if answer.content_type == "application/json" and answer.status == 200:
            raw = json.dumps(made.change(request.path, json.loads(raw))).encode()
        return web.Response(body=raw, status=answer.status, content_type=answer.content_type)

    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    async with aiohttp.ClientSession(auto_decompress=True) as http:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield made
        finally:
            await runner.cleanup()


@dataclass
class Facility:
    """An archive and the processes that fill it."""

    stack: RunningStack
    user_id: str
    env: dict[str, str]
    folder: Path
    under: dict[str, str] = field(default_factory=dict)  # what the archiver processes alone find in their environment
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    @property
    def database(self) -> str:
        return self.env["GRIFFIER_DATABASE__URL"]

    async def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One command of the command line."""
        process = await asyncio.create_subprocess_exec(
            GRIFFIER, *arguments, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = await asyncio.wait_for(process.communicate(), 120)
        return subprocess.CompletedProcess(arguments, process.returncode or 0, out.decode(), err.decode())

    async def start(self, **more: str) -> asyncio.subprocess.Process:
        """Start an archiver process."""
        env = self.env | self.under | {f"GRIFFIER_{name}": value for name, value in more.items()}
        with (self.folder / f"archive-{len(self.processes)}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(GRIFFIER, "archive", env=env, stderr=log)
        self.processes.append(process)
        return process

    async def stop(self) -> None:
        """Stop every process that still runs."""
        for process in self.processes:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(signal.SIGCONT)
                    process.terminate()
        for process in self.processes:
            try:
                await asyncio.wait_for(process.wait(), 10)
            except TimeoutError:
                process.kill()
                await process.wait()
        self.processes.clear()

    async def fetch(self, query: str, *values: object) -> list[Any]:
        """Rows of the archive's database, as its owner."""
        connection = await asyncpg.connect(self.database)
        try:
            return list(await connection.fetch(query, *values))
        finally:
            await connection.close()

    async def until(self, query: str, *values: object, seconds: float = 30) -> Any:
        """The first value of a query as soon as it is true; fails with the processes' logs when that takes too long."""
        end = time.monotonic() + seconds
        while True:
            rows = await self.fetch(query, *values)
            if rows and rows[0][0]:
                return rows[0][0]
            if time.monotonic() > end:
                logs = "".join(path.read_text()[-3000:] for path in sorted(self.folder.glob("archive-*.log")))
                raise AssertionError(f"not within {seconds} s: {query} {values}: {rows}\n{logs}")
            await asyncio.sleep(0.1)

    async def texts(self, room: str) -> dict[str, dict[str, Any]]:
        """The lines of a room's export by their text."""
        return {line["body"]: line for line in await self.lines(room)}

    async def lines(self, room: str) -> list[dict[str, Any]]:
        """The lines of a room's export that are messages."""
        out = self.folder / f"{secrets.token_hex(4)}.jsonl"
        done = await self.run("export", room, "--format", "jsonl", "--out", str(out))
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in out.read_text().splitlines()]


@contextlib.asynccontextmanager
async def facility(
    stack: RunningStack, folder: Path, *, homeserver: str = "", database: str = "", **more: str
) -> AsyncIterator[Facility]:
    """An empty archive with an account on the stack's homeserver, in its Postgres or that of `database`; no process yet."""
    name = f"a{secrets.token_hex(4)}"
    user_id, password = await stack.register(f"archief-{name}")
    database = database or stack.database
    connection = await asyncpg.connect(database)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    env = {key: value for key, value in os.environ.items() if not key.startswith("GRIFFIER_")} | {
        "GRIFFIER_DATABASE__URL": urlunsplit(urlsplit(database)._replace(path=f"/{name}")),
        "GRIFFIER_DATA_DIR": str(folder / name),
        "GRIFFIER_HOMESERVER__URL": homeserver or stack.homeserver,
        "GRIFFIER_HOMESERVER__SERVER_NAME": stack.server_name,
        "GRIFFIER_ARCHIVER__USER_ID": user_id,
        "GRIFFIER_ARCHIVER__PASSWORD": password,
        "GRIFFIER_ARCHIVER__SYNC_WAIT": "5",
        **{f"GRIFFIER_{key}": value for key, value in more.items()},
    }
    made = Facility(stack, env["GRIFFIER_ARCHIVER__USER_ID"], env, folder)
    migrated = await made.run("migrate")
    assert migrated.returncode == 0, migrated.stderr
    try:
        yield made
    finally:
        await made.stop()
        connection = await asyncpg.connect(database)
        await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await connection.close()
