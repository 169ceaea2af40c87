"""What waited for a key is read when the key comes, all of it; a room is read by its own version."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from types import SimpleNamespace

import pytest
import vodozemac

from archiver.capture.client import MatrixError
from archiver.capture.commit import RETRIED, Checked, Committer
from archiver.capture.megolm import ALGORITHM, REPLAYED, Megolm
from archiver.capture.page import Page, RoomPage
from archiver.capture.server_keys import ServerKeys
from archiver.db import tenant_tx
from archiver.db.schema import migrations
from archiver.ledger.claims import BRIDGE_KEY, CLAIMED_SOURCE, claims
from archiver.ledger.event import Rules, event_id, examine, signed_form
from archiver.ledger.record import OTHER_SENDER, append
from tests.fuzz.real import seated

pytestmark = pytest.mark.postgres

KEEP = """
    INSERT INTO megolm_session (org, user_id, room_id, session_id, sender_key, signing_key, first_index, pickle, giver)
    VALUES (1, '@archief:x', $1, $2, 'c', 's', 0, $3, '@minister:x')
"""


async def test_every_message_that_waited_is_read_when_its_key_comes_however_many_there_are(archive, room):
    group = vodozemac.GroupSession()
    session = vodozemac.InboundGroupSession(group.session_key)
    arrivals = []
    for number in range(2 * RETRIED + 150):
        said = {"type": "m.room.message", "room_id": room, "content": {"msgtype": "m.text", "body": f"bericht {number}"}}
        ciphertext = group.encrypt(json.dumps(said).encode()).to_base64()
        content = {"algorithm": ALGORITHM, "session_id": group.session_id, "ciphertext": ciphertext}
        arrivals.append(archive.arrival(content, room, type="m.room.encrypted", depth=number))
    again = archive.arrival(arrivals[7].event["content"], room, type="m.room.encrypted", depth=9999)
    async with tenant_tx(archive.pool, 1) as tx:
        await append(tx, archive.vault, [dataclasses.replace(a, unreadable="no-key") for a in [*arrivals, again]])
        await tx.execute(KEEP, room, group.session_id, session.pickle(hashlib.sha256(b"k").digest()).encode())
    seat = SimpleNamespace(org=1, vault=archive.vault, user_id="@archief:x")
    committer = Committer(seat, Megolm(1, "@archief:x", "k", 10), None, None, ())
    async with tenant_tx(archive.pool, 1) as tx:
        await committer._open_waiting(tx, [(room, group.session_id)])
        rows = await tx.fetch(
            "SELECT event_id, unreadable, payload_type, message_index, doubts FROM record WHERE room_id = $1", room
        )
    assert len(rows) == len(arrivals) + 1
    assert {row["unreadable"] for row in rows} == {None}
    assert {row["payload_type"] for row in rows} == {"m.room.message"}
    assert {row["message_index"] for row in rows} == set(range(len(arrivals)))
    doubted = [row for row in rows if row["doubts"]]
    assert [(row["message_index"], row["doubts"]) for row in doubted] == [(7, [REPLAYED])], "the second with the same ciphertext"


def sent_twice(archive, room: str, count: int) -> tuple[vodozemac.InboundGroupSession, str, list, list]:
    """(session, its id, the minister's messages, somebody else's copies of their ciphertext)."""
    group = vodozemac.GroupSession()
    session, genuine, copies = vodozemac.InboundGroupSession(group.session_key), [], []
    for number in range(count):
        said = {"type": "m.room.message", "room_id": room, "content": {"msgtype": "m.text", "body": f"bericht {number}"}}
        ciphertext = group.encrypt(json.dumps(said).encode()).to_base64()
        content = {"algorithm": ALGORITHM, "session_id": group.session_id, "ciphertext": ciphertext}
        genuine.append(archive.arrival(content, room, type="m.room.encrypted", depth=number))
        copies.append(archive.arrival(content, room, type="m.room.encrypted", depth=number + 100, sender="@kopie:x"))
    return session, group.session_id, genuine, copies


async def doubts(tx, room: str) -> dict[str, set[str]]:
    return {row["event_id"]: set(row["doubts"]) for row in await tx.fetch("SELECT * FROM record WHERE room_id = $1", room)}


async def test_a_copy_that_history_shows_first_makes_no_replay_of_the_message_it_copies(archive, room):
    session, session_id, genuine, copies = sent_twice(archive, room, 2)
    own_again = archive.arrival(genuine[0].event["content"], room, type="m.room.encrypted", depth=200)
    seat, keys = SimpleNamespace(org=1, vault=archive.vault, user_id="@archief:x"), SimpleNamespace(known={})
    committer, rules = Committer(seat, Megolm(1, "@archief:x", "k", 10), keys, None, ()), Rules("11")
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute(KEEP, room, session_id, session.pickle(hashlib.sha256(b"k").digest()).encode())
    # Newest page first; then a page in which the copy stands before what it copies.
    for page in ([copies[0]], [copies[1], genuine[1], genuine[0]], [own_again]):
        events = tuple((each.event, examine(each.event, rules, {})) for each in page)
        async with tenant_tx(archive.pool, 1) as tx:
            await committer._append(tx, [Checked(room, rules, events, ())])
    async with tenant_tx(archive.pool, 1) as tx:
        found = await doubts(tx, room)
    assert [found[each.event_id] for each in genuine] == [set(), set()]
    assert all(OTHER_SENDER in found[each.event_id] for each in copies)
    assert found[own_again.event_id] == {REPLAYED}, "what the sender's own account repeats is a replay still"


async def test_a_copy_that_waits_beside_the_message_it_copies_makes_no_replay_of_it(archive, room):
    session, session_id, genuine, copies = sent_twice(archive, room, 8)  # waiting ones are taken by their id: in any order
    async with tenant_tx(archive.pool, 1) as tx:
        await append(tx, archive.vault, [dataclasses.replace(a, unreadable="no-key") for a in [*copies, *genuine]])
        await tx.execute(KEEP, room, session_id, session.pickle(hashlib.sha256(b"k").digest()).encode())
    seat = SimpleNamespace(org=1, vault=archive.vault, user_id="@archief:x")
    committer = Committer(seat, Megolm(1, "@archief:x", "k", 10), None, None, ())
    async with tenant_tx(archive.pool, 1) as tx:
        await committer._open_waiting(tx, [(room, session_id)])
        found = await doubts(tx, room)
    assert [found[each.event_id] for each in genuine] == [set()] * 8
    assert all(OTHER_SENDER in found[each.event_id] for each in copies)


class Server:
    """Tells, or does not tell, what made a room."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = 0

    async def call(self, *_, **__):
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def changed(room, depth):
    """An event whose id is one under version 10 and another under version 11: what redaction leaves of it differs."""
    return {
        "type": "m.room.power_levels", "state_key": "", "room_id": room, "sender": "@minister:x", "depth": depth,
        "origin_server_ts": 1_764_000_000_000, "prev_events": [], "auth_events": [], "signatures": {},
        "hashes": {"sha256": "x"}, "content": {"invite": 50, "users": {"@minister:x": 100}},
    }  # fmt: skip


