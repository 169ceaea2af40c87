"""The backup of the room keys: made as the specification has it, opened by libolm, gone on with after a stop."""

import json
import secrets
from collections.abc import AsyncIterator

import asyncpg
import olm
import pytest
from _libolm import ffi, lib
from nio.crypto import InboundGroupSession
from signedjson.key import decode_verify_key_bytes
from signedjson.sign import verify_signed_json
from unpaddedbase64 import decode_base64

from archiver.capture.client import MatrixError
from archiver.capture.cross_signing import public
from archiver.capture.key_backup import BATCH, KeyBackup, public_key, recovery_key
from archiver.capture.keystore import KeyStore
from archiver.capture.olm import Machine
from archiver.capture.seat import Seat, Secrets
from archiver.db import tenant_tx
from tests.unit.conftest import Archive


class BackupServer:
    """A homeserver's key backups, as the specification has them."""

    def __init__(self) -> None:
        self.versions: list[dict] = []
        self.stored: dict[tuple[str, str, str], dict] = {}  # (version, room id, session id)
        self.puts = 0
        self.refuse_after: int | None = None

    async def call(self, method: str, path: str, body=None, query=None) -> dict:
        if path.endswith("/room_keys/version") and method == "GET":
            if not self.versions:
                raise MatrixError(404, {"errcode": "M_NOT_FOUND"}, path)
            return self.versions[-1]
        if path.endswith("/room_keys/version"):
            self.versions.append({**body, "version": str(len(self.versions) + 1), "count": 0, "etag": "0"})
            return {"version": self.versions[-1]["version"]}
        assert (method, path.rsplit("/", 1)[-1]) == ("PUT", "keys")
        if self.refuse_after is not None and self.puts >= self.refuse_after:
            raise MatrixError(500, {"errcode": "M_UNKNOWN"}, path)
        if query["version"] != self.versions[-1]["version"]:
            raise MatrixError(403, {"errcode": "M_WRONG_ROOM_KEYS_VERSION"}, path)
        self.puts += 1
        for room_id, room in body["rooms"].items():
            for session_id, data in room["sessions"].items():
                self.stored[query["version"], room_id, session_id] = data
        return {"count": len(self.stored), "etag": "1"}


@pytest.fixture
async def seat(archive: Archive) -> AsyncIterator[Seat]:
    """A seat of its own, as `prepare` leaves it, without a homeserver."""
    connection = await asyncpg.connect(archive.url)
    made = Seat(connection, archive.vault, f"@archief-{secrets.token_hex(4)}:x")
    await made._load()
    made.keys = KeyStore(1, made.user_id, made.secrets.pickle_key)
    async with made.tx() as tx:
        await made.keys.load(tx)
        made.olm = Machine(made.user_id, made.device_id, made.keys)
        await made.keys.flush(tx)
    yield made
    await connection.close()


async def take(seat: Seat, room: str, *keys: str) -> None:
    for key in keys:
        seat.keys.save_inbound_group_session(InboundGroupSession(key, "ed", "curve", room))
    async with seat.tx() as tx:
        await seat.keys.flush(tx)


async def whole(backup: KeyBackup) -> int:
    total = 0
    while done := await backup.upload():
        total += done
    return total


def opened(data: dict, private_key: bytes) -> dict:
    """A session of the backup, decrypted by libolm."""
    theirs = olm.PkDecryption()
    length = lib.olm_pk_key_length()
    told = ffi.new("char[]", length)
    lib.olm_pk_key_from_private(theirs._pk_decryption, told, length, ffi.new("char[]", private_key), len(private_key))
    assert ffi.unpack(told, length).decode() == public_key(private_key)
    parts = data["session_data"]
    return json.loads(theirs.decrypt(olm.PkMessage(parts["ephemeral"], parts["mac"], parts["ciphertext"])))


async def test_libolm_opens_every_session_of_the_backup_and_reads_the_message_with_it(archive, room, seat):
    server, senders = BackupServer(), [olm.OutboundGroupSession() for _ in range(3)]
    await take(seat, room, *(sender.session_key for sender in senders))
    assert await whole(KeyBackup(archive.pool, server, seat)) == 3
    for sender in senders:
        data = server.stored["1", room, sender.id]
        assert (data["first_message_index"], data["forwarded_count"], data["is_verified"]) == (0, 0, False)
        told = opened(data, seat.secrets.backup_key)
        assert (told["algorithm"], told["sender_key"]) == ("m.megolm.v1.aes-sha2", "curve")
        assert (told["sender_claimed_keys"], told["forwarding_curve25519_key_chain"]) == ({"ed25519": "ed"}, [])
        theirs = olm.InboundGroupSession.import_session(told["session_key"])
        assert theirs.decrypt(sender.encrypt("geheim"))[0] == "geheim"


