"""What other people publish as their devices' keys can be anything; it harms neither capture nor what is known of others."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager

import pytest

from archiver.capture import cross_signing, devices, service
from archiver.capture.client import CaptureError
from archiver.capture.cross_signing import CrossSigningKeys
from archiver.capture.keystore import KeyStore
from archiver.capture.olm import Machine

ARCHIVER, OTHER = "@archief:x", "@ambtenaar:x"


class Transaction:
    """Where keys would be written."""

    async def execute(self, *_: object) -> None:
        pass

    async def executemany(self, *_: object) -> None:
        pass


class Seat:
    """As much of a seat as asking for devices needs."""

    def __init__(self) -> None:
        self.keys = KeyStore(1, ARCHIVER, "sleutel")
        self.olm = Machine(ARCHIVER, "ARCHIEF", self.keys)

    @asynccontextmanager
    async def tx(self):
        yield Transaction()


class Server:
    """A homeserver that shows what it is told to."""

    def __init__(self, shown: dict) -> None:
        self.shown = shown

    async def call(self, method: str, path: str, body: dict | None = None) -> dict:
        return self.shown


def published(device_id: str) -> tuple[Machine, dict]:
    """A device, and its keys as it publishes them."""
    machine = Machine(OTHER, device_id, KeyStore(1, OTHER, "sleutel"))
    return machine, machine.share_keys()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda keys: keys["keys"].update({"ed25519:STUK": "geen base64!"}),
        lambda keys: keys["keys"].update({"curve25519:STUK": "AAAA"}),
        lambda keys: keys.pop("user_id"),
        lambda keys: keys.update(unsigned=[]),
        lambda keys: keys.update(keys=7),
        lambda keys: keys.update(signatures={}),
        lambda keys: keys.clear(),
    ],
)
async def test_a_device_that_publishes_nonsense_keeps_nobody_from_knowing_the_others(spoil):
    seat = Seat()
    _, good = published("GOED")
    _, bad = published("STUK")
    spoil(bad["device_keys"])
    shown = {"device_keys": {OTHER: {"STUK": bad["device_keys"], "GOED": good["device_keys"]}, "@leeg:x": [], "@niets:x": None}}
    await devices.query(Server(shown), seat, [OTHER])
    assert {device.id for device in seat.olm.device_store.active_user_devices(OTHER)} == {"GOED"}


@pytest.mark.parametrize("nonsense", [{}, {"signed_curve25519:a": {}}, {"signed_curve25519:a": "x"}, 7, None])
async def test_a_one_time_key_that_is_none_keeps_nobody_from_the_others(nonsense):
    seat = Seat()
    shown: dict = {"device_keys": {OTHER: {}}}
    keys = {}
    for device_id in ("STUK", "GOED"):
        _, told = published(device_id)
        shown["device_keys"][OTHER][device_id] = told["device_keys"]
        [name, key] = next(iter(told["one_time_keys"].items()))
        keys[device_id] = {name: key}
    await devices.query(Server(shown), seat, [OTHER])
    keys["STUK"] = nonsense
    await devices.claim(Server({"one_time_keys": {OTHER: keys}}), seat, {OTHER: ["STUK", "GOED"]})
    assert set(seat.olm.get_missing_sessions([OTHER]).get(OTHER, [])) == {"STUK"}


async def test_a_device_that_the_homeserver_does_not_show_is_said_so():
    keys = CrossSigningKeys.generate()
    shown = {"master_keys": {ARCHIVER: {"keys": {f"ed25519:{cross_signing.public(keys.master)}": "x"}}}}

    async def remember(_: CrossSigningKeys) -> None:
        raise AssertionError("nothing new is made")

    with pytest.raises(CaptureError, match="shows no keys of ARCHIEF"):
        await cross_signing.bootstrap(Server(shown), ARCHIVER, "ARCHIEF", keys, lambda _: "x", None, remember)


async def test_what_fails_beside_the_live_stream_is_begun_again_and_ends_nothing(caplog):
    stop, tries = asyncio.Event(), 0

    async def work(_: asyncio.Event) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise KeyError("van een ander")
        stop.set()

    with caplog.at_level(logging.ERROR):
        await asyncio.wait_for(service._beside("mending sessions", work, stop), 10)
    assert tries == 2
    assert "Mending sessions stopped: KeyError" in caplog.text


async def test_trouble_with_the_database_ends_what_it_may_have_left_half_done():
    async def work(_: asyncio.Event) -> None:
        raise OSError("weg")

    with pytest.raises(OSError, match="weg"):
        await service._beside("posting notices", work, asyncio.Event())
