"""Other people's devices, asked of the homeserver only when something must be sent to them or known of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import vodozemac
from nio.responses import KeysClaimResponse, KeysQueryResponse

from archiver.capture.client import Homeserver, path
from archiver.capture.cross_signing import is_signed
from archiver.capture.seat import Seat
from archiver.ledger.canonical import JsonObject, column
from archiver.ledger.event import verify_json

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Device:
    """A device as the homeserver shows it."""

    device_id: str
    ed25519: str
    master_key: str | None  # the account's cross-signing identity
    cross_signed: bool


async def query(server: Homeserver, seat: Seat, users: Iterable[str]) -> JsonObject:
    """Ask for these accounts' devices and have the Olm machine know them; returns what the homeserver shows."""
    shown = await server.call("POST", path("v3", "keys", "query"), {"device_keys": {user: [] for user in users}})
    told = shown.get("device_keys")
    for user_id, of_user in (told if isinstance(told, dict) else {}).items():
        sound = {device_id: keys for device_id, keys in _entries(of_user) if usable(user_id, device_id, keys)}
        # Account by account: what one has published must not keep us from knowing the others.
        _hand(seat, KeysQueryResponse.from_dict({"device_keys": {user_id: sound}, "failures": {}}), KeysQueryResponse, user_id)
    return shown


def usable(user_id: str, device_id: str, told: Any) -> bool:
    """Whether these are the keys of a device that can be spoken to: well formed, and signed by the device itself."""
    try:
        keys = told["keys"]
        vodozemac.Curve25519PublicKey.from_base64(keys[f"curve25519:{device_id}"])
        one = KeysQueryResponse.from_dict({"device_keys": {user_id: {device_id: told}}, "failures": {}})
        sound = isinstance(one, KeysQueryResponse) and isinstance(told.get("unsigned", {}), dict)
        named = (told["user_id"], told["device_id"]) == (user_id, device_id)
        return sound and named and verify_json(told, user_id, f"ed25519:{device_id}", keys[f"ed25519:{device_id}"])
    except (KeyError, TypeError, ValueError, AttributeError):
        return False


def _entries(value: Any) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, dict) else ()


def _hand(seat: Seat, response: Any, kind: type, whose: str) -> None:
    """Give an answer to nio's Olm machine; whatever is wrong with it harms nobody else."""
    try:
        if isinstance(response, kind):
            seat.olm.handle_response(response)
            return
    except Exception as error:
        log.warning("The keys of %s can't be used: %s", column(whose), type(error).__name__)
        return
    log.warning("The keys of %s can't be used: they are not of the form that the specification asks for.", column(whose))


async def claim(server: Homeserver, seat: Seat, wanted: Mapping[str, Iterable[str]]) -> None:
    """Open an Olm session with each of these devices (account to device ids); stored before it is used."""
    body = {"one_time_keys": {user: dict.fromkeys(devices, "signed_curve25519") for user, devices in wanted.items()}}
    claimed = await server.call("POST", path("v3", "keys", "claim"), body)
    for user_id, of_user in _entries(claimed.get("one_time_keys")):
        for device_id, keys in _entries(of_user):
            one = KeysClaimResponse.from_dict({"one_time_keys": {user_id: {device_id: keys}}, "failures": {}}, "")
            _hand(seat, one, KeysClaimResponse, user_id)
    async with seat.tx() as tx:
        await seat.keys.flush(tx)


def find(shown: JsonObject, user_id: str, curve25519: str) -> Device | None:
    """The device with this Curve25519 key, if it has signed its own keys (specification, "Device keys")."""
    try:
        for device_id, told in shown["device_keys"][user_id].items():
            ed25519 = told["keys"][f"ed25519:{device_id}"]
            if told["keys"].get(f"curve25519:{device_id}") != curve25519:
                continue
            if told["user_id"] != user_id or told["device_id"] != device_id:
                return None
            if not verify_json(told, user_id, f"ed25519:{device_id}", ed25519):
                return None
            return Device(device_id, ed25519, _master(shown, user_id), is_signed(shown, user_id, device_id))
    except (KeyError, TypeError, AttributeError):
        return None
    return None


def curve25519_keys(shown: JsonObject, user_id: str) -> Iterator[tuple[str, str]]:
    """(device id, Curve25519 key) of each device that the homeserver shows of an account."""
    of_all = shown.get("device_keys")
    for device_id, told in _entries(of_all.get(user_id) if isinstance(of_all, dict) else None):
        keys = told.get("keys") if isinstance(told, dict) else None
        key = keys.get(f"curve25519:{device_id}") if isinstance(keys, dict) else None
        if isinstance(key, str):
            yield device_id, key


def _master(shown: JsonObject, user_id: str) -> str | None:
    try:
        [key] = shown["master_keys"][user_id]["keys"].values()
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    value: Any = key
    return value if isinstance(value, str) else None
