"""The canary: a test pair that goes through the whole chain every few minutes, so that the archive's silence is noticed.

Each round a message, an edit of it, an encrypted file and a deletion are sent as people send them, and looked for in the archive:
there, decrypted, checked, unaltered. A role of its own, so that it never shares the fate of what it watches; beside capture it is
itself watched (`watch`).
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import aiohttp
import asyncpg
from nio.exceptions import ProtocolError

from archiver.capture.client import CaptureError
from archiver.db import Connection, Pool, tenant_tx
from archiver.ledger import alarm
from archiver.ledger.canonical import column
from archiver.ledger.files import FileStore
from archiver.ledger.sealing import SealingError, Vault
from archiver.oversight import rounds
from archiver.oversight.participant import Participant, ParticipantError
from archiver.oversight.rounds import DELETION, EDIT, FILE, MESSAGE, PARTS, Round
from archiver.reading.project import fetch
from archiver.settings import Settings, SettingsError
from archiver.stopping import or_stop, pause

log = logging.getLogger(__name__)

ROOM_NAME = "Griffier kanarie · canary"
SUBJECT = "test-pair"  # of the alarm
FILE_NAME = "kanarie.bin"
FILE_SIZE = 4096  # bytes
LOOK_EVERY = 0.1  # seconds
WATCH_EVERY = 30.0  # seconds
SEATED = "SELECT true FROM room WHERE org = $1 AND room_id = $2 AND membership = 'join'"
ADDRESS = "SELECT address FROM media WHERE org = $1 AND room_id = $2 AND event_id = $3 AND part = 'file'"
EXPECTED = (ParticipantError, CaptureError, ProtocolError, aiohttp.ClientError, OSError)
NO_DATABASE = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class Passage:
    """One round under way."""

    def __init__(self, settings: Settings, pool: Pool, vault: Vault) -> None:
        self._settings = settings
        self._pool = pool
        self._vault = vault
        self._files = FileStore(settings.files)
        self._words = {part: secrets.token_hex(8) for part in (MESSAGE, EDIT)}
        self._data = secrets.token_bytes(FILE_SIZE)
        self._started_at = datetime.now(UTC)
        self._room_id: str | None = None
        self._heard = False
        self._sent: dict[str, str] = {}  # part to event id
        self._took: dict[str, int] = {}
        self._lacking: dict[str, str] = {}
        self._problem = ""  # why what was not sent was not

    async def go(self) -> Round:
        """Send everything and look until it is there or the time is up."""
        limit = self._settings.canary.limit
        self._problem = f"the homeserver took longer than {limit:g} s"
        try:
            async with asyncio.timeout(limit):
                await self._through()
        except TimeoutError:
            log.debug("The canary's round took longer than %g s.", limit)
        except EXPECTED as error:
            self._problem = column(str(error)) or type(error).__name__
        for part in PARTS:
            if part not in self._sent:
                self._lacking[part] = f"it was not sent: {self._problem}"
            elif part not in self._took:
                self._lacking.setdefault(part, f"it was not looked for: {self._problem}")
        return Round(self._started_at, self._room_id, self._heard, self._took, self._lacking)

    async def _through(self) -> None:
        canary = self._settings.canary
        async with (
            self._participant(canary.sender, canary.sender_password.get_secret_value()) as sender,
            self._participant(canary.receiver, canary.receiver_password.get_secret_value()) as receiver,
        ):
            room_id = self._room_id = await self._room(sender, receiver)
            self._problem = "the archiver has not joined the pair's room"
            await self._wait_for_archiver(sender, room_id)
            self._problem = "the homeserver did not take it in time"
            self._sent[MESSAGE] = await sender.say(room_id, self._words[MESSAGE])
            self._heard = await receiver.hears(self._sent[MESSAGE], self._words[MESSAGE], canary.limit / 4)
            self._sent[EDIT] = await sender.say(room_id, self._words[EDIT], edit=self._sent[MESSAGE])
            self._sent[FILE] = await sender.share(room_id, FILE_NAME, self._data, "application/octet-stream")
            self._problem = "what it deletes is not in the archive"
            while len(self._took) < len(PARTS):
                await self._look(room_id)
                # Deleted sooner, the message would reach the archive without its content (DESIGN D7).
                if DELETION not in self._sent and {MESSAGE, EDIT} <= self._took.keys():
                    self._sent[DELETION] = await sender.delete(room_id, self._sent[MESSAGE])
                await asyncio.sleep(LOOK_EVERY)

    def _participant(self, user_id: str, password: str) -> Participant:
        folder = self._settings.data_dir / "canary" / user_id.partition(":")[0].removeprefix("@")
        return Participant(self._settings.homeserver.url, user_id, password, folder, "Griffier kanarie")

    async def _room(self, sender: Participant, receiver: Participant) -> str:
        """The pair's room: that of the last round, or a new one."""
        async with tenant_tx(self._pool, self._vault.org) as tx:
            known = await rounds.last_room(tx, self._vault.org)
        if known and sender.is_in(known) and receiver.is_in(known):
            return known
        return await sender.make_room(ROOM_NAME, [receiver])

    async def _wait_for_archiver(self, sender: Participant, room_id: str) -> None:
        """Until the archiver is in the room, by the guard or on invitation: before that, nobody gives it the room's key."""
        archiver = self._settings.archiver
        if not sender.members(room_id) & {archiver.user_id, *archiver.together_with}:
            await sender.invite(room_id, archiver.user_id)
        while True:
            async with tenant_tx(self._pool, self._vault.org) as tx:
                if await tx.fetchval(SEATED, self._vault.org, room_id):
                    break
            await asyncio.sleep(LOOK_EVERY)

    async def _look(self, room_id: str) -> None:
        """See which of the parts have arrived, and why the others have not."""
        pending = {part: event_id for part, event_id in self._sent.items() if part not in self._took}
        async with tenant_tx(self._pool, self._vault.org) as tx:
            seen = await rounds.look(tx, self._vault.org, room_id, pending)
            for part, event_id in pending.items():
                why = rounds.lacks(part, seen.get(part)) or await self._altered(tx, part, room_id, event_id)
                if why is None:
                    self._took[part] = seen[part].milliseconds
                    self._lacking.pop(part, None)
                else:
                    self._lacking[part] = column(why)

    async def _altered(self, tx: Connection, part: str, room_id: str, event_id: str) -> str | None:
        """What is wrong with what the archive opens, when it is not what was sent."""
        try:
            [record] = await fetch(tx, self._vault, [(room_id, event_id)])
            if part == FILE:
                address = await tx.fetchval(ADDRESS, self._vault.org, room_id, event_id)
                same = await self._files.read(self._vault, tx, room_id, address) == self._data
            elif part == DELETION:
                same = record.relates_to == self._sent[MESSAGE]
            else:
                said = record.content.get("m.new_content") if part == EDIT else record.content
                same = isinstance(said, dict) and said.get("body") == self._words[part]
        except SealingError as error:
            return str(error)
        return None if same else "it is not what was sent"


