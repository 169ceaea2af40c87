"""What was read can be read again by others: the sealed event and the session's key, both from the database, and libolm."""

import json
import secrets
from dataclasses import replace

import olm
import pytest
from nio.crypto import InboundGroupSession

from archiver.capture import seat as seats
from archiver.capture.cross_signing import CrossSigningKeys
from archiver.capture.keystore import KeyStore
from archiver.capture.megolm import ALGORITHM, Megolm, exported_session
from archiver.capture.seat import Secrets
from archiver.db import tenant_tx
from archiver.ledger.record import COLUMNS, append, unseal
from archiver.ledger.sealing import FileKey, Vault


@pytest.fixture
async def seat(archive) -> tuple[str, str]:
    """(account, pickle key) of a seat of the archive."""
    user_id, kept = f"@archief-{secrets.token_hex(4)}:x", Secrets(secrets.token_hex(16), CrossSigningKeys.generate())
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute(seats.ADD, 1, user_id, "APPARAAT", archive.vault.wrap(kept.dump(), f"seat|{user_id}"))
    return user_id, kept.pickle_key


async def take(archive, seat, session: InboundGroupSession) -> None:
    """A room key comes in, as nio hands it to the store."""
    store = KeyStore(1, *seat)
    store.save_inbound_group_session(session)
    async with tenant_tx(archive.pool, 1) as tx:
        await store.flush(tx)


async def test_libolm_decrypts_from_the_database_alone_to_what_is_stored(archive, room, seat):
    sender, giver = olm.OutboundGroupSession(), "@minister:x"
    await take(archive, seat, InboundGroupSession(sender.session_key, "ed", "curve", room))
    payloads = [
        json.dumps({"type": "m.room.message", "room_id": room, "content": {"body": f"nummer {n} \ud83e\udd2b"}}).encode()
        for n in range(5)
    ]
    megolm = Megolm(1, *seat, size=10)
    async with tenant_tx(archive.pool, 1) as tx:
        await megolm.prepare(tx, [(room, sender.id)])
        for number, payload in enumerate(payloads):
            content = {"algorithm": ALGORITHM, "session_id": sender.id, "ciphertext": sender.encrypt(payload.decode())}
            arrival = archive.arrival(content, room, type="m.room.encrypted", sender=giver, depth=number)
            await append(tx, archive.vault, [replace(arrival, payload=megolm.open(room, arrival.event).payload)])

    # From here on: what a restored back-up gives, and the organisation's key.
    key = archive.vault._organisation_key
    assert isinstance(key, FileKey)
    async with tenant_tx(archive.pool, 1) as tx:
        vault = await Vault.open(tx, 1, key)
        rows = await tx.fetch(f"SELECT {COLUMNS} FROM record WHERE room_id = $1 ORDER BY depth", room)
        records = await unseal(tx, vault, rows)
        told = await exported_session(tx, vault, room, records[0].session_id)
    theirs = olm.InboundGroupSession.import_session(told["session_key"])
    assert (theirs.id, told["session_id"], told["room_id"]) == (sender.id, sender.id, room)
    assert (told["sender_key"], told["sender_claimed_keys"]) == ("curve", {"ed25519": "ed"})
    for record, payload in zip(records, payloads, strict=True):
        plain, index = theirs.decrypt(record.event["content"]["ciphertext"])
        assert plain.encode() == record.payload == payload
        assert index == payloads.index(payload)


async def test_of_two_keys_of_a_session_the_one_that_reaches_furthest_back_is_exported(archive, room, seat):
    sender = olm.OutboundGroupSession()
    first = sender.session_key
    early = sender.encrypt("vroeg")
    await take(archive, seat, InboundGroupSession(sender.session_key, "ed", "curve", room))
    async with tenant_tx(archive.pool, 1) as tx:
        late = olm.InboundGroupSession.import_session((await exported_session(tx, archive.vault, room, sender.id))["session_key"])
    with pytest.raises(olm.OlmGroupSessionError):
        late.decrypt(early)
    await take(archive, seat, InboundGroupSession(first, "ed", "curve", room))
    async with tenant_tx(archive.pool, 1) as tx:
        told = await exported_session(tx, archive.vault, room, sender.id)
        assert await exported_session(tx, archive.vault, room, "onbekend") is None
    assert olm.InboundGroupSession.import_session(told["session_key"]).decrypt(early)[0] == "vroeg"
