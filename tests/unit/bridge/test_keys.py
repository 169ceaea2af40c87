"""A room key that comes to one of the bridge's devices is stored whole, or comes again and is stored then."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator

import olm
import pytest
from mautrix.crypto import OlmAccount, PgCryptoStore
from mautrix.util.async_db import Database

from bridge.ghost import Account, Devices

pytestmark = pytest.mark.postgres
ROOM, SENDER = "!kamer:x", "@minister:x"


@pytest.fixture
async def account(bridge_url: str) -> AsyncIterator[Account]:
    database = Database.create(bridge_url, upgrade_table=PgCryptoStore.upgrade_table, log=logging.getLogger("mau.db"))
    await database.start()
    made = Account("@whatsappbot:x", "http://127.0.0.1:1", "token", database, "sleutel", Devices())
    made.store._device_id = made.client.device_id = "BRUG"
    made.olm.account = OlmAccount()
    await made.store.put_account(made.olm.account)
    yield made
    await made.close()
    await database.stop()


def room_key(account: Account, sender: olm.Account, session: olm.OutboundGroupSession, one_time: str) -> dict:
    """What a client sends to share a room's key, through an Olm session made for it."""
    own = account.olm.account
    payload = {
        "type": "m.room_key", "sender": SENDER, "sender_device": "TEL", "recipient": account.user_id,
        "keys": {"ed25519": sender.identity_keys["ed25519"]}, "recipient_keys": {"ed25519": own.signing_key},
        "content": {
            "algorithm": "m.megolm.v1.aes-sha2", "room_id": ROOM, "session_id": session.id, "session_key": session.session_key,
        },
    }  # fmt: skip
    message = olm.OutboundSession(sender, own.identity_key, one_time).encrypt(json.dumps(payload))
    content = {
        "algorithm": "m.olm.v1.curve25519-aes-sha2", "sender_key": sender.identity_keys["curve25519"],
        "ciphertext": {own.identity_key: {"type": message.message_type, "body": message.ciphertext}},
    }  # fmt: skip
    return {
        "type": "m.room.encrypted", "sender": SENDER, "content": content,
        "to_user_id": account.user_id, "to_device_id": "BRUG",
    }  # fmt: skip


@pytest.mark.parametrize("restarted", [False, True], ids=["the database was away", "the bridge was killed"])
async def test_a_key_of_which_only_the_half_was_stored_is_taken_when_it_comes_again(account, restarted, monkeypatch):
    account.olm.account.generate_one_time_keys(1)
    [one_time] = account.olm.account.one_time_keys["curve25519"].values()
    await account.store.put_account(account.olm.account)
    session = olm.OutboundGroupSession()
    event = room_key(account, olm.Account(), session, one_time)

    async def broken(*_):
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(account.store, "put_group_session", broken)
        with pytest.raises(ConnectionResetError):
            await account.take_key(event)
    if restarted:
        account.store.forget()
        account.olm.account = await account.store.get_account()
    await account.take_key(event)
    assert await account.store.get_group_session(ROOM, session.id) is not None
    await account.take_key(event)  # once more, and nothing changes
    assert await account.store.get_group_session(ROOM, session.id) is not None
