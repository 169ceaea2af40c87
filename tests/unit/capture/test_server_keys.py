"""What a server tells of its keys: believed when it signed it, and for as long as it says."""

import asyncio
import datetime as dt
import json
import time

import pytest
from signedjson.key import generate_signing_key, get_verify_key
from signedjson.sign import sign_json
from unpaddedbase64 import encode_base64

from archiver.capture import server_keys
from archiver.capture.client import HomeserverUnreachable
from archiver.capture.server_keys import ServerKeys, believable, needed, verify

NAME = "verweg.example"
NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
DAY = 86_400_000


def millis(moment: dt.datetime) -> int:
    return int(moment.timestamp() * 1000)


def public(key) -> str:
    return encode_base64(get_verify_key(key).encode())


def answer(key, until: int, *, old: dict | None = None, name: str = NAME, **more) -> dict:
    """A server's key answer, signed by signedjson."""
    told = {
        "server_name": name, "valid_until_ts": until, "old_verify_keys": old or {},
        "verify_keys": {f"ed25519:{key.version}": {"key": public(key)}}, **more,
    }  # fmt: skip
    return sign_json(told, name, key)


class FakeHomeserver:
    """Gives what `answers` holds, or doesn't answer."""

    def __init__(self) -> None:
        self.answers: list[dict] | None = None
        self.asked: list[dict] = []

    async def call(self, method: str, path: str, body: dict) -> dict:
        assert (method, path) == ("POST", "/_matrix/key/v2/query")
        self.asked.append(body["server_keys"])
        if self.answers is None:
            raise HomeserverUnreachable("stil")
        return {"server_keys": self.answers}


@pytest.fixture
def one():
    return generate_signing_key("een")


@pytest.fixture
def other():
    return generate_signing_key("twee")


def test_a_key_is_valid_as_long_as_its_server_says_but_no_more_than_seven_days(one):
    for days, believed in ((1, 1), (7, 7), (3650, 7)):
        [key] = verify(answer(one, millis(NOW) + days * DAY), NAME, NOW).keys
        assert (key.until, key.expired) == (NOW + dt.timedelta(days=believed), False)


def test_an_old_key_counts_for_what_was_sent_before_it_expired(one, other):
    old = {f"ed25519:{other.version}": {"key": public(other), "expired_ts": millis(NOW) - 5 * DAY}}
    keys = {key.key_id: key for key in verify(answer(one, millis(NOW) + DAY, old=old), NAME, NOW).keys}
    assert keys["ed25519:twee"].expired
    assert keys["ed25519:twee"].until == NOW - dt.timedelta(days=5)


def test_an_answer_that_the_server_did_not_sign_is_not_believed(one, other):
    good = answer(one, millis(NOW) + DAY)
    assert verify(good, NAME, NOW)
    assert verify(good, "ander.example", NOW) is None
    assert verify(good | {"valid_until_ts": millis(NOW) + 2 * DAY}, NAME, NOW) is None
    assert verify(good | {"verify_keys": {f"ed25519:{other.version}": {"key": public(other)}}}, NAME, NOW) is None
    assert verify(good | {"signatures": {}}, NAME, NOW) is None
    # Only present keys vouch for an answer: one that was given up may have been stolen.
    told = {
        "server_name": NAME, "valid_until_ts": millis(NOW) + DAY, "verify_keys": {"ed25519:een": {"key": public(one)}},
        "old_verify_keys": {"ed25519:twee": {"key": public(other), "expired_ts": millis(NOW)}},
    }  # fmt: skip
    assert verify(sign_json(told, NAME, other), NAME, NOW) is None


@pytest.mark.parametrize(
    "more",
    [
        {
            "old_verify_keys": {
                "ed25519:\0": {"key": "AAAA"},
                "ed25519:x": {"key": "geen sleutel"},
                "y": 3,
                "ed25519:z": {"key": 3},
            }
        },
        {"old_verify_keys": "niets", "verzonnen": "\0"},
        {"unsigned": {"x": 1e300}},
    ],
)
def test_what_is_no_key_in_an_answer_harms_no_key_beside_it(one, more):
    told = verify(answer(one, millis(NOW) + DAY) | {"unsigned": {}}, NAME, NOW)
    odd = sign_json(
        {**{k: v for k, v in answer(one, millis(NOW) + DAY).items() if k != "signatures"}, **more}, NAME, one
    )  # fmt: skip
    assert verify(odd, NAME, NOW).keys == told.keys
    assert "\0" not in verify(odd, NAME, NOW).proof.decode()


