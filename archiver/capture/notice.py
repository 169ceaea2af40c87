"""The notice in every room: that it is archived, by whom (promise 6), and that the server itself shows it (promise 8)."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Sequence
from typing import Any

from archiver.capture import devices
from archiver.capture.client import CaptureError, Homeserver, MatrixError, path
from archiver.capture.seat import Seat
from archiver.db import Connection, Pool, tenant_tx
from archiver.ledger import alarm
from archiver.ledger.canonical import JsonObject, column
from archiver.stopping import pause

log = logging.getLogger(__name__)

MARK = "nl.griffier.notice"
# A room that is being made gets its encryption a moment after its first members; a notice must not overtake it.
SETTLE = 1.5
DUE = f"""
    SELECT room_id, notice_event_id, notices_lost FROM room
    WHERE org = $1 AND user_id = $2 AND membership = 'join' AND notice_seen_at IS NULL
      AND first_seen_at < now() - interval '{SETTLE} seconds' AND room_id <> ALL($3)
    ORDER BY first_seen_at LIMIT 20
"""  # noqa: S608 - a constant only
SENT = "UPDATE room SET notice_event_id = $3 WHERE org = $1 AND room_id = $2"
SEEN = "UPDATE room SET notice_seen_at = now() WHERE org = $1 AND room_id = $2"
# A notice that somebody deleted is no notice any more: it is posted anew.
LOST = """
    UPDATE room SET notice_event_id = NULL, notice_seen_at = NULL, notices_lost = notices_lost + 1
    WHERE org = $1 AND (room_id, notice_event_id) IN (SELECT * FROM unnest($2::text[], $3::text[])) RETURNING room_id
