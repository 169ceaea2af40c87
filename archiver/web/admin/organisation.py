"""The organisation: what is set for it today, and where each setting is changed; the homeserver and the archiver's seats."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from archiver.capture.standing import standings
from archiver.db import tenant_tx
from archiver.export.catalogue import N_
from archiver.ledger.audit import note
from archiver.settings import Settings
from archiver.web.admin.advice import told
from archiver.web.admin.page import page
from archiver.web.context import ARCHIVE, language

routes = web.RouteTableDef()

SEATS = """
    SELECT user_id, device_id, alive_at, seen_at, signed_at, bridges,
           (SELECT count(*) FROM room WHERE room.org = seat.org AND room.user_id = seat.user_id AND membership = 'join') AS rooms
    FROM seat WHERE org = $1 ORDER BY user_id
"""
# The connection that holds a seat. Asked as the role that signed in: another may not see where a connection comes from.
DRIVERS = """
    SELECT seat.user_id, host(activity.client_addr) AS address, activity.backend_start AS since
    FROM unnest($2::text[]) AS seat (user_id)
    JOIN pg_locks AS held ON held.locktype = 'advisory' AND held.granted AND held.objsubid = 1
        AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND ((held.classid::bigint << 32) | held.objid::bigint)
            = hashtextextended('griffier seat|' || $1::integer || '|' || seat.user_id, 0)
    JOIN pg_stat_activity AS activity ON activity.pid = held.pid
"""


@dataclass(frozen=True, slots=True)
class Setting:
    """A choice of policy that the settings hold."""

    name: str  # as config/griffier.yaml has it
    about: str  # in English, to translate
    value: object


@routes.get("/admin/organisation")
async def show(request: web.Request) -> web.StreamResponse:
    """The organisation, its settings, its homeserver and seats."""
    archive, say = request.app[ARCHIVE], language(request)
    org = archive.vault.org
    async with tenant_tx(archive.pool, org) as tx:
        await note(tx, org, request["actor"], "read organisation")
    async with tenant_tx(archive.pool, org) as tx:
        name = await tx.fetchval("SELECT name FROM organisation WHERE org = $1", org)
        seats = {row["user_id"]: row for row in await tx.fetch(SEATS, org)}
        standing = await standings(tx, archive.settings)
    drivers = {row["user_id"]: row for row in await archive.pool.fetch(DRIVERS, org, list(seats))}
    shown = [
        (seat, seats.get(seat.user_id), drivers.get(seat.user_id), [told(say, reason) for reason in seat.reasons])
        for seat in standing
    ]
    return page(
        request, "organisation.html", name=name, settings=archive.settings, policies=policies(archive.settings), seats=shown
    )  # fmt: skip


def policies(settings: Settings) -> list[Setting]:
    """What the settings decide for the organisation."""
    archiver, oidc = settings.archiver, settings.web.oidc
    return [
        Setting("archiver.scope.officials", N_("Whose rooms are archived"), archiver.scope.officials),
        Setting("archiver.scope.except_officials", N_("Whose rooms are left alone"), archiver.scope.except_officials),
        Setting("archiver.scope.kinds", N_("Which kinds of rooms are archived"), archiver.scope.kinds),
        Setting("archiver.bridges", N_("Which bridges are believed"), archiver.bridges),
        Setting("archiver.read_receipts", N_("Whether it is kept who read what, and when"), archiver.read_receipts),
        Setting("archiver.key_backup", N_("Whether room keys are kept on the homeserver too, sealed"), archiver.key_backup),
        Setting("archiver.media_max_bytes", N_("The largest file that is kept, in bytes"), archiver.media_max_bytes),
        Setting("archiver.scan_command", N_("The virus scanner"), archiver.scan_command),
        Setting("canary.every", N_("Minutes between two rounds of the canary; 0 is off"), settings.canary.every),
        Setting("web.session_idle", N_("Minutes without a request after which a session ends"), settings.web.session_idle),
        Setting("web.session_max", N_("Minutes after which a session ends in any case"), settings.web.session_max),
        Setting("web.oidc.roles", N_("Which groups of the sign-in service stand for which role"), oidc.roles),
        Setting("web.oidc.acr_values", N_("The levels of assurance that signing in asks for"), oidc.acr_values),
    ]
