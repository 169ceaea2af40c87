"""What waited for a key is read when the key comes, all of it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from types import SimpleNamespace

import pytest
import vodozemac

from archiver.capture.commit import RETRIED, Committer
from archiver.capture.megolm import ALGORITHM, REPLAYED, Megolm
from archiver.db import tenant_tx
from archiver.ledger.record import append

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
