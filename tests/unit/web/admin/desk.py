"""An admin at work: officials as they come in by a form."""

from __future__ import annotations

import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import FormData
from aiohttp.test_utils import TestClient

from archiver.settings import Settings
from tests.unit import conftest
from tests.unit.web.signed_in import served, session_of, use


class Desk:
    """A browser of an admin, and what their forms carry."""

    def __init__(self, client: TestClient, token: str, person: str) -> None:
        self.client, self.token, self.person = client, token, person

    async def open(self, path: str, status: int = 200) -> str:
        answer = await self.client.get(path, allow_redirects=False)
        text = await answer.text()
        assert answer.status == status, text
        return text

    async def send(self, path: str, status: int = 303, **fields: Any) -> str:
        """Send a form; returns where it leads, or the page."""
        answer = await self.client.post(path, data={"form_token": self.token, **fields}, allow_redirects=False)
        text = await answer.text()
        assert answer.status == status, text
        return answer.headers.get("Location", text)

    async def upload(self, raw: bytes, status: int = 303, name: str = "lijst.csv") -> str:
        form = FormData()
        form.add_field("form_token", self.token)
        form.add_field("file", raw, filename=name, content_type="text/csv")
        answer = await self.client.post("/admin/officials/import", data=form, allow_redirects=False)
        text = await answer.text()
        assert answer.status == status, text
        return answer.headers.get("Location", text)

    async def official(self, name: str, **fields: str) -> str:
        """Add an official; returns the address of their page."""
        there = await self.send("/admin/officials", **({"name": name} | term(name) | fields))
        return there.partition("?")[0]


def term(name: str) -> dict[str, str]:
    account = f"@{re.sub('[^a-z0-9]', '', name.casefold())}:x"
    return {"matrix_id": account, "function": f"directeur {name}", "unit": "Water", "from_day": "2026-01-01", "until_day": ""}


def somebody() -> str:
    return f"Noor {secrets.token_hex(4)}"


@asynccontextmanager
async def at_work(
    archive: conftest.Archive, folder: Path, settings: Settings | None = None, role: str = "admin", person: str = ""
) -> AsyncIterator[Desk]:
    """Somebody with a role at the admin's pages."""
    person = person or f"beheer-{secrets.token_hex(3)}"
    async with served(archive, folder, settings) as client:
        token = use(client, await session_of(archive, role, person=person, matrix_id="@iemand:x"))
        yield Desk(client, token, person)
