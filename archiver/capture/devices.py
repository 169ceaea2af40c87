"""Other people's devices, asked of the homeserver only when something must be sent to them or known of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nio.responses import KeysClaimResponse, KeysQueryResponse

from archiver.capture.client import Homeserver, path
from archiver.capture.cross_signing import is_signed
from archiver.capture.seat import Seat
from archiver.ledger.canonical import JsonObject
from archiver.ledger.event import verify_json


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
    seat.olm.handle_response(KeysQueryResponse.from_dict(shown))
    return shown


async def claim(server: Homeserver, seat: Seat, wanted: Mapping[str, Iterable[str]]) -> None:
    """Open an Olm session with each of these devices (account to device ids); stored before it is used."""
    body = {"one_time_keys": {user: dict.fromkeys(devices, "signed_curve25519") for user, devices in wanted.items()}}
    claimed = await server.call("POST", path("v3", "keys", "claim"), body)
    seat.olm.handle_response(KeysClaimResponse.from_dict(claimed, ""))
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
    of_user = shown.get("device_keys", {}).get(user_id)
    for device_id, told in (of_user if isinstance(of_user, dict) else {}).items():
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
