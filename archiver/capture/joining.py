"""Rooms joined on invitation, or where a room goes on after an upgrade.

What is to be joined is committed with the page that tells of it, and forgotten once it is joined: a homeserver tells it once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from archiver.capture.client import Homeserver, HomeserverUnreachable, MatrixError, path
from archiver.capture.seat import Seat
from archiver.db import Connection
from archiver.ledger import alarm
from archiver.stopping import pause

log = logging.getLogger(__name__)

KEEP = """
    INSERT INTO invitation (org, user_id, room_id, via) SELECT DISTINCT ON (i.room_id) $1::integer, $2::text, i.*
    FROM unnest($3::text[], $4::text[]) AS i (room_id, via)
    ON CONFLICT (org, user_id, room_id) DO UPDATE SET via = excluded.via, attempts = 0, due_at = now()
"""
DUE = "SELECT room_id, via, attempts FROM invitation WHERE org = $1 AND user_id = $2 AND due_at <= now() ORDER BY due_at"
LATER = """
    UPDATE invitation SET attempts = attempts + 1, due_at = now() + make_interval(secs => $4)
    WHERE org = $1 AND user_id = $2 AND room_id = $3
"""
DONE = "DELETE FROM invitation WHERE org = $1 AND user_id = $2 AND room_id = $3"
REFUSED = frozenset({400, 403, 404})  # the invitation is gone, or the room is: another one would be told anew
MAX_WAIT = 600.0  # seconds
PATIENCE = 90.0  # seconds for one room: the next one waits


async def keep(tx: Connection, org: int, user_id: str, rooms: Iterable[tuple[str, str]]) -> None:
    """Note the (room id, server to ask) to be joined, in the transaction of the page that tells of them."""
    told = list(rooms)
    if told:
        await tx.execute(KEEP, org, user_id, *zip(*told, strict=True))


async def run(server: Homeserver, seat: Seat, stop: asyncio.Event) -> None:
    """Join until told to stop: beside the live stream, which no slow server or limit on joins may hold up."""
    while not stop.is_set():
        await join_due(server, seat)
        await pause(stop, 0.2)


async def join_due(server: Homeserver, seat: Seat) -> None:
    """Join what is to be joined now; what can't be joined is an alarm, and what can't be joined yet is tried again later."""
    async with seat.tx() as tx:
        due = await tx.fetch(DUE, seat.org, seat.user_id)
    for row in due:
        place = seat.org, seat.user_id, row["room_id"]
        query = {"server_name": row["via"], "via": row["via"]} if row["via"] else None
        try:
            async with asyncio.timeout(PATIENCE):
                await server.call("POST", path("v3", "join", row["room_id"]), {}, query)
        except (MatrixError, HomeserverUnreachable, TimeoutError) as error:
            log.warning("The archiver can't join %s: %s", row["room_id"], error)
            refused = isinstance(error, MatrixError) and error.status in REFUSED
            async with seat.tx() as tx:
                if refused:
                    await alarm.sound(tx, seat.org, alarm.CANT_JOIN, row["room_id"], str(error))
                    await tx.execute(DONE, *place)
                else:
                    await tx.execute(LATER, *place, min(MAX_WAIT, 2.0 ** min(row["attempts"], 20)))
            continue
        log.info("Joined %s.", row["room_id"])
        async with seat.tx() as tx:
            await tx.execute(DONE, *place)