def created(room, version):
    content = {"room_version": version, "creator": "@minister:x"}
    return changed(room, 1) | {"type": "m.room.create", "content": content}


def identity(event, version):
    return event_id(signed_form(event, Rules(version)), Rules(version))


async def kept(archive, room):
    async with tenant_tx(archive.pool, 1) as tx:
        rows = await tx.fetch("SELECT event_id, depth FROM record WHERE room_id = $1 AND type = 'm.room.power_levels'", room)
    return {row["depth"]: row["event_id"] for row in rows}


async def version_of(archive, room):
    async with tenant_tx(archive.pool, 1) as tx:
        row = await tx.fetchrow("SELECT version, version_guessed FROM room WHERE room_id = $1", room)
    return tuple(row) if row else None


def page(room, membership, *events):
    return Page("s", (RoomPage(room, membership, tuple(events), False, None),))


@pytest.fixture
async def committers(archive):
    """Makes committers of one seat: each is the archiver after a restart."""
    async with seated(archive.url, archive.vault) as seat:
        megolm = Megolm(1, seat.user_id, seat.secrets.pickle_key, 10)
        yield lambda server: Committer(seat, megolm, ServerKeys(Server(MatrixError(404, {}, "keys")), "y"), server, ())


LEFT = MatrixError(403, {"errcode": "M_FORBIDDEN"}, "state")


