"""Content sealed at rest (DESIGN D10): AES-256-GCM, a data key per room and month, wrapped by the organisation's key.

A sealed value is `version (1 byte) · key id (16 bytes) · nonce (12 bytes) · ciphertext and tag`. The associated data binds it
to its organisation, room and event, so that a sealed value can't be moved to another row unnoticed.
"""

from __future__ import annotations

import base64
import os
import secrets
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Protocol
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from archiver.db import Connection

VERSION = 1
NONCE = 12
HEADER = 1 + 16


class SealingError(Exception):
    """A key can't be used or a sealed value can't be opened; the message says which and what to do."""


class OrganisationKey(Protocol):
    """What wraps data keys: a file, a KMS or an HSM."""

    @property
    def name(self) -> str:
        """Which key this is, kept beside everything it wrapped."""

    def wrap(self, key: bytes, context: bytes) -> bytes:
        """Wrap a 32-byte key, bound to `context`."""

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """The key again; raises SealingError when it was wrapped by another key or for another context."""


@dataclass(frozen=True, slots=True)
class FileKey:
    """An organisation key kept in a file: base64 of 32 bytes, readable by its owner only."""

    name: str
    key: bytes = field(repr=False)

    @classmethod
    def load(cls, folder: Path, *, create: bool = False) -> FileKey:
        """Read `organisation.key` from `folder`; with `create`, make it if there is none. Raises SealingError."""
        path = folder / "organisation.key"
        if create and not path.exists():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(base64.b64encode(secrets.token_bytes(32)) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        try:
            key = base64.b64decode(path.read_bytes().strip(), validate=True)
        except FileNotFoundError:
            raise SealingError(
                f"There is no organisation key at {path}. Run 'griffier migrate' to make one for a new archive, or put the "
                "existing key back: without it nothing that was archived can be read."
            ) from None
        except (OSError, ValueError) as error:
            raise SealingError(f"The organisation key at {path} can't be read: {error}") from None
        if len(key) != 32:
            raise SealingError(f"The organisation key at {path} must be base64 of 32 bytes, and is {len(key)} bytes.")
        return cls("file:organisation", key)

    def wrap(self, key: bytes, context: bytes) -> bytes:
        nonce = os.urandom(NONCE)
        return nonce + AESGCM(self.key).encrypt(nonce, key, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        try:
            return AESGCM(self.key).decrypt(wrapped[:NONCE], wrapped[NONCE:], context)
        except InvalidTag:
            raise SealingError(
                "A key in the database was not wrapped by this organisation key. Put back the key file that belongs to "
                "this database."
            ) from None


@dataclass(frozen=True, slots=True)
class DataKey:
    """The key of one room and one month."""

    key_id: UUID
    cipher: AESGCM = field(repr=False)

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """Seal bytes, bound to `context`."""
        nonce = os.urandom(NONCE)
        return bytes([VERSION]) + self.key_id.bytes + nonce + self.cipher.encrypt(nonce, plain, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """The bytes again; raises SealingError when they were changed or belong elsewhere."""
        try:
            return self.cipher.decrypt(sealed[HEADER : HEADER + NONCE], sealed[HEADER + NONCE :], context)
        except InvalidTag:
            raise SealingError(f"A sealed value fails its seal ({context.decode(errors='replace')}).") from None


def month_of(moment: datetime) -> date:
    """The month whose key seals what was sent at `moment` (UTC)."""
    return moment.astimezone(UTC).date().replace(day=1)


# `settled`: not of the transaction that asks. A key of a transaction that may yet fail is no key to remember.
SETTLED = "xmin IS DISTINCT FROM pg_current_xact_id_if_assigned()::xid AS settled"
FIND_KEYS = f"""
    SELECT room_id, month, key_id, wrapped, {SETTLED} FROM data_key
    WHERE org = $1 AND (room_id, month) IN (SELECT * FROM unnest($2::text[], $3::date[]))
"""  # noqa: S608 - constants only
FIND_KEY_IDS = f"""
    SELECT room_id, month, key_id, wrapped, {SETTLED} FROM data_key
    WHERE org = $1 AND (room_id, key_id) IN (SELECT * FROM unnest($2::text[], $3::uuid[]))
"""  # noqa: S608
# Two processes may want the first key of a month at once: one insert wins, both read the winner.
ADD_KEY = """
    INSERT INTO data_key (org, room_id, month, key_id, wrapped, wrapped_by)
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (org, room_id, month) DO NOTHING
"""


class Vault:
    """The data keys of one organisation, read when first needed and held in a bounded memory."""

    def __init__(self, org: int, organisation_key: OrganisationKey, search_key: bytes, size: int = 4096) -> None:
        self.org = org
        self.search_key = search_key
        self._organisation_key = organisation_key
        self._size = size
        self._by_id: dict[tuple[str, bytes], DataKey] = {}
        self._by_month: dict[tuple[str, date], DataKey] = {}

    @classmethod
    async def open(cls, tx: Connection, org: int, organisation_key: OrganisationKey) -> Vault:
        """Read the organisation's search key; raises SealingError when the organisation is unknown."""
        wrapped = await tx.fetchval("SELECT search_key FROM organisation WHERE org = $1", org)
        if wrapped is None:
            raise SealingError(f"Organisation {org} is not set up in this database. Run 'griffier migrate' first.")
        return cls(org, organisation_key, organisation_key.unwrap(wrapped, f"search|{org}".encode()))

    @staticmethod
    async def set_up(tx: Connection, org: int, name: str, organisation_key: OrganisationKey) -> None:
        """Make the organisation's row and its search key, if there is none yet."""
        wrapped = organisation_key.wrap(secrets.token_bytes(32), f"search|{org}".encode())
        await tx.execute(
            "INSERT INTO organisation (org, name, search_key) VALUES ($1, $2, $3) ON CONFLICT (org) DO NOTHING",
            org, name, wrapped,
        )  # fmt: skip

    def wrap(self, key: bytes, context: str) -> bytes:
        """Wrap a secret that is not content (a device's secrets) by the organisation's key."""
        return self._organisation_key.wrap(key, f"{context}|{self.org}".encode())

    def unwrap(self, wrapped: bytes, context: str) -> bytes:
        """The secret again; raises SealingError."""
        return self._organisation_key.unwrap(wrapped, f"{context}|{self.org}".encode())

    async def keys_for(self, tx: Connection, wanted: set[tuple[str, date]]) -> dict[tuple[str, date], DataKey]:
        """The data keys of these rooms and months, made where there are none."""
        found = {pair: self._by_month[pair] for pair in wanted if pair in self._by_month}
        missing = [pair for pair in wanted if pair not in found]
        if missing:
            found |= await self._read_months(tx, missing)
        lacking = [pair for pair in missing if pair not in found]
        for room_id, month in lacking:
            key_id, key = UUID(bytes=os.urandom(16), version=4), secrets.token_bytes(32)
            wrapped = self._organisation_key.wrap(key, self._context(room_id, key_id))
            await tx.execute(ADD_KEY, self.org, room_id, month, key_id, wrapped, self._organisation_key.name)
        if lacking:
            found |= await self._read_months(tx, lacking)
        self._trim()
        return found

    async def open_many(self, tx: Connection, sealed: list[tuple[str, str, bytes]]) -> list[bytes | None]:
        """Open (room id, context, sealed) values; None where the data key was destroyed. Raises SealingError."""
        refs = [(room_id, value[1:HEADER]) for room_id, _, value in sealed]
        keys = {ref: self._by_id[ref] for ref in refs if ref in self._by_id}
        missing = {ref for ref in refs if ref not in keys}
        if missing:
            rows = await tx.fetch(FIND_KEY_IDS, self.org, [r for r, _ in missing], [UUID(bytes=k) for _, k in missing])
            keys |= {(room_id, key.key_id.bytes): key for (room_id, _), key in self._read(rows).items()}
        opened: list[bytes | None] = []
        for ref, (room_id, context, value) in zip(refs, sealed, strict=True):
            key = keys.get(ref)
            opened.append(key.open(value, bound(self.org, room_id, context)) if key else None)
        self._trim()
        return opened

    async def _read_months(self, tx: Connection, pairs: list[tuple[str, date]]) -> dict[tuple[str, date], DataKey]:
        rows = await tx.fetch(FIND_KEYS, self.org, [room for room, _ in pairs], [month for _, month in pairs])
        return self._read(rows)

    def _read(self, rows: list[dict[str, object]]) -> dict[tuple[str, date], DataKey]:
        """The keys of these rows, remembered where their transaction can't fail any more."""
        read = {}
        for row in rows:
            room_id, month, key_id, wrapped = row["room_id"], row["month"], row["key_id"], row["wrapped"]
            assert isinstance(room_id, str) and isinstance(month, date)  # noqa: S101, PT018 - narrows for the type checker
            assert isinstance(key_id, UUID) and isinstance(wrapped, bytes)  # noqa: S101, PT018
            plain = self._organisation_key.unwrap(wrapped, self._context(room_id, key_id))
            key = read[room_id, month] = DataKey(key_id, AESGCM(plain))
            if row["settled"]:
                self._by_id[room_id, key_id.bytes] = self._by_month[room_id, month] = key
        return read

    def _trim(self) -> None:
        while len(self._by_id) > self._size:
            del self._by_id[next(iter(self._by_id))]
        while len(self._by_month) > self._size:
            del self._by_month[next(iter(self._by_month))]

    def _context(self, room_id: str, key_id: UUID) -> bytes:
        return f"data|{self.org}|{room_id}|{key_id}".encode()


def bound(org: int, room_id: str, what: str) -> bytes:
    """The associated data of a sealed value: organisation, room, and what it is (`event_id|event`, …)."""
    return f"{org}|{room_id}|{what}".encode("utf-8", "surrogatepass")
