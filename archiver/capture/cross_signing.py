"""Cross-signing of a device, so that clients which share room keys only with signed devices share them with us (DESIGN D1).

Source: Matrix specification, client-server API, "Cross-signing", and MSC4153 for why clients insist on it.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from unpaddedbase64 import encode_base64

from archiver.capture.client import CaptureError, MatrixError, path
from archiver.ledger.canonical import JsonObject, canonical
from archiver.ledger.event import verify_json


class Caller(Protocol):
    """What can send a request to the homeserver as the account."""

    async def call(self, method: str, path: str, body: JsonObject | None = None) -> JsonObject:
        """One request; raises MatrixError."""


@dataclass(frozen=True, slots=True)
class CrossSigningKeys:
    """The three private keys of an account: seeds of Ed25519 keys."""

    master: bytes = field(repr=False)
    self_signing: bytes = field(repr=False)
    user_signing: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> CrossSigningKeys:
        return cls(secrets.token_bytes(32), secrets.token_bytes(32), secrets.token_bytes(32))

    def to_json(self) -> JsonObject:
        return {name: base64.b64encode(getattr(self, name)).decode() for name in self.__slots__}

    @classmethod
    def from_json(cls, stored: JsonObject) -> CrossSigningKeys:
        return cls(**{name: base64.b64decode(stored[name]) for name in cls.__slots__})


def public(seed: bytes) -> str:
    """The public key of a seed, in unpadded base64: this is also its key id, after `ed25519:`."""
    return encode_base64(Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw())


def signed(value: JsonObject, user_id: str, key_id: str, sign: Callable[[bytes], str]) -> JsonObject:
    """`value` with one more signature (specification, appendix "Signing JSON")."""
    bare = {name: part for name, part in value.items() if name not in ("signatures", "unsigned")}
    signatures = {user: dict(keys) for user, keys in value.get("signatures", {}).items()}
    signatures.setdefault(user_id, {})[key_id] = sign(canonical(bare))
    return {**bare, "signatures": signatures}


def signer(seed: bytes) -> Callable[[bytes], str]:
    """What signs with a seed and gives unpadded base64."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    return lambda message: encode_base64(key.sign(message))


def key_object(user_id: str, usage: str, seed: bytes) -> JsonObject:
    """The public half of a cross-signing key, as the specification writes it."""
    key = public(seed)
    return {"user_id": user_id, "usage": [usage], "keys": {f"ed25519:{key}": key}}


def upload(user_id: str, device_id: str, keys: CrossSigningKeys, sign_as_device: Callable[[bytes], str]) -> JsonObject:
    """The body of `/keys/device_signing/upload`: the three keys, two signed by the master key, that by the device."""
    master_id, by_master = f"ed25519:{public(keys.master)}", signer(keys.master)
    master = key_object(user_id, "master", keys.master)
    return {
        "master_key": signed(master, user_id, f"ed25519:{device_id}", sign_as_device),
        "self_signing_key": signed(key_object(user_id, "self_signing", keys.self_signing), user_id, master_id, by_master),
        "user_signing_key": signed(key_object(user_id, "user_signing", keys.user_signing), user_id, master_id, by_master),
    }


async def query(server: Caller, user_id: str) -> JsonObject:
    """What the server shows of an account's keys."""
    return await server.call("POST", path("v3", "keys", "query"), {"device_keys": {user_id: []}})


def is_signed(shown: JsonObject, user_id: str, device_id: str) -> bool:
    """Whether `/keys/query` shows the device signed by a self-signing key that the master key signed."""
    try:
        master = shown["master_keys"][user_id]
        own = shown["self_signing_keys"][user_id]
        device = shown["device_keys"][user_id][device_id]
        [(master_id, master_key)] = master["keys"].items()
        [(own_id, own_key)] = own["keys"].items()
        return verify_json(own, user_id, master_id, master_key) and verify_json(device, user_id, own_id, own_key)
    except (KeyError, ValueError, TypeError, AttributeError):
        return False


async def bootstrap(
    server: Caller,
    user_id: str,
    device_id: str,
    keys: CrossSigningKeys,
    sign_as_device: Callable[[bytes], str],
    password: str | None,
    remember: Callable[[CrossSigningKeys], Awaitable[Any]],
) -> bool:
    """Upload cross-signing keys where the account has none of ours, sign the device, and ask the server whether it shows.

    `sign_as_device` signs with the device's own Ed25519 key. `remember` stores keys durably; it is awaited before anything
    is uploaded, since an account whose keys are lost can't be signed again without a person's help. Where somebody has put other
    keys in the place of ours, new ones are made: Synapse answers 500 to keys that were the account's before. Raises CaptureError.
    """
    shown = await query(server, user_id)
    shown_master = shown.get("master_keys", {}).get(user_id, {}).get("keys", {})
    if f"ed25519:{public(keys.master)}" not in shown_master:
        keys = CrossSigningKeys.generate() if shown_master else keys
        await remember(keys)
        await replace(server, user_id, upload(user_id, device_id, keys, sign_as_device), password)
    if not is_signed(shown, user_id, device_id):
        shown = await query(server, user_id)
        device = shown.get("device_keys", {}).get(user_id, {}).get(device_id)
        if not isinstance(device, dict):
            raise CaptureError(f"The homeserver shows no keys of {device_id} of {user_id}.")
        own_id = f"ed25519:{public(keys.self_signing)}"
        signature = {user_id: {device_id: signed(device, user_id, own_id, signer(keys.self_signing))}}
        answer = await server.call("POST", path("v3", "keys", "signatures", "upload"), signature)
        if answer.get("failures"):
            raise MatrixError(400, {"errcode": "M_INVALID_SIGNATURE", "error": str(answer["failures"])}, "signing the device")
        shown = await query(server, user_id)
    return is_signed(shown, user_id, device_id)


async def replace(server: Caller, user_id: str, body: JsonObject, password: str | None) -> None:
    """Make these the account's cross-signing keys; the password proves who we are if the server asks.

    Source: Matrix specification, client-server API, "User-interactive API in the REST API". Raises MatrixError.
    """
    where = path("v3", "keys", "device_signing", "upload")
    try:
        await server.call("POST", where, body)
    except MatrixError as error:
        if error.status != 401 or password is None or "session" not in error.body:
            raise
        proof = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user_id},
            "password": password,
            "session": error.body["session"],
        }
        await server.call("POST", where, {**body, "auth": proof})
