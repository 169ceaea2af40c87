"""The origin of a message: what is shown of it, and that it can be checked again with nothing but the download."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from unpaddedbase64 import encode_base64

from archiver.db import tenant_tx
from archiver.ledger.canonical import canonical
from archiver.ledger.event import Rules, content_hash, event_id, redacted_form, signed_form
from tests.unit.web.signed_in import browsing
from tests.unit.web.test_membership import Room

pytestmark = pytest.mark.postgres

RULES = Rules("11")
KEY = """
    INSERT INTO server_key (org, server_name, key_id, public_key, valid_until, expired_at)
    VALUES (1, $1, 'ed25519:a', $2, $3, $4)
"""
NOTED = "SELECT action, detail FROM audit WHERE room_id = $1 AND actor = 'kijker' ORDER BY at, audit_id"


class Signed(Room):
    """A conversation of which each event is signed by a server of its own."""

    def __init__(self, archive: Any, room: str, server: str) -> None:
        super().__init__(archive, room)
        self.server, self.key = server, Ed25519PrivateKey.generate()

    def add(self, kind: str, content: dict[str, Any], sender: str = "", **more: Any) -> str:
        super().add(kind, content, sender or f"@ander:{self.server}", **more)
        arrival = self.arrivals[-1]
        form = {name: value for name, value in redacted_form(arrival.event, RULES).items() if name != "signatures"}
        signature = self.key.sign(canonical(form))
        arrival.event["signatures"] = {self.server: {"ed25519:a": encode_base64(signature)}}
        return arrival.event_id

    @property
    def public(self) -> str:
        return encode_base64(self.key.public_key().public_bytes_raw())


@pytest.fixture
async def talk(archive, room) -> Signed:
    told = Signed(archive, room, f"{room[1:9]}.example")
    told.say("eerst")
    told.arrivals[-1].event.pop("signatures")
    told.add("m.room.message", {"msgtype": "m.text", "body": "hallo"}, prev_events=[told.arrivals[0].event_id, "$weg"])
    await told.keep()
    return told


async def got(client: Any, told: Room, event: str, more: str = "proof.json") -> Any:
    answer = await client.get(f"{told.page}/messages/{quote(event, safe='')}/{more}")
    assert answer.status == 200
    return await answer.json() if more.endswith("json") else await answer.text()


async def set_key(archive: Any, told: Signed, until: datetime, expired: datetime | None = None) -> None:
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute(KEY, told.server, told.public, until, expired)


async def test_the_download_can_be_checked_by_itself(talk, archive, tmp_path):
    await set_key(archive, talk, datetime.now(UTC) + timedelta(days=1))
    said = talk.arrivals[1]
    async with browsing(archive, tmp_path, "records-officer") as client:
        told = await got(client, talk, said.event_id)
    event = told["event"]
    assert event["content"]["body"] == "hallo"
    assert event_id(event, RULES) == told["event_id"] == told["checks"]["id"]["computed_now"]
    assert content_hash(event) == event["hashes"]["sha256"] == told["checks"]["content"]["computed_now"]
    [signature] = told["checks"]["signatures"]
    assert (signature["server"], signature["state"], signature["needed"]) == (talk.server, "good", True)
    public = Ed25519PrivateKey.from_private_bytes(talk.key.private_bytes_raw()).public_key()
    assert encode_base64(public.public_bytes_raw()) == signature["public_key"]
    form = {name: value for name, value in redacted_form(event, RULES).items() if name != "signatures"}
    raw = event["signatures"][talk.server]["ed25519:a"]
    public.verify(base64.b64decode(raw + "=" * (-len(raw) % 4)), canonical(form))
    salt = base64.b64decode(told["commitment"]["salt"])
    assert hmac.digest(salt, canonical(signed_form(event, RULES)), hashlib.sha256).hex() == told["commitment"]["value"]
    assert [edge["state"] for edge in told["previous"]] == ["here", "missing"]


@pytest.mark.parametrize(
    ("until", "expired", "state", "words"),
    [
        (None, None, "no-key", "De sleutel van deze server is nog niet bekend"),
        (datetime(2020, 1, 1, tzinfo=UTC), None, "key-expired", "de server gebruikte deze sleutel niet meer"),
        (datetime(2099, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC), "key-expired", "gebruikte deze sleutel niet meer"),
        (datetime(2099, 1, 1, tzinfo=UTC), None, "good", "Deze server heeft het bericht ondertekend"),
    ],
)
async def test_a_signature_is_told_in_words(talk, archive, tmp_path, until, expired, state, words):
    if until:
        await set_key(archive, talk, until, expired)
    async with browsing(archive, tmp_path, "inspector") as client:
        told = await got(client, talk, talk.arrivals[1].event_id)
        page = await got(client, talk, talk.arrivals[1].event_id, "proof")
    assert told["checks"]["signatures"][0]["state"] == state
    assert words in page
    assert "$weg" in page
    assert "ontbreekt in het archief" in page


async def test_a_signature_by_another_key_is_wrong(talk, archive, tmp_path):
    talk.key = Ed25519PrivateKey.generate()
    await set_key(archive, talk, datetime(2099, 1, 1, tzinfo=UTC))
    async with browsing(archive, tmp_path, "records-officer") as client:
        assert (await got(client, talk, talk.arrivals[1].event_id))["checks"]["signatures"][0]["state"] == "wrong"


async def test_an_encrypted_message_tells_of_its_device_and_who_refused_the_key(archive, room, tmp_path):
    told, session = Room(archive, room), "s" * 43
    content = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x", "session_id": session}
    said = told.add("m.room.encrypted", content, "@anna:x")
    other = told.add("m.room.encrypted", content | {"session_id": "z" * 43}, "@anna:x")
    await told.keep()
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute(
            "INSERT INTO megolm_session (org, room_id, session_id, user_id, sender_key, signing_key, first_index, pickle, giver) "
            "VALUES (1, $1, $2, '@archief:x', $1, 'e', 0, '', '@anna:x')", room, session,
        )  # fmt: skip
        await tx.execute(
            "INSERT INTO sender_device (org, user_id, curve25519, ed25519, device_id, master_key, cross_signed) "
            "VALUES (1, '@anna:x', $1, 'e', 'TELEFOON', 'meester', false)", room,
        )  # fmt: skip
        await tx.execute(
            "INSERT INTO withheld (org, room_id, session_id, code, sender) VALUES (1, $1, $2, 'm.blacklisted', '@anna:x')",
            room, "z" * 43,
        )  # fmt: skip
    async with browsing(archive, tmp_path, "records-officer") as client:
        device = (await got(client, told, said))["sender_device"]
        page = await got(client, told, said, "proof")
        refused = await got(client, told, other, "proof")
    assert (device["device_id"], device["cross_signed"], device["master_key"]) == ("TELEFOON", False, "meester")
    assert "TELEFOON" in page
    assert "had dit apparaat toen niet ondertekend" in page
    assert "heeft het apparaat van het archief geblokkeerd" in refused


async def test_every_version_is_named_and_the_look_is_noted_before(talk, archive, tmp_path):
    told = Room(archive, talk.room + "b")
    said = told.say("een")
    edit = told.edit(said, "twee")
    await told.keep()
    async with browsing(archive, tmp_path, "records-officer", person="kijker") as client:
        page = await got(client, told, said, "proof")
        answer = await client.get(f"{told.page}/messages/{quote(said, safe='')}/proof.json")
    assert edit in page
    assert "twee" in page
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="')
    async with tenant_tx(archive.pool, 1) as tx:
        noted = await tx.fetch(NOTED, told.room)
    assert [row["action"] for row in noted] == ["proof", "proof download"]
    assert json.loads(noted[0]["detail"]) == {"role": "records-officer", "event_id": said}


async def test_an_official_checks_their_own_and_is_not_told_of_what_they_could_not_see(archive, room, tmp_path):
    me, told = "@lid:x", Room(archive, room)
    before = told.say("ervoor")
    told.member(me, "join")
    said = told.add("m.room.message", {"msgtype": "m.text", "body": "van mij"}, me, prev_events=[before])
    told.member(me, "leave")
    told.add("m.room.message", {"msgtype": "m.text", "body": "erna"}, prev_events=[said])
    await told.keep()
    async with browsing(archive, tmp_path, "official", person=me, matrix_id=me) as client:
        found = await got(client, told, said)
        assert found["previous"] == [{"event_id": before, "state": "unknown"}]
        assert found["next"] == []
        assert (await client.get(f"{told.page}/messages/{quote(before, safe='')}/proof")).status == 404
    async with browsing(archive, tmp_path, "records-officer") as client:
        assert len((await got(client, told, said))["next"]) == 1