"""
GONE = "UPDATE room SET membership = 'leave', membership_why = $3 WHERE org = $1 AND room_id = $2"


def text(organisation: str) -> tuple[str, str]:
    """The notice as plain text and as HTML, Dutch first."""
    dutch = (
        f"Dit gesprek wordt gearchiveerd door {organisation}. Alles wat hier wordt gezegd, ook wat wordt bewerkt of verwijderd, "
        "wordt bewaard volgens de Archiefwet. Privé- en partijpolitieke berichten kunt u laten uitzonderen."
    )
    english = (
        f"This conversation is archived by {organisation}. Everything said here, edited and deleted messages included, "
        "is kept under the Dutch Public Records Act. You may have private and party-political messages excepted."
    )
    from html import escape

    return f"{dutch}\n\n{english}", f"<p>{escape(dutch)}</p><p lang='en'><em>{escape(english)}</em></p>"


async def note_deleted(tx: Connection, org: int, deleted: Sequence[tuple[str, str]]) -> None:
    """Have the notice posted anew where it is among these deleted (room id, event id)."""
    if deleted:
        for row in await tx.fetch(LOST, org, *zip(*deleted, strict=True)):
            log.warning("The notice in %s was deleted; it is posted anew.", row["room_id"])


class Notices:
    """Posts the notice in rooms that lack it, encrypted where the room is, and looks whether it arrived."""

    def __init__(self, pool: Pool, server: Homeserver, seat: Seat, organisation: str) -> None:
        self._pool = pool
        self._server = server
        self._seat = seat
        self._organisation = organisation
        self._later: dict[str, float] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Post until told to stop; a room in which posting fails is tried again after a while."""
        while not stop.is_set():
            now = asyncio.get_running_loop().time()
            waiting = [room_id for room_id, until in self._later.items() if until > now]  # they keep nobody else waiting
            async with tenant_tx(self._pool, self._seat.org) as tx:
                rows = await tx.fetch(DUE, self._seat.org, self._seat.user_id, waiting)
            for row in rows:
                await self._try(row["room_id"], row["notice_event_id"], row["notices_lost"], now)
            await pause(stop, 0.5)

    async def _try(self, room_id: str, event_id: str | None, lost: int, now: float) -> None:
        try:
            if event_id is None:
                event_id = await self._post(room_id, lost)
                await self._write(SENT, room_id, event_id)
            shown = await self._server.call("GET", path("v3", "rooms", room_id, "event", event_id))
            if shown.get("sender") == self._seat.user_id and shown.get("content"):
                await self._write(SEEN, room_id)
                async with tenant_tx(self._pool, self._seat.org) as tx:
                    await alarm.clear(tx, self._seat.org, room_id, alarm.NO_NOTICE)
                self._later.pop(room_id, None)
        except MatrixError as error:
            self._later[room_id] = now + 5
            if error.status in (403, 404) and not await self._is_member(room_id):
                log.warning("No notice in %s: the room is gone or the archiver was removed from it (%s).", room_id, error)
                await self._write(GONE, room_id, column(str(error)))
                return
            log.warning("The notice in %s was refused: %s", room_id, error)
            async with tenant_tx(self._pool, self._seat.org) as tx:
                await alarm.sound(tx, self._seat.org, alarm.NO_NOTICE, room_id, str(error))
        except CaptureError as error:
            log.warning("The notice in %s can't be posted yet: %s", room_id, error)
            self._later[room_id] = now + 10

    async def _is_member(self, room_id: str) -> bool:
        where = path("v3", "rooms", room_id, "state", "m.room.member", self._seat.user_id)
        try:
            return (await self._server.call("GET", where)).get("membership") == "join"
        except MatrixError as error:
            if error.status == 429 or error.status >= 500:
                raise
            return False

    async def _write(self, statement: str, room_id: str, *values: str) -> None:
        async with tenant_tx(self._pool, self._seat.org) as tx:
            await tx.execute(statement, self._seat.org, room_id, *values)

    async def _post(self, room_id: str, lost: int) -> str:
        body, html = text(self._organisation)
        content: JsonObject = {
            "msgtype": "m.notice",
            "body": body,
            "format": "org.matrix.custom.html",
            "formatted_body": html,
            MARK: True,
        }
        kind = "m.room.message"
        if await self._is_encrypted(room_id):
            kind, content = "m.room.encrypted", await self._encrypt(room_id, kind, content)
        # The same transaction id after a crash: the server answers with the notice that is there already.
        txn = "griffier-notice-" + hashlib.sha256(f"{room_id}|{lost}".encode()).hexdigest()[:16]
        answer = await self._server.call("PUT", path("v3", "rooms", room_id, "send", kind, txn), content)
        return str(answer["event_id"])

    async def _is_encrypted(self, room_id: str) -> bool:
        try:
            await self._server.call("GET", path("v3", "rooms", room_id, "state", "m.room.encryption", ""))
        except MatrixError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def _encrypt(self, room_id: str, kind: str, content: JsonObject) -> JsonObject:
        """Encrypt for every device of every member; the ratchets are stored before anything is sent."""
        answer = await self._server.call("GET", path("v3", "rooms", room_id, "joined_members"))
        members = sorted(set(answer.get("joined", {})) - {self._seat.user_id})
        seat, olm = self._seat, self._seat.olm
        if members:
            await devices.query(self._server, seat, members)
            if missing := olm.get_missing_sessions(members):
                await devices.claim(self._server, seat, missing)
        olm.create_outbound_group_session(room_id)
        for sharing_with, body in olm.share_group_session_parallel(room_id, members, ignore_unverified_devices=True):
            async with seat.tx() as tx:
                await seat.keys.flush(tx)
            txn = f"griffier-key-{olm.outbound_group_sessions[room_id].id[:20]}-{len(sharing_with)}-{id(body):x}"
            await self._server.call("PUT", path("v3", "sendToDevice", "m.room.encrypted", txn), body)
            olm.outbound_group_sessions[room_id].users_shared_with |= sharing_with
        session = olm.outbound_group_sessions.pop(room_id)
        session.mark_as_shared()
        olm.outbound_group_sessions[room_id] = session
        encrypted: dict[str, Any] = olm.group_encrypt(room_id, {"type": kind, "content": content})
        async with seat.tx() as tx:
            await seat.keys.flush(tx)  # our own Megolm session: the archive must be able to read the notice too
        del olm.outbound_group_sessions[room_id]
        return encrypted
