"""The archiver as a running thing: `griffier archive`."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from functools import partial

import asyncpg

from archiver.capture import joining
from archiver.capture import seat as seats
from archiver.capture.client import CaptureError, Homeserver, HomeserverUnreachable, homeserver, path
from archiver.capture.commit import Committer
from archiver.capture.gaps import Gaps
from archiver.capture.history import History
from archiver.capture.key_backup import KeyBackup
from archiver.capture.media import Fetcher
from archiver.capture.megolm import Megolm
from archiver.capture.mending import Mender
from archiver.capture.notice import Notices
from archiver.capture.page import parse
from archiver.capture.scanning import Scanner
from archiver.capture.seat import Seat
from archiver.capture.seating import Seating
from archiver.capture.server_keys import ServerKeys
from archiver.capture.signatures import Signatures
from archiver.db import Pool, connect, require_current, tenant_tx
from archiver.ledger.canonical import HostileJson, JsonObject
from archiver.ledger.files import FileStore
from archiver.ledger.sealing import FileKey, Vault
from archiver.settings import Archiver, Settings
from archiver.stopping import or_stop, pause

log = logging.getLogger(__name__)

Beside = Callable[[asyncio.Event], Awaitable[None]]
Alongside = Callable[[Pool, Vault, asyncio.Event], Awaitable[None]]
DATABASE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError)
EXPECTED = (CaptureError, *DATABASE)
STOP_GRACE = 2.0  # seconds
SWITCH = 0.0005  # seconds after which a thread that decrypts a file gives way to the live stream
GARBAGE = 10_000  # objects made and still there before cycles are looked for: nearly all that comes goes without that
FULL_POOL = 0.5  # of the one-time keys the server should hold: below it, new ones are published


async def run(settings: Settings, alongside: Alongside, stop: asyncio.Event | None = None) -> None:
    """Capture until `stop` is set. `alongside` runs beside it on the same pool: what keeps the reading view up to date.

    Whatever fails, the device's state in memory is thrown away and read again from the database, which holds it exactly as of the
    last committed batch. Raises SettingsError, DatabaseError, SealingError when it can't even start.
    """
    stop = stop or asyncio.Event()
    sys.setswitchinterval(SWITCH)
    gc.freeze()  # what is there by now stays: to look through it again and again took a fifth of the time of a catch-up
    gc.set_threshold(GARBAGE)
    url = settings.database.url.get_secret_value()
    async with connect(url, settings.database.pool_size) as pool:
        await require_current(pool)
        async with tenant_tx(pool, settings.organisation.id) as tx:
            vault = await Vault.open(tx, settings.organisation.id, FileKey.load(settings.keys))
        reading = asyncio.create_task(_again("the reading view", lambda: alongside(pool, vault, stop), stop))
        try:
            await _again("capture", lambda: _capture(settings, pool, vault, stop), stop)
        finally:
            stop.set()
            await asyncio.wait([reading], timeout=5)
            reading.cancel()


async def _again(what: str, work: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """Run `work`, and again after a failure, a little later each time, until told to stop."""
    delay = 0.5
    while not stop.is_set():
        began = asyncio.get_running_loop().time()
        try:
            await _until(work, stop)
        except Exception as error:
            for cause in _leaves(error):
                expected = isinstance(cause, EXPECTED)
                reason = (str(cause) if expected else "") or type(cause).__name__
                log.log(logging.ERROR, "%s stopped: %s", what, reason, exc_info=None if expected else cause)
        if asyncio.get_running_loop().time() - began > 30:
            delay = 0.5
        if not stop.is_set():
            await pause(stop, delay)
            delay = min(delay * 2, 30)


async def _until(work: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """Run `work`; when told to stop, leave it a moment to finish what it is committing, then cancel it."""
    running, stopped = asyncio.ensure_future(work()), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            await asyncio.wait({running}, timeout=STOP_GRACE)
    finally:
        stopped.cancel()
        if not running.done():
            running.cancel()
            await asyncio.wait({running})
    if not running.cancelled():
        running.result()


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in _leaves(part)]
    return [error]


async def _capture(settings: Settings, pool: Pool, vault: Vault, stop: asyncio.Event) -> None:
    url = settings.database.url.get_secret_value()
    async with (
        homeserver(settings.homeserver.url, settings.homeserver.timeout) as server,
        seats.held(url, vault, settings.archiver.user_id, stop) as seat,
    ):
        if seat is None:
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                beating = tasks.create_task(seat.beat(pool))  # from the first moment: a long start is no frozen process
                await seat.prepare(server, settings.archiver)
                keys = ServerKeys(server, settings.homeserver.server_name or settings.archiver.user_id.partition(":")[2])
                async with tenant_tx(pool, vault.org) as tx:
                    await keys.load(tx, vault.org)
                megolm = Megolm(vault.org, seat.user_id, seat.secrets.pickle_key, settings.archiver.megolm_cache)
                committer = Committer(seat, megolm, keys, server, settings.archiver.bridges)
                admin_token = settings.homeserver.admin_token.get_secret_value()
                files, limit = FileStore(settings.files), settings.archiver.media_max_bytes
                scanner = settings.archiver.scan_command
                archivers = tuple(sorted({seat.user_id, *settings.archiver.together_with}))
                beside: dict[str, Beside] = {
                    "fetching files": Fetcher(pool, vault, server, seat.user_id, files, limit, scanned=bool(scanner)).run,
                    "scanning files": Scanner(pool, vault, seat.user_id, files, scanner, settings.archiver.scan_timeout).run,
                    "fetching history": History(pool, server, committer, settings.archiver.history_pause).run,
                    "looking for what is missing": Gaps(pool, server, committer, admin_token).run,
                    "looking for rooms": Seating(
                        server, seat, admin_token, settings.archiver.scope, archivers, settings.archiver.bridges
                    ).run,
                    "joining rooms": partial(joining.run, server, seat),
                    "mending sessions": Mender(pool, server, committer).run,
                    "checking signatures again": Signatures(pool, vault, keys).run,
                    "posting notices": Notices(pool, server, seat, settings.organisation.name).run,
                }
                if settings.archiver.key_backup:
                    beside["backing up room keys"] = KeyBackup(pool, server, seat).run
                work = [tasks.create_task(_beside(what, run, stop)) for what, run in beside.items()]
                log.info(
                    "Capturing as %s, device %s (%s).", seat.user_id, seat.device_id, "signed" if seat.signed else "NOT SIGNED"
                )
                await _sync(settings, server, seat, committer, stop)
                for task in (beating, *work):
                    task.cancel()
        finally:
            await asyncio.shield(_say_stopped(seat))


async def _beside(what: str, work: Beside, stop: asyncio.Event) -> None:
    """Run what goes on beside the live stream, and again after a failure: whatever befalls it, messages are captured.

    Only trouble with the database ends everything: what the seat holds in memory is then read again as it was committed.
    """
    delay = 1.0
    while not stop.is_set():
        try:
            await work(stop)
        except Exception as error:
            causes = _leaves(error)
            if any(isinstance(cause, DATABASE) for cause in causes):
                raise
            for cause in causes:
                expected = isinstance(cause, EXPECTED)
                reason = (str(cause) if expected else "") or type(cause).__name__
                log.log(logging.ERROR, "%s stopped: %s", what.capitalize(), reason, exc_info=None if expected else cause)
        else:
            return
        await pause(stop, delay)
        delay = min(delay * 2, 60)


async def _sync(settings: Settings, server: Homeserver, seat: Seat, committer: Committer, stop: asyncio.Event) -> None:
    """The live stream: the next page is asked for only when this one is committed (promise 1)."""
    wait = 0.0  # the first answer comes at once, so that a restarted archiver does not stay "not capturing" in a quiet hour
    while not stop.is_set():
        answer = await or_stop(_ask(settings, server, seat, wait), stop)
        if answer is None:
            return
        try:
            page = parse(answer)
        except HostileJson as error:
            raise HomeserverUnreachable(f"The homeserver's answer to a sync can't be used: {error}") from None
        wait = settings.archiver.sync_wait
        added = await committer.sync(page)
        if added:
            log.debug("Committed %d new events.", added)
        if seat.must_sign(page.changed_devices):
            await seat.cross_sign(server, settings.archiver)
        olm = seat.olm
        few = olm.uploaded_key_count is not None and olm.uploaded_key_count < olm.account.max_one_time_keys * FULL_POOL
        if few or page.needs_fallback_key:
            await seat.publish_keys(server, fallback=page.needs_fallback_key)


async def _ask(settings: Settings, server: Homeserver, seat: Seat, wait: float) -> JsonObject:
    query = {
        "filter": sync_filter(settings.archiver),
        "timeout": str(int(wait * 1000)),
        "set_presence": "offline",
    }
    if seat.sync_token:
        query["since"] = seat.sync_token
    return await server.call("GET", path("v3", "sync"), query=query, wait=wait)


def sync_filter(settings: Archiver) -> str:
    """What the server is asked for: the signed events themselves (D5), whole: every state event, every member.

    Read receipts only if they are to be kept; nothing else of what passes by (who types, who is online).
    """
    nothing = {"not_types": ["*"]}
    room = {
        "timeline": {"limit": settings.timeline_limit},
        "state": {"lazy_load_members": False},
        "ephemeral": {"types": ["m.receipt"]} if settings.read_receipts else nothing,
        "account_data": nothing,
        "include_leave": True,
    }
    told = {"event_format": "federation", "presence": nothing, "account_data": nothing, "room": room}
    return json.dumps(told, separators=(",", ":"))


async def _say_stopped(seat: Seat) -> None:
    try:
        await seat.stopped("stopped")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        log.warning("The database can't be told that capture has stopped; readiness goes by the age of the last sync.")
