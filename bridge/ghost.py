"""An account of the bridge's: the bot, or a ghost that stands for one WhatsApp contact.

Each has a device of its own, made without a password (MSC4190) and cross-signed, so that strict clients both share keys with it
and read what it sends.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

import asyncpg
from mautrix.api import HTTPAPI, Method, Path
from mautrix.client import Client
from mautrix.crypto import OlmMachine, PgCryptoStore, StateStore
from mautrix.errors import MatrixRequestError
from mautrix.types import (
    JSON,
    ASToDeviceEvent,
    DeviceID,
    DeviceIdentity,
    EncryptionAlgorithm,
    EventType,
    IdentityKey,
    RoomEncryptionStateEventContent,
    RoomID,
    TrustState,
    UserID,
)
from mautrix.util.async_db import Database
from mautrix.util.async_db.database import conn_var

log = logging.getLogger(__name__)

MEGOLM = "m.megolm.v1.aes-sha2"
TAKE = "INSERT INTO key_taken (account, digest) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true"
LIFE = 60.0  # seconds that what is known of devices is believed, should a change not be told


class Encrypted(StateStore):
    """What mautrix's Olm machine asks about rooms: it is only ever used for portals, and those are encrypted."""

    async def is_encrypted(self, room_id: RoomID) -> bool:
        return True

    async def get_encryption_info(self, room_id: RoomID) -> RoomEncryptionStateEventContent:
        return RoomEncryptionStateEventContent(algorithm=EncryptionAlgorithm.MEGOLM_V1)

    async def find_shared_rooms(self, user_id: UserID) -> list[RoomID]:
        return []  # sessions are renewed by the fingerprint of a room's devices instead: see Account.encrypt


class Store(PgCryptoStore):
    """mautrix's store, of which what is held in memory can be let go."""

    async def take(self, digest: bytes) -> bool:
        """Note that a key message has been taken; returns whether it is new."""
        return bool(await self.db.fetchval(TAKE, self.account_id, digest))

    def together(self) -> AbstractAsyncContextManager[None]:
        """What is stored in the block is committed at its end, or nothing of it."""
        return cast("AbstractAsyncContextManager[None]", self.transaction())

    def forget(self) -> None:
        """Read everything from the database again."""
        self._account = None
        self._olm_cache.clear()


class Machine(OlmMachine):
    """mautrix's Olm machine, among transactions."""

    async def _unwedge_session(self, sender: UserID, sender_key: IdentityKey) -> None:
        conn_var.set(None)  # it runs beside what was going on, whose connection is not its own
        await super()._unwedge_session(sender, sender_key)


class Devices:
    """Whether what is known of people's devices may have changed; the accounts share what they know of them."""

    def __init__(self) -> None:
        self.changes = 0
        self._asked: dict[UserID, float] = {}

    def changed(self) -> None:
        """A device may have come, gone or changed."""
        self.changes += 1

    async def to_ask(self, users: list[UserID], store: PgCryptoStore) -> list[UserID]:
        """Whose devices are not known, or were asked for too long ago."""
        since = time.monotonic() - LIFE
        return [user for user in users if self._asked.get(user, -LIFE) <= since or await store.get_devices(user) is None]

    def asked(self, users: list[UserID]) -> None:
        """Their devices are known now."""
        if len(self._asked) > 10_000:
            self._asked.clear()
        self._asked |= dict.fromkeys(users, time.monotonic())


