"""Whether the process lives, whether the archive captures (promise 8), and its state in numbers."""

from __future__ import annotations

import asyncio
import time

import asyncpg
from aiohttp import web

from archiver.capture.standing import standings
from archiver.db import tenant_tx
from archiver.oversight.metrics import CONTENT_TYPE, metrics
from archiver.web.context import ARCHIVE, Archive

routes = web.RouteTableDef()

# "Capturing" is said only where people can see it, in every room (promise 8); a room just joined has a moment for it.
UNNOTICED = """
    SELECT count(*) FROM room WHERE org = $1 AND membership = 'join' AND notice_seen_at IS NULL
      AND first_seen_at < now() - interval '1 minute'
"""
OPEN_TO_ALL = frozenset({"/healthz", "/readyz", "/metrics"})
REUSE = 5.0  # seconds for which the metrics stay as they are: whoever asks more often costs the database nothing
UNREACHABLE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)


@routes.get("/healthz")
async def alive(request: web.Request) -> web.Response:
    """200 while the process and its database answer."""
    archive = request.app[ARCHIVE]
    try:
        async with archive.pool.acquire(timeout=3) as connection:
            await connection.fetchval("SELECT 1", timeout=3)
    except UNREACHABLE:
        return web.json_response({"status": "database unreachable"}, status=503)
    return web.json_response({"status": "ok"})


@routes.get("/readyz")
async def ready(request: web.Request) -> web.Response:
    """200 while messages are being captured; 503 with the reasons when they are not."""
    archive = request.app[ARCHIVE]
    try:
        async with tenant_tx(archive.pool, archive.vault.org) as tx:
            seats = await standings(tx, archive.settings)
            unnoticed = await tx.fetchval(UNNOTICED, archive.vault.org)
    except UNREACHABLE:
        return web.json_response({"capturing": False, "reasons": ["database unreachable"]}, status=503)
    reasons = [f"{seat.user_id}: {reason}" for seat in seats for reason in seat.reasons]
    if not seats:
        reasons.append("the archiver has never been started")
    if unnoticed:
        reasons.append(f"{unnoticed} room(s) do not show the notice: 'griffier doctor' names them")
    return web.json_response({"capturing": not reasons, "reasons": reasons}, status=503 if reasons else 200)


class Gauges:
    """The metrics, collected anew at most once in a few seconds, however many ask."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._one_at_a_time = asyncio.Lock()
        self._text = b""
        self._until = 0.0

    async def text(self) -> bytes:
        """The metrics as text. Raises an error of UNREACHABLE."""
        async with self._one_at_a_time:
            if time.monotonic() >= self._until:
                async with tenant_tx(self._archive.pool, self._archive.vault.org) as tx:
                    self._text = await metrics(tx, self._archive.settings)
                self._until = time.monotonic() + REUSE
            return self._text


GAUGES = web.AppKey("gauges", Gauges)


@routes.get("/metrics")
async def numbers(request: web.Request) -> web.Response:
    """The state of the archive for Prometheus."""
    try:
        return web.Response(body=await request.app[GAUGES].text(), headers={"Content-Type": CONTENT_TYPE})
    except UNREACHABLE:
        return web.Response(status=503, text="# the archive's database is unreachable or too slow\n")
