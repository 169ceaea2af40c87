"""The archiver's seat: one device of one account, driven by one process at a time, all of its state in Postgres (DESIGN D4)."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import secrets
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
from nio.responses import KeysUploadResponse

from archiver.capture import cross_signing
from archiver.capture.client import CaptureError, Homeserver, path
from archiver.capture.cross_signing import CrossSigningKeys
from archiver.capture.keystore import KeyStore
from archiver.capture.locks import is_held
from archiver.capture.olm import Machine
from archiver.capture.sign_in import sign_in
from archiver.db import Connection, Pool, as_organisation, tenant_tx
from archiver.ledger.canonical import parse_object
from archiver.ledger.sealing import Vault
from archiver.settings import Archiver
from archiver.stopping import pause

log = logging.getLogger(__name__)

TAKE = "SELECT pg_try_advisory_lock(hashtextextended($1, 0))"
FIND = "SELECT device_id, sealed_secrets, sync_token, account FROM seat WHERE org = $1 AND user_id = $2"
BRIDGES = "UPDATE seat SET bridges = $3 WHERE org = $1 AND user_id = $2"  # the reading view is told whom to believe
ADD = "INSERT INTO seat (org, user_id, device_id, sealed_secrets, alive_at) VALUES ($1, $2, $3, $4, now())"
KEEP_SECRETS = "UPDATE seat SET sealed_secrets = $3, device_id = $4 WHERE org = $1 AND user_id = $2"
SIGNED = """
    UPDATE seat SET signed_at = CASE WHEN $3 THEN now() END, capturing = capturing AND $3,
                    state = CASE WHEN NOT $3 THEN 'not signed' WHEN capturing THEN 'capturing' ELSE 'starting' END
    WHERE org = $1 AND user_id = $2
"""
SIGN_AGAIN = 60.0  # seconds until a device that could not be signed is tried again
ADVANCE = "UPDATE seat SET sync_token = $3, seen_at = now(), capturing = $4, state = $5 WHERE org = $1 AND user_id = $2"
STARTING = "UPDATE seat SET capturing = false, state = 'starting', alive_at = now() WHERE org = $1 AND user_id = $2"
# Keys that were asked for before we were started: what comes of it is still to be taken.
ASKED = "SELECT room_id, session_id FROM key_request WHERE org = $1 AND attempts > 0"
STOPPED = "UPDATE seat SET capturing = false, state = $3 WHERE org = $1 AND user_id = $2"
FROZEN_AFTER = 15  # seconds without a sign of life
FROZEN = f"SELECT alive_at < now() - interval '{FROZEN_AFTER} seconds' FROM seat WHERE org = $1 AND user_id = $2"  # noqa: S608
ALIVE = "UPDATE seat SET alive_at = now() WHERE org = $1 AND user_id = $2"
# Ends the connection that holds the lock, and with it whatever its process would still write for the seat.
UNSEAT = f"SELECT pg_terminate_backend(pid) FROM pg_locks WHERE {is_held('$1')}"  # noqa: S608


@dataclass(slots=True)
class Secrets:
    """What only this device knows; sealed by the organisation's key."""

    pickle_key: str = field(repr=False)
    cross_signing: CrossSigningKeys = field(repr=False)
    access_token: str | None = field(default=None, repr=False)
    backup_key: bytes | None = field(default=None, repr=False)  # Curve25519: archiver.capture.key_backup

    def dump(self) -> bytes:
        return json.dumps(
            {
                "pickle_key": self.pickle_key,
                "cross_signing": self.cross_signing.to_json(),
                "access_token": self.access_token,
                "backup_key": base64.b64encode(self.backup_key).decode() if self.backup_key else None,
            }
        ).encode()

    @classmethod
    def read(cls, raw: bytes) -> Secrets:
        stored = parse_object(raw)
        keys = CrossSigningKeys.from_json(stored["cross_signing"])
        backup = stored.get("backup_key")
        return cls(stored["pickle_key"], keys, stored["access_token"], base64.b64decode(backup) if backup else None)