async def test_a_guessed_version_is_forgotten_as_soon_as_the_real_one_is_told(archive, room, committers):
    before, then, after = changed(room, 5), changed(room, 6), changed(room, 7)
    assert identity(then, "10") != identity(then, "11"), "else nothing is shown"
    first = committers(Server(LEFT))
    await first.sync(page(room, "leave", before))
    assert await version_of(archive, room) == ("11", True)
    await first.sync(page(room, "join", created(room, "10"), then))
    assert await version_of(archive, room) == ("10", False)
    again = Server(LEFT)
    await committers(again).sync(page(room, "join", after))
    assert not again.asked
    assert await kept(archive, room) == {5: identity(before, "11"), 6: identity(then, "10"), 7: identity(after, "10")}


async def test_a_guess_outlives_no_page_and_is_asked_for_again(archive, room, committers):
    committer = committers(server := Server(LEFT))
    await committer.history(room, [changed(room, 5)], [])
    await committer.sync(page(room, "leave", changed(room, 6)))
    server.answer = {"room_version": "10"}
    await committer.history(room, [changed(room, 7)], [])
    await committer.sync(page(room, "join", changed(room, 8)))
    assert await version_of(archive, room) == ("10", False)
    versions = {5: "11", 6: "11", 7: "10", 8: "10"}
    assert await kept(archive, room) == {depth: identity(changed(room, depth), version) for depth, version in versions.items()}


async def test_a_version_that_history_tells_is_kept_for_the_next_archiver(archive, room, committers):
    committer = committers(Server(LEFT))
    await committer.sync(page(room, "leave", changed(room, 6)))
    await committer.history(room, [created(room, "10")], [])
    assert await version_of(archive, room) == ("10", False)


@pytest.mark.parametrize("status", [429, 500, 502])
async def test_while_a_homeserver_can_t_tell_the_version_nothing_is_kept_by_a_guess(archive, room, committers, status):
    committer = committers(server := Server(MatrixError(status, {}, "state")))
    with pytest.raises(MatrixError):
        await committer.sync(page(room, "join", changed(room, 5)))
    assert (await version_of(archive, room), await kept(archive, room)) == (None, {})
    server.answer = {"room_version": "10"}
    await committer.sync(page(room, "join", changed(room, 5)))
    assert await kept(archive, room) == {5: identity(changed(room, 5), "10")}


async def test_of_the_rooms_of_before_those_without_their_first_event_are_asked_for_again(archive, room, committers):
    known = f"{room}-bekend"
    committer = committers(Server({"room_version": "11"}))
    await committer.sync(page(room, "join", changed(room, 5)))
    await committer.sync(page(known, "join", created(known, "11")))
    async with archive.pool.acquire() as owner:
        undone = owner.transaction()
        await undone.start()
        try:
            await owner.execute("ALTER TABLE room DROP version_guessed")
            await owner.execute(migrations()[8])
            await owner.execute("SELECT set_config('griffier.org', '1', true)")
            rows = await owner.fetch("SELECT room_id, version_guessed FROM room WHERE room_id = ANY($1)", [room, known])
            tables = "SELECT bool_and(relforcerowsecurity) FROM pg_class WHERE relname IN ('room', 'record')"
            forced = await owner.fetchval(tables)
        finally:
            await undone.rollback()
    assert (dict(map(tuple, rows)), forced) == ({room: True, known: False}, True)


