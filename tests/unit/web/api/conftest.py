"""The API with somebody's token, on an archive in which something was said."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from archiver.db import tenant_tx
from archiver.settings import Settings
from archiver.web import sessions
from archiver.web.api import tokens
from archiver.web.api.scopes import FOR, Scope
from archiver.web.roles import Role
from tests.unit import conftest
from tests.unit.web.signed_in import WHY, served, session_of
from tests.unit.web.test_membership import Room

PURPOSE = {"Griffier-Purpose": WHY.text, "Griffier-Case-Number": WHY.case_number or ""}


@dataclass
class Program:
    """A program with a token."""

    client: TestClient
    token: str

    async def ask(self, path: str, method: str = "GET", **more: Any) -> tuple[int, Any]:
        """The status and the JSON of an answer."""
        answer = await self.send(path, method, **more)
        return answer.status, await answer.json(content_type=None) if answer.content_length else None

    async def send(self, path: str, method: str = "GET", **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.token}", "Accept-Language": "en", **PURPOSE, **more.pop("headers", {})}
        return await self.client.request(method, f"/api/v1{path}", headers=headers, allow_redirects=False, **more)


async def token_of(
    archive: conftest.Archive, *roles: Role | str, person: str = "", scopes: set[Scope] | None = None, **more: Any
) -> str:
    """A new token of somebody with these roles, for all that they may do."""
    person = person or f"p-{secrets.token_hex(4)}"
    cookie = await session_of(archive, *roles, person=person, **more)
    wanted = {scope for scope in Scope if FOR[scope] & set(map(Role, roles))} if scopes is None else scopes
    async with tenant_tx(archive.pool, 1) as tx:
        session = await sessions.find(tx, 1, cookie, Settings().web)
        made, _ = await tokens.make(tx, 1, session.session_id, "een proef", wanted, 30)
    return made


@pytest.fixture
async def api(archive: conftest.Archive, tmp_path: Path) -> AsyncIterator[TestClient]:
    """The application; nobody has signed in."""
    async with served(archive, tmp_path) as client:
        yield client


@pytest.fixture
async def officer(api: TestClient, archive: conftest.Archive) -> Program:
    """A records officer's program."""
    return Program(api, await token_of(archive, "records-officer"))


@pytest.fixture
async def admin(api: TestClient, archive: conftest.Archive) -> Program:
    return Program(api, await token_of(archive, "admin"))


@pytest.fixture
async def talk(archive: conftest.Archive, room: str) -> Room:
    """A conversation of five messages, one edited, one deleted."""
    told = Room(archive, room)
    told.add("m.room.name", {"name": "Overleg over de kademuur"}, state_key="")
    told.member("@minister:x", "join")
    told.say("eerste")
    second = told.say("tweede")
    told.edit(second, "tweede, verbeterd")
    third = told.say("derde")
    told.add("m.room.redaction", {"redacts": third, "reason": "per ongeluk"}, "@ander:x")
    told.say("vierde kademuur")
    told.say("vijfde")
    await told.keep()
    return told
