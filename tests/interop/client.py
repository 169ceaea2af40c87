"""The official's client of the interop tests: official.mjs, as an object."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self

import pytest

FOLDER = Path(__file__).parent
NEEDED = ("matrix-js-sdk", "oidc-provider", "axe-core")


def require_node() -> None:
    """Install what the .mjs files need, once. Without Node 20 the test is skipped on a person's machine, and fails in CI."""
    node = shutil.which("node")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout if node else ""
    if int(version.strip().lstrip("v").partition(".")[0] or 0) < 20:
        problem = "the interop tests need Node 20 or newer"
        if os.environ.get("CI"):
            raise AssertionError(problem)
        pytest.skip(problem)
    with (FOLDER / ".install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not all((FOLDER / "node_modules" / name / "package.json").exists() for name in NEEDED):
            subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=FOLDER, check=True)


class Official:
    """A strict matrix-js-sdk client: it gives room keys to cross-signed devices only."""

    def __init__(self, homeserver: str, user_id: str, password: str) -> None:
        self.user_id = user_id
        self._login = {"homeserver": homeserver, "user": user_id, "password": password}
        self._process: asyncio.subprocess.Process
        self._next = 0

    async def __aenter__(self) -> Self:
        require_node()
        self._process = await asyncio.create_subprocess_exec(
            "node",
            str(FOLDER / "official.mjs"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            limit=2**24,
        )
        await self.do("login", **self._login)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                await asyncio.wait_for(self._process.wait(), 5)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    async def do(self, action: str, timeout: float = 60, **arguments: Any) -> dict[str, Any]:
        """Do something; raises AssertionError with what the client said went wrong."""
        self._next += 1
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"id": self._next, "do": action, **arguments}).encode() + b"\n")
        await self._process.stdin.drain()
        line = await asyncio.wait_for(self._process.stdout.readline(), timeout)
        assert line, f"{action}: the client stopped"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["ok"]
