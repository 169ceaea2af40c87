"""What is wrong with capture, and what to do about it: `griffier doctor`. Looks only; changes nothing."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import aiohttp

from archiver.capture import cross_signing
from archiver.capture.client import CaptureError, Homeserver, MatrixError, homeserver, path
from archiver.capture.seat import Secrets
from archiver.capture.standing import Standing, standings
from archiver.db import Pool, tenant_tx
from archiver.ledger import alarm
from archiver.ledger.sealing import Vault
from archiver.settings import Settings

ENOUGH_SPACE = 1_000_000_000  # bytes
MAX_SKEW = 30.0  # seconds between our clock and the homeserver's
SECRETS = "SELECT sealed_secrets FROM seat WHERE org = $1 AND user_id = $2"
UNNOTICED = """
    SELECT room_id FROM room WHERE org = $1 AND membership = 'join' AND notice_seen_at IS NULL ORDER BY first_seen_at LIMIT 10
"""
WRITABLE = "SELECT NOT pg_is_in_recovery() AND current_setting('default_transaction_read_only') = 'off'"
COUNTS = """
    SELECT (SELECT count(*) FROM gap WHERE state <> 'filled' AND cause IS DISTINCT FROM 'not-visible') AS missing,
           (SELECT count(*) FROM stretch WHERE failed IS NOT NULL) AS refused,
           (SELECT count(*) FROM record WHERE unreadable IS NOT NULL AND unreadable <> 'redacted') AS unreadable,
           (SELECT count(*) FROM media WHERE state = 'failed' AND problem IS DISTINCT FROM 'too-large') AS files,
           (SELECT count(*) FROM media WHERE scan = 'waiting' AND scan_attempts > 3) AS unscanned
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    problem: str = ""  # empty when all is well
    advice: str = ""


async def examine(settings: Settings, pool: Pool, vault: Vault) -> AsyncIterator[Finding]:
    """Look at everything that capture needs, one thing at a time."""
    yield await _store(pool)
    yield _space(settings)
    async with tenant_tx(pool, vault.org) as tx:
        seats = await standings(tx, settings)
        unnoticed = [row["room_id"] for row in await tx.fetch(UNNOTICED, vault.org)]
        counts = dict(await tx.fetchrow(COUNTS))
        alarms = await alarm.sounding(tx, vault.org)
    if not seats:
        yield Finding("capture", "no archiver was ever started", "Start 'griffier archive' and look at what it says.")
    for seat in seats:
        state = "" if seat.capturing else seat.state
        yield Finding(f"capture as {seat.user_id}", state, "Start 'griffier archive', or look in its log.")
    if settings.homeserver.url:
        try:
            async with homeserver(settings.homeserver.url, settings.homeserver.timeout) as server:
                yield await _clock(settings)
                for seat in (seat for seat in seats if seat.device_id):
                    if not settings.archiver.user_id or _server(seat.user_id) == _server(settings.archiver.user_id):
                        yield await _device(server, settings, pool, vault, seat)
                        yield await _profiles(settings, server, seat.user_id)
        except CaptureError as error:
            yield Finding("the homeserver", str(error), "See that Synapse runs, and that homeserver.url is right.")
    else:
        yield Finding("the homeserver", "it was not looked at", "Give the configuration with --config, or set homeserver.url.")
    elsewhere = sorted(
        seat.user_id
        for seat in seats
        if settings.archiver.user_id and _server(seat.user_id) != _server(settings.archiver.user_id)
    )
    if elsewhere:
        yield Finding(
            "devices on other homeservers", f"{', '.join(elsewhere)} were not looked at", "Run doctor with their settings too."
        )
    yield Finding(
        "the notice in every room",
        f"it is not confirmed in {', '.join(unnoticed)}" if unnoticed else "",
        "The archiver needs the level that a message takes there; its log says what was refused.",
    )
    advice = {
        "missing": (
            "events that others point at and that are missing",
            "Set homeserver.admin_token; 'griffier rooms --json' tells where.",
        ),
        "refused": ("stretches of history that the homeserver refuses", "The log of 'griffier archive' tells why."),
        "unreadable": ("messages that can't be read yet", "Their senders' clients must share the key; each shows its reason."),
        "files": ("files that could not be fetched", "The log of 'griffier archive' tells why; they are not tried again."),
        "unscanned": ("files that the virus scanner could not judge", "Try archiver.scan_command by hand, as the same user."),
    }
    for name, (what, then) in advice.items():
        yield Finding(what, f"there are {counts[name]}" if counts[name] else "", then)
    for each in alarms:
        yield Finding(f"alarm {each['kind']}", f"{each['subject']}: {each['detail']}", "It ends by itself when it is over.")