class Seat:
    """A held seat. All of its writes go through the connection that holds its lock: a process that lost the lock can't write."""

    def __init__(self, connection: Connection, vault: Vault, user_id: str) -> None:
        self._connection = connection
        self._one_at_a_time = asyncio.Lock()
        self.vault = vault
        self.org = vault.org
        self.user_id = user_id
        self.device_id = ""
        self.sync_token: str | None = None
        self.secrets: Secrets
        self.keys: KeyStore
        self.olm: Machine
        self.signed = False
        self._signed_last = 0.0

    @asynccontextmanager
    async def tx(self) -> AsyncIterator[Connection]:
        """A transaction of this seat, one at a time, so that the device's state is written in the order it changed."""
        async with self._one_at_a_time, self._connection.transaction():
            await self._connection.execute(as_organisation(self.org))
            yield self._connection

    async def prepare(self, server: Homeserver, settings: Archiver) -> None:
        """Sign in, load or make the device's keys, publish them, cross-sign. Raises CaptureError with what to do."""
        new = await self._load()
        self.device_id = await sign_in(server, settings, self.device_id, self.secrets.access_token, new=new)
        self.secrets.access_token = server.token
        await self.keep_secrets()
        self.keys = KeyStore(self.org, self.user_id, self.secrets.pickle_key)
        async with self.tx() as tx:
            await self.keys.load(tx)
            self.olm = Machine(self.user_id, self.device_id, self.keys)
            await self.keys.flush(tx)
            rows = await tx.fetch(ASKED, self.org)
            await tx.execute(BRIDGES, self.org, self.user_id, settings.bridges)
        self.olm.asked |= {(row["room_id"], row["session_id"]) for row in rows}
        # Who logs a device out, as a reset of the password does, takes its published keys away too.
        if not self.olm.account.shared or not await self._is_published(server):
            self.olm.account.shared = False
            await self.publish_keys(server, fallback=True)
        await self.cross_sign(server, settings)

    async def _is_published(self, server: Homeserver) -> bool:
        """Whether the homeserver shows our device with the keys that we have."""
        shown = await cross_signing.query(server, self.user_id)
        told = shown.get("device_keys", {}).get(self.user_id, {}).get(self.device_id, {}).get("keys", {})
        return bool(told.get(f"ed25519:{self.device_id}") == self.olm.account.identity_keys["ed25519"])

    async def _load(self) -> bool:
        """Read the device's secrets, or make them; returns whether the device has never been used."""
        async with self.tx() as tx:
            row = await tx.fetchrow(FIND, self.org, self.user_id)
            if row is None:
                self.device_id = "GRIFFIER" + secrets.token_hex(5).upper()
                pickle_key = base64.b64encode(secrets.token_bytes(32)).decode()
                self.secrets = Secrets(pickle_key, CrossSigningKeys.generate())
                sealed = self.vault.wrap(self.secrets.dump(), f"seat|{self.user_id}")
                await tx.execute(ADD, self.org, self.user_id, self.device_id, sealed)
            else:
                self.device_id, self.sync_token = row["device_id"], row["sync_token"]
                self.secrets = Secrets.read(self.vault.unwrap(row["sealed_secrets"], f"seat|{self.user_id}"))
            return row is None or row["account"] is None

    async def keep_secrets(self) -> None:
        """Store the secrets, sealed: before anything is published that only they can open."""
        sealed = self.vault.wrap(self.secrets.dump(), f"seat|{self.user_id}")
        async with self.tx() as tx:
            await tx.execute(KEEP_SECRETS, self.org, self.user_id, sealed, self.device_id)

    async def _keep_identity(self, keys: CrossSigningKeys) -> None:
        self.secrets.cross_signing = keys
        await self.keep_secrets()

    async def publish_keys(self, server: Homeserver, *, fallback: bool) -> None:
        """Publish device keys and one-time keys, and a fallback key where the server has none that is unused.

        Stored first, so that no published key is ever unknown to us.
        """
        enough = self.olm.account.shared and (self.olm.uploaded_key_count or 0) >= self.olm.account.max_one_time_keys
        content = {} if enough else self.olm.share_keys()
        if fallback:
            content["fallback_keys"] = self.olm.fallback_key()
        async with self.tx() as tx:
            self.keys.save_account(self.olm.account)
            await self.keys.flush(tx)
        answer = await server.call("POST", path("v3", "keys", "upload"), content)
        async with self.tx() as tx:
            counts = answer.get("one_time_key_counts", {})
            self.olm.handle_response(KeysUploadResponse(0, int(counts.get("signed_curve25519", 0))))
            await self.keys.flush(tx)

    async def cross_sign(self, server: Homeserver, settings: Archiver) -> None:
        """See to it that the homeserver shows our device as signed by our own identity, and note whether it does.

        Without that nothing is lost that clients still give us, so capture goes on; but it is not called capturing.
        """
        self._signed_last = asyncio.get_running_loop().time()
        why = ""
        try:
            self.signed = await cross_signing.bootstrap(
                server,
                self.user_id,
                self.device_id,
                self.secrets.cross_signing,
                lambda message: str(self.olm.account.sign(message.decode())),
                settings.password.get_secret_value() or None,
                self._keep_identity,
            )
        except CaptureError as error:
            self.signed, why = False, f" ({error})"
        async with self.tx() as tx:
            await tx.execute(SIGNED, self.org, self.user_id, self.signed)
        if not self.signed:
            log.error("The homeserver doesn't show the archiver's device as cross-signed: strict clients withhold keys%s.", why)

    def must_sign(self, changed: Collection[str]) -> bool:
        """Whether the signature is to be looked at again: somebody changed our account's keys, or we could not sign before."""
        waited = asyncio.get_running_loop().time() - self._signed_last
        return self.user_id in changed or (not self.signed and waited > SIGN_AGAIN)

    async def advance(self, tx: Connection, token: str) -> None:
        """Note, in the batch's own transaction, up to where the sync has been committed."""
        state = "capturing" if self.signed else "not signed"
        await tx.execute(ADVANCE, self.org, self.user_id, token, self.signed, state)
        self.sync_token = token

    async def beat(self, pool: Pool) -> None:
        """Say every few seconds that this process lives, until cancelled."""
        while True:
            async with tenant_tx(pool, self.org) as tx:
                await tx.execute(ALIVE, self.org, self.user_id)
            await asyncio.sleep(2)

    async def stopped(self, why: str) -> None:
        """Say that nothing is captured from now on."""
        async with self.tx() as tx:
            await tx.execute(STOPPED, self.org, self.user_id, why)