def require(settings: Settings) -> None:
    """Raise SettingsError unless there is a test pair."""
    canary = settings.canary
    if not (canary.sender and canary.sender_password.get_secret_value()):
        raise SettingsError("The canary has no sender. Set canary.sender and canary.sender_password (or sender_password_file).")
    if not (canary.receiver and canary.receiver_password.get_secret_value()):
        raise SettingsError("The canary has no receiver. Set canary.receiver and canary.receiver_password.")
    if canary.sender == canary.receiver:
        raise SettingsError("The canary's sender and receiver are one account; it takes two.")


async def once(settings: Settings, pool: Pool, vault: Vault) -> Round:
    """One round, noted, with its alarm raised or ended. Raises an error of the database when it can't be noted."""
    async with _alone(settings.data_dir / "canary"):
        done = await Passage(settings, pool, vault).go()
    async with tenant_tx(pool, vault.org) as tx:
        await rounds.keep(tx, vault.org, done)
        if done.complete:
            await alarm.clear(tx, vault.org, SUBJECT, alarm.CANARY)
        else:
            why = "; ".join(f"{part}: {reason}" for part, reason in done.lacking.items())
            await alarm.sound(tx, vault.org, alarm.CANARY, SUBJECT, f"the round of {done.started_at:%H:%M:%S %Z} lacks {why}")
    return done


async def run(settings: Settings, pool: Pool, vault: Vault, stop: asyncio.Event, tell: Callable[[Round], None]) -> None:
    """Rounds until told to stop; `tell` is told of each. A round that can't be noted is followed by the next one."""
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        began = loop.time()
        try:
            done = await or_stop(once(settings, pool, vault), stop)
            if done is None:
                return
            tell(done)
        except NO_DATABASE as error:
            log.error("The canary's round could not be noted: %s", str(error) or type(error).__name__)  # noqa: TRY400
        await pause(stop, settings.canary.every * 60 - (loop.time() - began))


async def watch(settings: Settings, pool: Pool, vault: Vault, stop: asyncio.Event) -> None:
    """Raise the alarm when rounds stop coming; end an old one where the canary is off. Runs beside capture until told to stop."""
    since = datetime.now(UTC)
    while not stop.is_set():
        async with tenant_tx(pool, vault.org) as tx:
            await notice_absence(tx, settings, since, datetime.now(UTC))
        if not settings.canary.every:
            return
        await pause(stop, min(WATCH_EVERY, settings.canary.every * 60))


async def notice_absence(tx: Connection, settings: Settings, since: datetime, now: datetime) -> None:
    """Raise the alarm when no round has come for too long. `since` counts where there has never been one."""
    org, every = settings.organisation.id, settings.canary.every
    if not every:
        await alarm.clear(tx, org, SUBJECT, alarm.CANARY)
        return
    ended_at = await rounds.last_end(tx, org) or since
    if rounds.is_overdue(ended_at, every, now):
        told = f"no round has come since {ended_at:%Y-%m-%d %H:%M %Z}; is 'griffier canary' running?"
        await alarm.sound(tx, org, alarm.CANARY, SUBJECT, told)


@asynccontextmanager
async def _alone(folder: Path) -> AsyncIterator[None]:
    """The pair's devices for this round only: two processes with one device would spoil each other's Olm sessions."""
    with _lock_file(folder) as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(LOOK_EVERY)
        yield


def _lock_file(folder: Path) -> TextIO:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    return (folder / "lock").open("w")