class Account:
    """One account: its requests, its device, its encryption."""

    def __init__(self, user_id: str, url: str, as_token: str, database: Database, pickle_key: str, devices: Devices) -> None:
        self.user_id = user_id
        self.store = Store(user_id, pickle_key, database)
        self.client = Client(mxid=UserID(user_id), api=HTTPAPI(url, as_token, as_user_id=UserID(user_id)), sync_store=self.store)
        self.olm = Machine(self.client, self.store, Encrypted())
        self._devices = devices
        self._shared_with: dict[str, str] = {}
        self._fingerprints: dict[tuple[str, ...], tuple[int, float, str]] = {}  # when it was made: changes, time
        self._encrypting = asyncio.Lock()
        self._taking = asyncio.Lock()
        self._ahead = False  # whether memory holds of sessions and keys what the database may not

    async def register(self, name: str = "") -> None:
        """Make the account if it isn't there, and give it its name."""
        api = HTTPAPI(str(self.client.api.base_url), self.client.api.token, client_session=self.client.api.session)
        body = {"type": "m.login.application_service", "username": self.client.localpart, "inhibit_login": True}
        try:
            await api.request(Method.POST, Path.v3.register, body)
        except MatrixRequestError as error:
            if getattr(error, "errcode", "") != "M_USER_IN_USE":
                raise
        if name:
            await self.call(Method.PUT, Path.v3.profile[self.user_id].displayname, {"displayname": name})

    async def start_encryption(self, *, sign: bool = True) -> bool:
        """Make or load the device, publish its keys, cross-sign it; returns whether the server shows it as signed.

        Not to `sign` is for an account that is a person's: their cross-signing keys are theirs alone.
        """
        await self.store.open()
        device_id = await self.store.get_device_id() or ""
        await self.client.create_device_msc4190(device_id=device_id, initial_display_name="Griffier WhatsApp")
        await self.olm.load()
        account = self.olm.account
        if account is None:
            raise RuntimeError("mautrix made no Olm account")
        if not device_id:
            await self.store.put_device_id(self.client.device_id)
        if not account.shared:
            await self.olm.share_keys()
        if sign and await self.olm.resolve_trust(self.olm.own_identity) < TrustState.CROSS_SIGNED_UNTRUSTED:
            await self.olm.generate_recovery_key()
            # What counts is what the server shows to others, so that is read back.
            await self.olm._fetch_keys([UserID(self.user_id)], include_untracked=True)
        return bool(await self.olm.resolve_trust(self.olm.own_identity) >= TrustState.CROSS_SIGNED_UNTRUSTED)

    async def take_key(self, event: dict[str, Any]) -> None:
        """A message to this account's device: a room key, most often. Stored when this returns.

        The key and the session that it came through are committed together: were we to end between the two, the key could not be
        opened a second time.
        """
        if event.get("to_device_id") not in (None, self.client.device_id):
            return  # another device of an official's, and none of ours
        digest = hashlib.sha256(json.dumps([event.get("sender"), event.get("content")], sort_keys=True).encode()).digest()
        async with self._taking:
            try:
                if self._ahead:
                    await self._as_stored()
                self._ahead = True
                received = ASToDeviceEvent.deserialize(cast("JSON", event))
                async with self.store.together():
                    if await self.store.take(digest):
                        await self.olm.handle_as_to_device_event(cast("ASToDeviceEvent", received))
                self._ahead = False
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                raise  # not stored: it comes again
            except Exception as error:
                log.warning("A key message from %s can't be used: %s", event.get("sender"), type(error).__name__)
                await self.store.take(digest)

    async def _as_stored(self) -> None:
        """Go back to what is in the database, from what was only in memory."""
        async with self._encrypting:
            self.store.forget()
            self.olm.account = await self.store.get_account() or self.olm.account
            self._ahead = False

    async def encrypt(self, room_id: str, kind: str, content: dict[str, Any], members: list[str]) -> dict[str, Any]:
        """Encrypt for every device of every member; a new session whenever that set has changed."""
        async with self._encrypting:
            fingerprint = await self._fingerprint(members)
            if self._shared_with.get(room_id) != fingerprint:
                await self.store.remove_outbound_group_session(RoomID(room_id))
                await self._open_sessions(members)
                await self.olm.share_group_session(RoomID(room_id), [UserID(member) for member in members])
                self._shared_with[room_id] = fingerprint
            event_type = EventType.find(kind, EventType.Class.MESSAGE)
            try:
                encrypted = await self.olm.encrypt_megolm_event(RoomID(room_id), event_type, content)
            except Exception:
                self._shared_with.pop(room_id, None)  # an expired session: the next attempt makes a new one
                raise
        body: dict[str, Any] = encrypted.serialize()
        relation = content.get("m.relates_to")
        return body | ({"m.relates_to": relation} if relation else {})

    async def _open_sessions(self, members: list[str]) -> None:
        """Have an Olm session with every device. mautrix takes a failed claim for a shared key, so a failure must show here."""
        missing: dict[UserID, dict[DeviceID, DeviceIdentity]] = {}
        for member in members:
            for device_id, device in (await self.store.get_devices(UserID(member)) or {}).items():
                own = member == self.user_id and device_id == self.client.device_id
                if not own and not await self.store.has_session(device.identity_key):
                    missing.setdefault(UserID(member), {})[device_id] = device
        if missing:
            await self.olm._create_outbound_sessions(missing)

    async def _fingerprint(self, members: list[str]) -> str:
        """What stands for all devices of these people, as long as none of them changes."""
        changes, until, fingerprint = self._fingerprints.get(tuple(members), (-1, 0.0, ""))
        if changes == self._devices.changes and time.monotonic() < until:
            return fingerprint
        changes = self._devices.changes
        # What is told to us of devices can be lost as keys can (bridge/missed.py): now and then it is asked for all the same.
        unknown = await self._devices.to_ask([UserID(member) for member in members], self.store)
        if unknown:
            await self.olm._fetch_keys(unknown, include_untracked=True)
            self._devices.asked(unknown)
        devices = []
        for member in sorted(members):
            known = await self.store.get_devices(UserID(member)) or {}
            devices += sorted(f"{member}|{device_id}|{device.identity_key}" for device_id, device in known.items())
        fingerprint = hashlib.sha256("\n".join(devices).encode()).hexdigest()
        if len(self._fingerprints) > 100:
            self._fingerprints.clear()
        self._fingerprints[tuple(members)] = changes, time.monotonic() + LIFE, fingerprint
        return fingerprint

    async def call(self, method: Method, path: Any, body: Any = None, query: dict[str, str] | None = None) -> dict[str, Any]:
        """A request as this account."""
        answer = await self.client.api.request(method, path, body if body is not None else {}, query_params=query or {})
        return answer if isinstance(answer, dict) else {}

    async def send(self, room_id: str, kind: str, content: dict[str, Any], txn: str, at: int | None = None) -> str:
        """Send an event under a transaction id of ours: sent again, the server answers with the first. Returns the event id."""
        query = {"ts": str(at)} if at is not None else None
        answer = await self.call(Method.PUT, Path.v3.rooms[room_id].send[kind][txn], content, query)
        return str(answer["event_id"])

    async def close(self) -> None:
        """Close the connection."""
        await self.client.api.session.close()