def test_what_is_needed_is_the_key_of_who_must_sign_for_the_latest_time():
    event = {"sender": f"@a:{NAME}", "signatures": {NAME: {"ed25519:een": "x"}, "ander.example": {"ed25519:een": "x"}}}
    events = [event | {"origin_server_ts": sent} for sent in (5, 9, "later", None)]
    assert needed(events) == {(NAME, "ed25519:een"): 9}
    evil = {"sender": "@a:../../client/v3", "signatures": {"../../client/v3": {"ed25519:een": "x"}}}
    assert needed([evil]) == {}


async def test_an_event_of_an_impossible_time_keeps_no_key_from_its_neighbours(one):
    now = int(time.time() * 1000)
    events = [
        {"sender": f"@a:{NAME}", "origin_server_ts": sent, "signatures": {NAME: {"ed25519:een": "x"}}}
        for sent in (now, 10**30, now)
    ]
    server = FakeHomeserver()
    server.answers = [answer(one, now + DAY)]
    assert await ServerKeys(server, "rijk.example").learn(needed(events, believable()))


async def test_a_server_is_asked_again_when_its_answer_is_no_longer_new_enough(one):
    now = int(time.time() * 1000)
    server, pair = FakeHomeserver(), (NAME, "ed25519:een")
    keys = ServerKeys(server, "rijk.example")
    server.answers = [answer(one, now + 1000)]
    assert await keys.learn({pair: now})
    assert not await keys.learn({pair: now + 1000})
    assert server.asked == [{NAME: {"ed25519:een": {"minimum_valid_until_ts": now}}}]
    server.answers = [answer(one, now + DAY)]
    assert await keys.learn({pair: now + 2000})
    assert keys.known[pair].until == now + DAY
    assert not await keys.learn({pair: now + 30 * DAY}), "no answer of today is believed that far"
    assert len(server.asked) == 2


async def test_a_server_that_does_not_answer_is_asked_again_later_but_not_with_every_event(one, monkeypatch):
    now = int(time.time() * 1000)
    server, pair = FakeHomeserver(), (NAME, "ed25519:een")
    keys = ServerKeys(server, "rijk.example")
    for _ in range(3):
        assert await keys.learn({pair: now}) == []
    assert len(server.asked) == 1
    keys._vain[pair] = (0.0, 60.0)  # a minute later
    server.answers = [answer(one, now + DAY)]
    assert await keys.learn({pair: now})
    assert pair in keys.known


async def test_live_capture_does_not_wait_for_a_server_that_hangs(monkeypatch):
    monkeypatch.setattr(server_keys, "ASK_AT_MOST", 0.05)

    class Hanging(FakeHomeserver):
        async def call(self, method, path, body):
            await asyncio.sleep(30)

    keys = ServerKeys(Hanging(), "rijk.example")
    began = time.monotonic()
    assert await keys.learn({(f"s{n}.example", "ed25519:a"): 1 for n in range(200)}) == []
    assert time.monotonic() - began < 10


async def test_a_name_stays_with_its_first_key_and_an_old_key_never_becomes_valid_for_later(one):
    now = int(time.time() * 1000)
    server, pair = FakeHomeserver(), (NAME, "ed25519:een")
    keys = ServerKeys(server, "rijk.example")
    server.answers = [answer(one, now + DAY)]
    await keys.ask(NAME, {pair: now})
    server.answers = [answer(generate_signing_key("een"), now + 2 * DAY)]
    await keys.ask(NAME, {pair: now})
    assert (keys.known[pair].key.to_base64(), keys.known[pair].until) == (encode_base64(get_verify_key(one).encode()), now + DAY)
    next_key = generate_signing_key("drie")
    for expired in (now - 5000, now - 1000):
        server.answers = [answer(next_key, now + DAY, old={"ed25519:een": {"key": public(one), "expired_ts": expired}})]
        await keys.ask(NAME, {pair: now})
        assert keys.known[pair].until == now - 5000
    server.answers = [answer(one, now + DAY)]
    await keys.ask(NAME, {pair: now})
    assert keys.known[pair].until == now - 5000


def test_the_proof_is_the_answer_as_it_was_signed(one):
    from signedjson.sign import verify_signed_json

    proof = json.loads(verify(answer(one, millis(NOW) + DAY), NAME, NOW).proof)
    verify_signed_json(proof, NAME, get_verify_key(one))
