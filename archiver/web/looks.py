"""A look, or an act, in the audit trail before anything of it is shown or done (promise 5)."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from archiver.db import tenant_tx
from archiver.ledger.audit import note
from archiver.web.context import ARCHIVE


async def look(request: web.Request, action: str, room_id: str | None = None, **detail: Any) -> None:
    """Write it down: by whom, in which role and by which token. What is None is left out."""
    archive, visitor = request.app[ARCHIVE], request["visitor"]
    told = {"role": ", ".join(sorted(visitor.roles)), **detail}
    if visitor.token_id is not None:
        told["token"] = str(visitor.token_id)
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        known = {name: value for name, value in told.items() if value is not None}
        await note(tx, archive.vault.org, request["actor"], action, room_id=room_id, **known)
