"""What goes wrong between two devices, put right: broken Olm sessions, keys that did not come, devices not yet known.

Source: Matrix specification, client-server API, "Recovering from undecryptable messages", `m.room_key_request`.
"""

from __future__ import annotations

import asyncio
import logging
import secrets

from archiver.capture import devices
from archiver.capture.client import CaptureError, Homeserver, path
from archiver.capture.commit import Committer
from archiver.capture.keystore import NewSession
from archiver.capture.megolm import ALGORITHM
from archiver.db import Pool, tenant_tx
from archiver.ledger.canonical import JsonObject, column
from archiver.stopping import pause

log = logging.getLogger(__name__)

AGAIN = 3600.0  # seconds before a session with the same device is made anew once more, as the specification asks
MAX_REMEMBERED = 10_000
KEEP_DEVICE = """
    INSERT INTO sender_device (org, user_id, curve25519, ed25519, device_id, master_key, cross_signed)
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING
"""
UNKNOWN = """
    SELECT DISTINCT giver, sender_key FROM megolm_session AS m
    WHERE m.org = $1 AND m.user_id = $2 AND giver IS NOT NULL AND giver <> $2
      AND NOT EXISTS (SELECT FROM sender_device AS d WHERE d.org = m.org AND d.user_id = giver AND d.curve25519 = sender_key)
"""
# After ten seconds, a minute, ten minutes, an hour, ten hours: then the sender's device has it no longer, or never had.
WAITS = (10.0, 60.0, 600.0, 3600.0, 36000.0)
DUE_REQUESTS = """
    SELECT room_id, session_id, sender, attempts FROM key_request
    WHERE org = $1 AND due_at <= now() AND attempts < $2
      AND room_id IN (SELECT room_id FROM room WHERE room.org = key_request.org AND room.user_id = $3)
    ORDER BY due_at LIMIT 20
"""
ASKED = """
    UPDATE key_request SET attempts = attempts + 1, due_at = now() + make_interval(secs => $4)
    WHERE org = $1 AND room_id = $2 AND session_id = $3
"""


class Mender:
    """Mends, beside live capture; nothing of it holds capture up."""

    def __init__(self, pool: Pool, server: Homeserver, committer: Committer) -> None:
        self._pool = pool
        self._server = server
        self._committer = committer
        self._seat = committer.seat
        self._mended: dict[tuple[str, str], float] = {}

    async def run(self, stop: asyncio.Event) -> None:
        """Mend until told to stop."""
        seat = self._seat
        async with tenant_tx(self._pool, seat.org) as tx:
            rows = await tx.fetch(UNKNOWN, seat.org, seat.user_id)
        self._committer.came += [NewSession("", "", row["giver"], row["sender_key"]) for row in rows]
        while not stop.is_set():
            try:
                await self._know_devices()
                await self._mend_sessions()
                await self._ask_for_keys()
            except CaptureError as error:
                log.warning("Devices can't be asked about now: %s", error)
            await pause(stop, 0.5)

    async def _know_devices(self) -> None:
        """Keep what the homeserver shows of the devices that gave us keys: who vouched for them, at this time."""
        came, self._committer.came = self._committer.came, []
        wanted = {(session.giver, session.sender_key) for session in came if session.giver != self._seat.user_id}
        if not wanted:
            return
        try:
            shown = await devices.query(self._server, self._seat, {user for user, _ in wanted})
        except CaptureError:
            self._committer.came += came
            raise
        async with tenant_tx(self._pool, self._seat.org) as tx:
            silent = shown.get("failures")
            for user_id, key in sorted(wanted):
                if isinstance(silent, dict) and user_id.partition(":")[2] in silent:
                    continue  # its server does not answer now: nothing is known, and nothing is kept
                device = devices.find(shown, user_id, key) or devices.Device("?", "?", None, cross_signed=False)
                told = device.ed25519, device.device_id, device.master_key, device.cross_signed
                await tx.execute(KEEP_DEVICE, self._seat.org, column(user_id), column(key), *map(_column, told))

    async def _mend_sessions(self) -> None:
        """Make a new Olm session with each device whose messages we can't read, and let it know with a dummy message."""
        olm = self._seat.olm
        now, noted = asyncio.get_running_loop().time(), set(olm.broken)
        broken = {pair for pair in noted if now - self._mended.get(pair, -AGAIN) >= AGAIN}
        if len(self._mended) > MAX_REMEMBERED:
            self._mended.clear()
        if not broken:
            olm.broken -= noted
            return
        shown = await devices.query(self._server, self._seat, {user for user, _ in broken})
        wanted: dict[str, list[str]] = {}
        for user_id, key in broken:
            device = devices.find(shown, user_id, key)
            known = olm.device_store[user_id].get(device.device_id) if device is not None else None
            if device is not None and known is not None:
                wanted.setdefault(user_id, []).append(device.device_id)
                olm.wedged_devices.append(known)
        olm.broken -= noted  # not those that were noted while we asked
        self._mended |= dict.fromkeys(broken, now)
        if wanted:
            await devices.claim(self._server, self._seat, wanted)
            await self._send_waiting()
            log.warning("Made new Olm sessions with %d device(s) whose messages could not be read.", len(broken))

    async def _send_waiting(self) -> None:
        """Send the dummy messages that nio has made ready."""
        olm = self._seat.olm
        async with self._seat.tx() as tx:
            await self._seat.keys.flush(tx)
        for message in list(olm.outgoing_to_device_messages):
            body = {"messages": {message.recipient: {message.recipient_device: message.content}}}
            await self._send("m.room.encrypted", body)
            olm.outgoing_to_device_messages.remove(message)

    async def _ask_for_keys(self) -> None:
        """Ask the senders of what can't be read for the key once more (they give it to devices they meant it for)."""
        seat = self._seat
        async with tenant_tx(self._pool, seat.org) as tx:
            due = await tx.fetch(DUE_REQUESTS, seat.org, len(WAITS), seat.user_id)
        for row in due:
            room_id, session_id, sender = row["room_id"], row["session_id"], row["sender"]
            seat.olm.asked.add((room_id, session_id))
            async with tenant_tx(self._pool, seat.org) as tx:
                await tx.execute(ASKED, seat.org, room_id, session_id, WAITS[row["attempts"]])
            shown = await devices.query(self._server, seat, {sender})
            # Each device is asked as the one that made the session: which of them it was, a message need not say any more.
            asked = {
                device_id: {
                    "action": "request",
                    "body": {"algorithm": ALGORITHM, "room_id": room_id, "session_id": session_id, "sender_key": key},
                    "request_id": secrets.token_hex(8),
                    "requesting_device_id": seat.device_id,
                }
                for device_id, key in devices.curve25519_keys(shown, sender)
            }
            if asked:
                await self._send("m.room_key_request", {"messages": {sender: asked}})

    async def _send(self, kind: str, body: JsonObject) -> None:
        await self._server.call("PUT", path("v3", "sendToDevice", kind, secrets.token_hex(12)), body)


def _column(value: str | bool | None) -> str | bool | None:
    return column(value) if isinstance(value, str) else value
