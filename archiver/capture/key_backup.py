"""A backup of the archiver's room keys on the homeserver, encrypted for a key that only the archive has.

Optional (`archiver.key_backup`). Each Megolm session is encrypted by itself and uploaded beside live capture; what was uploaded
is marked in Postgres, so that a stop costs at most one batch. The private key is one of the seat's sealed secrets; 'griffier
recovery-key' shows it in the form that any Matrix client takes.
Source: Matrix specification, client-server API, "Server-side key backups", `m.megolm_backup.v1.curve25519-aes-sha2`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Sequence
from typing import Any

import vodozemac
from unpaddedbase64 import encode_base64

from archiver.capture.client import CaptureError, Homeserver, MatrixError, path
from archiver.capture.cross_signing import public, signed, signer
from archiver.capture.megolm import exported
from archiver.capture.seat import Seat
from archiver.db import Pool, tenant_tx
from archiver.ledger.canonical import JsonObject, column
from archiver.ledger.event import verify_json
from archiver.stopping import pause

log = logging.getLogger(__name__)

ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"
BATCH = 200  # sessions in one request, of some 600 bytes each
IDLE = 2.0  # seconds until the next look for new sessions
MAX_WAIT = 600.0
KNOWN_VERSION = "SELECT backup_version FROM seat WHERE org = $1 AND user_id = $2"
KEEP_VERSION = "UPDATE seat SET backup_version = $3 WHERE org = $1 AND user_id = $2"
START_AGAIN = "UPDATE megolm_session SET backed_up_at = NULL WHERE org = $1 AND user_id = $2 AND backed_up_at IS NOT NULL"
NEXT = f"""
    SELECT room_id, session_id, sender_key, signing_key, first_index, forwarded, pickle FROM megolm_session
    WHERE org = $1 AND user_id = $2 AND backed_up_at IS NULL ORDER BY room_id, session_id LIMIT {BATCH}
"""  # noqa: S608 - a constant only
# Not if a key that reaches further back has come meanwhile: that one is uploaded next.
MARK = """
    UPDATE megolm_session SET backed_up_at = now()
    FROM unnest($3::text[], $4::text[], $5::bigint[]) AS done (room_id, session_id, first_index)
    WHERE org = $1 AND user_id = $2 AND megolm_session.room_id = done.room_id
      AND megolm_session.session_id = done.session_id AND megolm_session.first_index = done.first_index