@asynccontextmanager
async def held(url: str, vault: Vault, user_id: str, stop: asyncio.Event) -> AsyncIterator[Seat | None]:
    """The seat of `user_id` for this process, as soon as no other process holds it; None when told to stop first."""
    if not user_id.startswith("@"):
        raise CaptureError("The archiver's account is not set. Set archiver.user_id, for example @archief:rijk.example.")
    connection = await asyncpg.connect(url, command_timeout=60, server_settings={"application_name": "griffier seat"})
    try:
        seat = Seat(connection, vault, user_id)
        yield seat if await _take(connection, seat, stop) else None
    finally:
        await connection.close(timeout=5)


async def _take(connection: Connection, seat: Seat, stop: asyncio.Event) -> bool:
    """Stand by until the lock is free. The lock goes with the connection that holds it: kill -9 frees it at once."""
    name = f"griffier seat|{seat.org}|{seat.user_id}"
    standing_by = False
    while not stop.is_set():
        if await connection.fetchval(TAKE, name):
            # What was said of the process before us does not hold for us; nor does it that it was silent for long.
            async with seat.tx() as tx:
                await tx.execute(STARTING, seat.org, seat.user_id)
            return True
        if not standing_by:
            log.info("Another process drives the archiver %s. This one stands by.", seat.user_id)
            standing_by = True
        async with seat.tx() as tx:
            frozen = await tx.fetchval(FROZEN, seat.org, seat.user_id)
        if frozen and await connection.fetchval(UNSEAT, name):
            log.warning("The process that drives %s has said nothing for %d s: it was unseated.", seat.user_id, FROZEN_AFTER)
        await pause(stop, 0.2)
    return False
