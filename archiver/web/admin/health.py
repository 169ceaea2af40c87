"""Whether everything is captured, and for each thing that is wrong what to do about it. Nothing of what is said."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from archiver.capture.doctor import Finding, examine
from archiver.capture.standing import standings, whole
from archiver.db import tenant_tx
from archiver.ledger.alarm import sounding
from archiver.oversight import rounds
from archiver.reading.interruption import interruptions
from archiver.web.admin import advice
from archiver.web.admin.bridge import BridgeError, NotSet, bridge
from archiver.web.admin.page import page
from archiver.web.context import ARCHIVE, language

routes = web.RouteTableDef()

PATIENCE = 4.0  # seconds that looking at the homeserver and the bridge may take
# By room: how much is missing or still looked for, and why. What was before the archiver's time is not missing.
GAPS = """
    SELECT room_id, count(*) AS gaps, count(*) FILTER (WHERE state <> 'kept') AS searching, min(found_at) AS since,
           array_agg(DISTINCT cause) FILTER (WHERE state = 'kept') AS causes
    FROM gap WHERE org = $1 AND state <> 'filled' AND cause IS DISTINCT FROM 'not-visible'
    GROUP BY room_id ORDER BY count(*) DESC, room_id LIMIT 51
"""


@routes.get("/health")
async def health(request: web.Request) -> web.StreamResponse:
    """All conditions, the gravest first."""
    archive, say = request.app[ARCHIVE], language(request)
    org = archive.vault.org
    async with tenant_tx(archive.pool, org) as tx:
        seats = await standings(tx, archive.settings)
        alarms = {f"alarm {each['kind']}": each["raised_at"] for each in await sounding(tx, org)}
        gaps = await tx.fetch(GAPS, org)
        broken = [each for each in await interruptions(tx, org) if each.until_at is None]
        canary = await rounds.summary(tx, org)
    findings, there = await asyncio.gather(_findings(request), _bridge(request))
    shown = [
        (advice.told(say, each.what), advice.problem(say, each.problem), advice.to_do(say, each.what, each.advice),
         alarms.get(each.what))
        for each in findings if each.problem
    ]  # fmt: skip
    return page(
        request, "health.html", seats=seats, capturing=whole(seats), findings=shown, looked=len(findings), gaps=gaps,
        broken=broken, canary=canary, every=archive.settings.canary.every, now=datetime.now(UTC), bridge=there,
    )  # fmt: skip


async def _findings(request: web.Request) -> list[Finding]:
    """What `griffier doctor` finds; a homeserver that does not answer does not hold up the page."""
    archive, found = request.app[ARCHIVE], []
    try:
        async with asyncio.timeout(PATIENCE):
            async for finding in examine(archive.settings, archive.pool, archive.vault):
                found.append(finding)  # noqa: PERF401 - what was found before the time was up counts
    except TimeoutError:
        found.append(
            Finding("the homeserver", "it took too long", "See that Synapse runs, and that homeserver.url is right.")
        )  # fmt: skip
    return found


async def _bridge(request: web.Request) -> Any:
    """How the bridge is, or why that can't be said; None where there is none."""
    try:
        async with asyncio.timeout(PATIENCE), bridge(request.app[ARCHIVE].settings.web.bridge, request["actor"]) as there:
            return await there.health()
    except NotSet:
        return None
    except (BridgeError, TimeoutError) as error:
        return str(error) or "it does not answer in time"
