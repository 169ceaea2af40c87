"""Somebody who is signed in, without a provider: the session is put where signing in puts it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from archiver.db import tenant_tx
from archiver.ledger.files import FileStore
from archiver.settings import Settings
from archiver.web import access, purpose, sessions
from archiver.web.app import application
from archiver.web.context import Archive
from archiver.web.purpose import Purpose
from archiver.web.roles import Role
from archiver.web.sessions import SignedIn, form_token
from tests.unit import conftest

WHY = Purpose("Archiefbeheer", "2026-0017")


async def session_of(
    archive: conftest.Archive,
    *roles: Role | str,
    person: str = "archivaris",
    matrix_id: str | None = None,
    why: Purpose | None = WHY,
    **more: Any,
) -> str:
    """The cookie of a new session, in which a purpose has been stated."""
    told = {"issuer": "https://sso.x", "subject": person, "sid": None, "name": person} | more
    who = SignedIn(person=person, matrix_id=matrix_id, roles=frozenset(map(Role, roles)), **told)
    async with tenant_tx(archive.pool, 1) as tx:
        token, session = await sessions.start(tx, archive.vault, who, Settings().web)
        if why is not None:
            await tx.execute(purpose.KEEP, 1, session.session_id, why.text, why.case_number, 60)
    return token


@asynccontextmanager
async def served(archive: conftest.Archive, folder: Path, settings: Settings | None = None) -> AsyncIterator[TestClient]:
    """The web application and a browser that has not signed in."""
    app = application(Archive(settings or Settings(), archive.pool, archive.vault, FileStore(folder)))
    async with TestClient(TestServer(app)) as made:
        yield made


def use(client: TestClient, token: str) -> str:
    """Give the browser a session's cookie; returns what its forms carry."""
    name = access.cookie_name(client.app[access.ARCHIVE])
    client.session.cookie_jar.update_cookies({name: token}, URL(client.make_url("/")))
    return form_token(token)


@asynccontextmanager
async def browsing(
    archive: conftest.Archive, folder: Path, *roles: Role | str, person: str = "archivaris", matrix_id: str | None = None
) -> AsyncIterator[TestClient]:
    """A browser of somebody with these roles."""
    async with served(archive, folder) as client:
        use(client, await session_of(archive, *roles, person=person, matrix_id=matrix_id))
        yield client