BOT, GHOST, OFFICIAL = "@whatsappbot:x", "@whatsapp_31600000101:x", "@minister:x"
PUPPET = {"fi.mau.double_puppet_source": "mautrix-whatsapp"}
HOLE = {"fi.mau.whatsapp.undecryptable": True}
GIVEN = KEEP.replace("'@minister:x')", "$4)")


@pytest.mark.parametrize(
    ("sender", "giver", "content", "wanted"),
    [
        (GHOST, BOT, {}, set()),
        (GHOST, BOT, HOLE, set()),
        (OFFICIAL, BOT, PUPPET, {OTHER_SENDER, BRIDGE_KEY}),
        (OFFICIAL, BOT, PUPPET | HOLE, {OTHER_SENDER, BRIDGE_KEY}),
        (OFFICIAL, BOT, {}, {OTHER_SENDER}),
        (OFFICIAL, BOT, HOLE, {OTHER_SENDER, CLAIMED_SOURCE}),
        (OFFICIAL, OFFICIAL, PUPPET, {CLAIMED_SOURCE}),
        (OFFICIAL, OFFICIAL, PUPPET | HOLE, {CLAIMED_SOURCE}),
        (OFFICIAL, "@kwaad:x", PUPPET, {OTHER_SENDER, CLAIMED_SOURCE}),
        (GHOST, "@kwaad:x", {}, {OTHER_SENDER}),
    ],
    ids=[
        "a ghost", "a ghost's hole", "the official's phone", "a hole on the official's phone", "the official, it says not why",
        "a hole of the official's, it says not why", "the official's own device",
        "the official's own device plays the bridge", "another's key and the official's phone", "another's key and a ghost",
    ],
)  # fmt: skip
async def test_a_bridge_s_device_speaks_for_its_ghosts_and_for_officials_on_their_phones(
    archive, room, sender, giver, content, wanted
):
    group = vodozemac.GroupSession()
    session = vodozemac.InboundGroupSession(group.session_key)
    said = {"type": "m.room.message", "room_id": room, "content": {"msgtype": "m.text", "body": "hallo"} | content}
    ciphertext = group.encrypt(json.dumps(said).encode()).to_base64()
    sealed = {"algorithm": ALGORITHM, "session_id": group.session_id, "ciphertext": ciphertext}
    sent = archive.arrival(sealed, room, type="m.room.encrypted", sender=sender)
    seat, keys = SimpleNamespace(org=1, vault=archive.vault, user_id="@archief:x"), SimpleNamespace(known={})
    committer = Committer(seat, Megolm(1, "@archief:x", "k", 10), keys, None, (BOT, "@whatsapp_*:x"))
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute(GIVEN, room, group.session_id, session.pickle(hashlib.sha256(b"k").digest()).encode(), giver)
        events = ((sent.event, examine(sent.event, Rules("11"), {})),)
        await committer._append(tx, [Checked(room, Rules("11"), events, ())])
        assert (await doubts(tx, room))[sent.event_id] == wanted


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("m.bridge", {}), ("uk.half-shot.bridge", {}), ("com.beeper.message_send_status", {}),
        ("m.room.message", {"nl.griffier.interruption": {}}), ("m.room.message", {"nl.griffier.alarm": {}}),
        ("m.room.message", {"fi.mau.whatsapp.failed_media": {}}), ("m.room.message", {"com.beeper.dont_render_edited": True}),
        ("m.room.redaction", {"reason": "Message disappeared"}),
    ],
)  # fmt: skip
def test_what_only_a_bridge_may_say_is_flagged_when_another_says_it(kind, content):
    assert claims(kind, content)
    assert not claims("m.room.message", {"msgtype": "m.text", "body": "Message disappeared", "reason": "Message disappeared"})