async def test_the_backup_is_signed_by_the_device_and_by_the_accounts_master_key(archive, seat):
    server = BackupServer()
    await KeyBackup(archive.pool, server, seat).upload()
    [version] = server.versions
    assert version["algorithm"] == "m.megolm_backup.v1.curve25519-aes-sha2"
    assert version["auth_data"]["public_key"] == public_key(seat.secrets.backup_key)
    master = public(seat.secrets.cross_signing.master)
    signers = {f"ed25519:{master}": master, f"ed25519:{seat.device_id}": seat.olm.account.identity_keys["ed25519"]}
    assert set(version["auth_data"]["signatures"][seat.user_id]) == set(signers)
    for key_id, key in signers.items():
        verify_key = decode_verify_key_bytes(key_id, decode_base64(key))
        only = {
            **version["auth_data"],
            "signatures": {seat.user_id: {key_id: version["auth_data"]["signatures"][seat.user_id][key_id]}},
        }
        verify_signed_json(only, seat.user_id, verify_key)


async def test_after_a_stop_it_goes_on_where_it_was_in_the_same_version(archive, room, seat):
    server, count = BackupServer(), 2 * BATCH + 10
    await take(seat, room, *(olm.OutboundGroupSession().session_key for _ in range(count)))
    server.refuse_after = 1
    first = KeyBackup(archive.pool, server, seat)
    assert await first.upload() == BATCH
    with pytest.raises(MatrixError):
        await first.upload()
    assert len(server.stored) == BATCH
    server.refuse_after = None
    assert await whole(KeyBackup(archive.pool, server, seat)) == count - BATCH
    assert (len(server.stored), len(server.versions), server.puts) == (count, 1, 3)
    assert await whole(KeyBackup(archive.pool, server, seat)) == 0


async def test_a_key_that_reaches_further_back_takes_the_place_of_the_one_uploaded(archive, room, seat):
    server, sender = BackupServer(), olm.OutboundGroupSession()
    first = sender.session_key
    sender.encrypt("vroeg")
    await take(seat, room, sender.session_key)
    backup = KeyBackup(archive.pool, server, seat)
    await whole(backup)
    assert server.stored["1", room, sender.id]["first_message_index"] == 1
    await take(seat, room, first)
    assert await whole(backup) == 1
    assert server.stored["1", room, sender.id]["first_message_index"] == 0


async def test_a_backup_that_is_not_ours_is_left_alone_and_everything_goes_into_a_new_one(archive, room, seat):
    server = BackupServer()
    await take(seat, room, olm.OutboundGroupSession().session_key)
    backup = KeyBackup(archive.pool, server, seat)
    assert await whole(backup) == 1
    ours = server.versions[-1]["auth_data"]
    others = [
        {"public_key": public_key(secrets.token_bytes(32)), "signatures": ours["signatures"]},
        {**ours, "signatures": {}},  # a homeserver that says so itself
    ]
    for number, auth_data in enumerate(others):
        server.versions.append(
            {"algorithm": ours and server.versions[0]["algorithm"], "auth_data": auth_data, "version": f"x{number}"}
        )
        await take(seat, room, olm.OutboundGroupSession().session_key)
        with pytest.raises(MatrixError, match="WRONG_ROOM_KEYS_VERSION"):
            await whole(backup)
        assert await whole(backup) == number + 2, "all of it, since the new one is empty"
        assert server.versions[-1]["auth_data"] == ours
        assert not [stored for stored in server.stored if stored[0].startswith("x")]


async def test_the_private_key_is_kept_before_anything_is_encrypted_for_it_and_lies_nowhere_in_the_clear(archive, seat):
    server = BackupServer()
    await KeyBackup(archive.pool, server, seat).upload()
    async with tenant_tx(archive.pool, 1) as tx:
        sealed = await tx.fetchval("SELECT sealed_secrets FROM seat WHERE user_id = $1", seat.user_id)
    kept = Secrets.read(archive.vault.unwrap(sealed, f"seat|{seat.user_id}")).backup_key
    assert kept == seat.secrets.backup_key
    assert kept not in sealed
    assert repr(kept) not in repr(seat.secrets)


def test_secrets_of_before_there_was_a_backup_can_still_be_read(seat):
    told = json.loads(seat.secrets.dump())
    del told["backup_key"]
    assert Secrets.read(json.dumps(told).encode()).backup_key is None


def test_a_recovery_key_is_written_as_the_specification_has_it():
    # The example of matrix-js-sdk's own tests.
    raw = bytes(
        [0x77, 0x07, 0x6D, 0x0A, 0x73, 0x18, 0xA5, 0x7D, 0x3C, 0x16, 0xC1, 0x72, 0x51, 0xB2, 0x66, 0x45, 0xDF, 0x4C, 0x2F, 0x87,
         0xEB, 0xC0, 0x99, 0x2A, 0xB1, 0x77, 0xFB, 0xA5, 0x1D, 0xB9, 0x2C, 0x2A]
    )  # fmt: skip
    assert recovery_key(raw) == "EsTc LW2K PGiF wKEA 3As5 g5c4 BXwk qeeJ ZJV8 Q9fu gUMN UE4d"
