"""Whether the process lives, and whether the archive captures (promise 8)."""

from __future__ import annotations

import asyncpg
from aiohttp import web

from archiver.capture.standing import standings
from archiver.db import tenant_tx
from archiver.web.context import ARCHIVE

routes = web.RouteTableDef()

# "Capturing" is said only where people can see it, in every room (promise 8); a room just joined has a moment for it.
UNNOTICED = """
    SELECT count(*) FROM room WHERE org = $1 AND membership = 'join' AND notice_seen_at IS NULL
      AND first_seen_at < now() - interval '1 minute'
"""
OPEN_TO_ALL = frozenset({"/healthz", "/readyz"})


@routes.get("/healthz")
async def alive(request: web.Request) -> web.Response:
    """200 while the process and its database answer."""
    archive = request.app[ARCHIVE]
    try:
        async with archive.pool.acquire(timeout=3) as connection:
            await connection.fetchval("SELECT 1", timeout=3)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
        return web.json_response({"status": "database unreachable"}, status=503)
    return web.json_response({"status": "ok"})


@routes.get("/readyz")
async def ready(request: web.Request) -> web.Response:
    """200 while messages are being captured; 503 with the reasons when they are not."""
    archive = request.app[ARCHIVE]
    try:
        async with tenant_tx(archive.pool, archive.vault.org) as tx:
            seats = await standings(tx, archive.vault.org)
            unnoticed = await tx.fetchval(UNNOTICED, archive.vault.org)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
        return web.json_response({"capturing": False, "reasons": ["database unreachable"]}, status=503)
    reasons = [f"{seat.user_id}: {reason}" for seat in seats for reason in seat.reasons]
    if not seats:
        reasons.append("the archiver has never been started")
    if unnoticed:
        reasons.append(f"{unnoticed} room(s) do not show the notice: 'griffier doctor' names them")
    return web.json_response({"capturing": not reasons, "reasons": reasons}, status=503 if reasons else 200)
