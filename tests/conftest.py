"""What all tests share: the embedded stack, started the way a user starts it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from hypothesis import HealthCheck, settings

# Examples are bounded in number, not in time: this machine's speed is no property of the code.
settings.register_profile("griffier", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("griffier")

GRIFFIER = str(Path(sysconfig.get_path("scripts")) / "griffier")
CONTRACT = [
    "homeserver", "server_name", "registration_shared_secret", "database", "web", "webhook", "webhook_app_secret",
    "webhook_verify_token", "simulator", "archiver", "admin_token", "data_dir",
]  # fmt: skip


@dataclass(frozen=True)
class RunningStack:
    """The contract of `griffier demo --bare --json` (DESIGN section 7), and what tests do with it."""

    process: asyncio.subprocess.Process
    homeserver: str
    server_name: str
    registration_shared_secret: str
    database: str
    web: str
    webhook: str
    webhook_app_secret: str
    webhook_verify_token: str
    simulator: str
    archiver: str
    admin_token: str
    data_dir: str

    async def register(self, localpart: str, *, admin: bool = False) -> tuple[str, str]:
        """Make an account through Synapse's shared-secret registration; returns (user id, password)."""
        url = f"{self.homeserver}/_synapse/admin/v1/register"
        password = secrets.token_urlsafe(12)
        async with aiohttp.ClientSession() as http:
            nonce = (await (await http.get(url)).json())["nonce"]
            what = "\0".join([nonce, localpart, password, "admin" if admin else "notadmin"])
            mac = hmac.new(self.registration_shared_secret.encode(), what.encode(), hashlib.sha1).hexdigest()
            body = {"nonce": nonce, "username": localpart, "password": password, "admin": admin, "mac": mac}
            async with http.post(url, json=body) as response:
                answer = await response.json()
                assert response.status == 200, answer
                return answer["user_id"], password

    async def log_in(self, user_id: str, password: str) -> str:
        """Sign in; returns the access token of the new device."""
        body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": user_id}, "password": password}
        async with aiohttp.ClientSession() as http, http.post(f"{self.homeserver}/_matrix/client/v3/login", json=body) as answer:
            return (await answer.json())["access_token"]

    async def signed_in(self, person: str = "archivaris") -> aiohttp.ClientSession:
        """A browser of somebody of the demo (archiver/demo/people.py), signed in at its identity provider; close it yourself."""
        http = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        async with http.get(f"{self.web}/signin/start") as there:
            assert there.status == 200, await there.text()
        async with http.post(there.url, data={"person": person}) as back:
            assert str(back.url).startswith(self.web), await back.text()
            assert back.status == 200, await back.text()
        async with http.get(f"{self.web}/purpose") as form:
            token = re.search(r'name="form_token" value="(\w+)"', await form.text())
        if form.status == 200 and token:  # who reads what others said, says why
            async with http.post(form.url, data={"purpose": "Archiefbeheer", "form_token": token[1]}) as stated:
                assert stated.status == 200, await stated.text()
        return http

    def secret(self, name: str) -> str:
        """One of the secrets that the demo made for itself."""
        return json.loads((Path(self.data_dir) / "secrets.json").read_text())[name]

    async def griffier(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line against this stack, as an outside test would."""
        env = {**os.environ, "GRIFFIER_DATABASE__URL": self.database, "GRIFFIER_DATA_DIR": self.data_dir}
        process = await asyncio.create_subprocess_exec(
            GRIFFIER, *arguments, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = await asyncio.wait_for(process.communicate(), 120)
        return subprocess.CompletedProcess(arguments, process.returncode or 0, out.decode(), err.decode())


def free_port_base() -> int:
    """The first of twenty ports that are all free now; drawn by lot, for test runs side by side."""
    for base in random.sample(range(21000, 31000, 20), 500):
        with contextlib.ExitStack() as held:
            try:
                for port in range(base, base + 20):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return base
    raise AssertionError("no twenty free ports in a row")


@contextlib.asynccontextmanager
async def running_stack(data_dir: Path, *arguments: str) -> AsyncIterator[RunningStack]:
    """`griffier demo --bare --json` until the end of the block."""
    log = data_dir / "demo.stderr"
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            GRIFFIER, "demo", "--bare", "--json", "--data-dir", str(data_dir), "--port-base", str(free_port_base()), *arguments,
            stdout=subprocess.PIPE, stderr=stderr,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), 120)
        assert line, f"the demo did not start:\n{log.read_text()[-4000:]}"
        contract = json.loads(line)
        assert sorted(contract) == sorted(CONTRACT)
        yield RunningStack(process, **contract)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), 20)
            except TimeoutError:
                process.kill()
                await process.wait()
        sys.stderr.write("" if process.returncode == 0 else log.read_text()[-2000:])


@pytest.fixture(scope="session")
async def stack(stack_dir: Path) -> AsyncIterator[RunningStack]:
    """One embedded stack for all tests that only add to it."""
    async with running_stack(stack_dir) as running:
        yield running


@pytest.fixture(scope="session")
def stack_dir() -> Iterator[Path]:
    """The data folder of that stack."""
    with data_folder() as made:
        yield made


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder for a stack of this test alone."""
    with data_folder() as made:
        yield made


@contextlib.contextmanager
def data_folder() -> Iterator[Path]:
    """A folder under /tmp that an unprivileged Postgres can reach, removed afterwards."""
    made = Path(tempfile.mkdtemp(prefix="griffier-test-"))
    made.chmod(0o755)
    yield made
    if os.environ.get("GRIFFIER_KEEP_TEST_DATA") is None:
        shutil.rmtree(made, ignore_errors=True)
