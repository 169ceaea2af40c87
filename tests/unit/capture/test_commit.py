"""What waited for a key is read when the key comes, all of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from types import SimpleNamespace

import pytest
import vodozemac

from archiver.capture.commit import RETRIED, Checked, Committer
from archiver.capture.megolm import ALGORITHM, REPLAYED, Megolm
from archiver.db import tenant_tx
from archiver.ledger.event import Rules, examine
from archiver.ledger.record import OTHER_SENDER, append

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
