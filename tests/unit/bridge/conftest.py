"""What the bridge's unit tests share: a database of its own for each test in a real Postgres, and a simulator of its own."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from importlib.resources import files
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from tests.unit.bridge.simulated import Sim, simulated


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


@pytest.fixture
async def sim() -> AsyncIterator[Sim]:
    """A simulator of its own, and its webhook."""
    async with simulated() as running:
        yield running