"""
# Specification, appendix "Cryptographic key representation".
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
KEY_PREFIX = b"\x8b\x01"


class KeyBackup:
    """Keeps the backup of one seat's keys up to date."""

    def __init__(self, pool: Pool, server: Homeserver, seat: Seat) -> None:
        self._pool = pool
        self._server = server
        self._seat = seat
        self._version: str | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Back up until told to stop; whatever the homeserver refuses is tried again, ever less often."""
        failures = 0
        while not stop.is_set():
            try:
                wait = 0.0 if await self.upload() else IDLE
                failures = 0
            except CaptureError as error:
                failures += 1
                wait = min(MAX_WAIT, 5.0 * 2**failures)
                log.warning("Room keys can't be backed up now: %s", error)
            if wait:
                await pause(stop, wait)

    async def upload(self) -> int:
        """Upload the next batch; returns how many sessions it held. Raises MatrixError, HomeserverUnreachable."""
        if self._version is None:
            self._version = await self._settle_version()
        seat = self._seat
        async with tenant_tx(self._pool, seat.org) as tx:
            rows = await tx.fetch(NEXT, seat.org, seat.user_id)
        if not rows:
            return 0
        body = await asyncio.to_thread(encrypted, rows, seat.secrets.pickle_key, self._private_key())
        try:
            await self._server.call("PUT", path("v3", "room_keys", "keys"), body, {"version": self._version})
        except MatrixError as error:
            if error.errcode in ("M_WRONG_ROOM_KEYS_VERSION", "M_NOT_FOUND"):
                self._version = None  # somebody made another backup, or removed ours
            raise
        done = zip(*((row["room_id"], row["session_id"], row["first_index"]) for row in rows), strict=True)
        async with tenant_tx(self._pool, seat.org) as tx:
            await tx.execute(MARK, seat.org, seat.user_id, *done)
        return len(rows)

    def _private_key(self) -> bytes:
        key = self._seat.secrets.backup_key
        assert key is not None  # noqa: S101 - narrows for the type checker: a version is settled first
        return key

    async def _settle_version(self) -> str:
        """The backup to write to: the homeserver's present one if it is ours, or else a new one, with every key still to go."""
        seat = self._seat
        if seat.secrets.backup_key is None:
            seat.secrets.backup_key = secrets.token_bytes(32)
            await seat.keep_secrets()  # before anything is encrypted for it
        present = await self._present()
        version = present["version"] if present is not None and self._is_ours(present) else None
        if not isinstance(version, str):
            body = {"algorithm": ALGORITHM, "auth_data": self._auth_data()}
            version = str((await self._server.call("POST", path("v3", "room_keys", "version"), body))["version"])
            log.info("A new backup of the archiver's room keys was made: version %s.", version)
        version = column(version)
        async with tenant_tx(self._pool, seat.org) as tx:
            if await tx.fetchval(KNOWN_VERSION, seat.org, seat.user_id) != version:
                await tx.execute(START_AGAIN, seat.org, seat.user_id)
                await tx.execute(KEEP_VERSION, seat.org, seat.user_id, version)
        return version

    async def _present(self) -> JsonObject | None:
        try:
            return await self._server.call("GET", path("v3", "room_keys", "version"))
        except MatrixError as error:
            if error.status == 404:
                return None
            raise

    def _is_ours(self, present: JsonObject) -> bool:
        """Whether a backup is for our key, and says so under our master key: a homeserver may name whatever it likes."""
        told, master = present.get("auth_data"), public(self._seat.secrets.cross_signing.master)
        ours = isinstance(told, dict) and told.get("public_key") == public_key(self._private_key())
        return (
            ours
            and present.get("algorithm") == ALGORITHM
            and verify_json(present["auth_data"], self._seat.user_id, f"ed25519:{master}", master)
        )

    def _auth_data(self) -> JsonObject:
        """The public key, signed by this device and by the account's master key."""
        seat, master = self._seat, self._seat.secrets.cross_signing.master
        told: JsonObject = {"public_key": public_key(self._private_key())}
        told = signed(told, seat.user_id, f"ed25519:{seat.device_id}", lambda raw: str(seat.olm.account.sign(raw.decode())))
        return signed(told, seat.user_id, f"ed25519:{public(master)}", signer(master))


def public_key(private_key: bytes) -> str:
    """The Curve25519 key that belongs to a private one, in unpadded base64."""
    return str(vodozemac.Curve25519SecretKey.from_bytes(private_key).public_key().to_base64())


def encrypted(rows: Sequence[Any], pickle_key: str, private_key: bytes) -> JsonObject:
    """The body of `PUT /room_keys/keys` for these rows of `megolm_session`. Pure but for the randomness of each encryption."""
    key = vodozemac.Curve25519SecretKey.from_bytes(private_key).public_key()
    rooms: JsonObject = {}
    for row in rows:
        session = exported(row, pickle_key)
        told = {name: part for name, part in session.items() if name not in ("room_id", "session_id")}
        message = vodozemac.PkEncryption.from_key(key).encrypt(json.dumps(told).encode())
        rooms.setdefault(row["room_id"], {"sessions": {}})["sessions"][row["session_id"]] = {
            "first_message_index": row["first_index"],
            "forwarded_count": int(row["forwarded"]),
            "is_verified": False,  # no person has compared keys with the sender
            "session_data": {
                "ciphertext": encode_base64(message.ciphertext),
                "mac": encode_base64(message.mac),
                "ephemeral": encode_base64(message.ephemeral_key),
            },
        }
    return {"rooms": rooms}


def recovery_key(private_key: bytes) -> str:
    """A private key as people keep it: base58 in groups of four (appendix "Cryptographic key representation")."""
    raw = KEY_PREFIX + private_key
    parity = 0
    for byte in raw:
        parity ^= byte
    number, text = int.from_bytes(raw + bytes([parity])), ""
    while number:
        number, rest = divmod(number, 58)
        text = BASE58[rest] + text
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))