async def _store(pool: Pool) -> Finding:
    async with pool.acquire() as connection:
        writable = await connection.fetchval(WRITABLE)
    return Finding("the database", "" if writable else "it takes no writes", "It is a standby or read-only: check database.url.")


def _space(settings: Settings) -> Finding:
    folder = settings.files
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    problem = f"{folder} can't be written to" if not os.access(folder, os.W_OK) else ""
    if not problem and free < ENOUGH_SPACE:
        problem = f"{folder} has {free // 1_000_000} MB left"
    return Finding("the folder of files", problem, "Make room, or set files_dir.")


async def _clock(settings: Settings) -> Finding:
    """Whether our clock agrees with the homeserver's."""
    url = settings.homeserver.url.rstrip("/") + "/_matrix/client/versions"
    try:
        async with aiohttp.ClientSession() as http, http.get(url, timeout=aiohttp.ClientTimeout(total=10)) as answer:
            told = answer.headers.get("Date")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise CaptureError(f"{url} does not answer ({type(error).__name__})") from None
    skew = abs(parsedate_to_datetime(told).timestamp() - time.time()) if told else 0.0
    return Finding("the clock", f"it differs {skew:.0f} s from the homeserver's" if skew > MAX_SKEW else "", "Set both by NTP.")


def _server(user_id: str) -> str:
    return user_id.partition(":")[2]


async def _device(server: Homeserver, settings: Settings, pool: Pool, vault: Vault, seat: Standing) -> Finding:
    """Whether the homeserver shows others our device as signed: without that, strict clients give it no keys."""
    user_id, device_id = seat.user_id, seat.device_id or ""
    async with tenant_tx(pool, vault.org) as tx:
        sealed = await tx.fetchval(SECRETS, vault.org, user_id)
    server.token = Secrets.read(vault.unwrap(sealed, f"seat|{user_id}")).access_token
    if settings.archiver.as_token.get_secret_value():
        server.identity = {"user_id": user_id, "device_id": device_id}
    signed = cross_signing.is_signed(await cross_signing.query(server, user_id), user_id, device_id)
    problem = "" if signed else f"the homeserver does not show {device_id} of {user_id} as cross-signed"
    return Finding(
        f"the device of {user_id}", problem, "It is signed anew every minute; the log of 'griffier archive' tells why that fails."
    )


async def _profiles(settings: Settings, server: Homeserver, user_id: str) -> Finding:
    """Whether profiles, which are contacts' names, are for whoever shares a room with their owners only (Synapse's settings)."""
    problem = ""
    async with homeserver(settings.homeserver.url, settings.homeserver.timeout) as stranger:
        if await _answer(stranger, user_id) not in (401, 403):
            problem = "it shows profiles to whoever is not signed in: set require_auth_for_profile_requests"
    # Somebody who is nowhere shares no room with us.
    if not problem and await _answer(server, f"@griffier-nobody-{secrets.token_hex(8)}:{_server(user_id)}") != 403:
        problem = "it shows profiles to all its users: set limit_profile_requests_to_users_who_share_rooms"
    return Finding("the homeserver's profiles", problem, "Set it to true in homeserver.yaml: contacts' names are nobody else's.")


async def _answer(server: Homeserver, user_id: str) -> int:
    """The status of a request for somebody's display name."""
    try:
        await server.call("GET", path("v3", "profile", user_id, "displayname"))
    except MatrixError as error:
        return error.status
    return 200
