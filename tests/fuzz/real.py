"""The event path as it runs: bytes, page, checks, keys, ledger, reading view, on a real Postgres and for every room version."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import vodozemac
from nio.crypto import InboundGroupSession
from unpaddedbase64 import encode_base64

from archiver.capture import page as pages
from archiver.capture import seat as seats
from archiver.capture.client import Homeserver, MatrixError
from archiver.capture.commit import Committer
from archiver.capture.keystore import KeyStore
from archiver.capture.megolm import ALGORITHM, Megolm
from archiver.capture.olm import Machine
from archiver.capture.seat import Seat
from archiver.capture.server_keys import ServerKeys
from archiver.db import Pool, tenant_tx
from archiver.export.jsonl import change, line
from archiver.export.language import Language
from archiver.ledger.canonical import HostileJson, canonical, parse_object
from archiver.ledger.event import Rules, event_id, signed_form
from archiver.ledger.record import COLUMNS, unseal
from archiver.ledger.sealing import Vault
from archiver.reading.project import messages, project_batch
from archiver.reading.rooms import rooms
from archiver.reading.timeline import Entry
from archiver.reading.walk import entries
from archiver.reading.words import BlindIndex
from tests.fuzz.hostile import Hostile, real_page
from tests.fuzz.signing import SERVER, Signer

SENDER = f"@minister:{SERVER}"
BEGAN = 1_764_000_000_000
SECRET = "geheimwoord"  # in what every good neighbour says, and in no column
FIND = f"SELECT {COLUMNS} FROM record WHERE room_id = $1 AND event_id = ANY($2)"
FIND_KINDS = "SELECT event_id, kind FROM message WHERE room_id = $1 AND event_id = ANY($2)"
BENT = "kromwoord"  # in what is bent, and in no line of the log
COUNTS = """
    SELECT (SELECT count(*) FROM record), (SELECT count(*) FROM oddity), (SELECT count(*) FROM message),
           (SELECT count(*) FROM edge), (SELECT count(*) FROM gap), (SELECT count(*) FROM media)
"""


@dataclass(slots=True)
class Room:
    """A room of one version, and the session in which its good neighbours write."""

    room_id: str
    version: str
    session: vodozemac.GroupSession = field(default_factory=vodozemac.GroupSession)
    opened: bool = False

    @property
    def rules(self) -> Rules:
        return Rules(self.version)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A good event, and what it says."""

    room: Room
    event: dict[str, Any]
    body: str
    encrypted: bool

    @property
    def event_id(self) -> str:
        return event_id(signed_form(self.event, self.room.rules), self.room.rules)


class Stub(Homeserver):
    """A homeserver that tells its signing key, and nothing else that makes sense."""

    def __init__(self, signer: Signer, hostile: Hostile) -> None:
        self._signer = signer
        self._hostile = hostile

    async def call(self, method: str, path: str, *_: Any, **__: Any) -> Any:
        if path == "/_matrix/key/v2/server":
            return self._signer.keys()
        if path == "/_matrix/key/v2/query":
            return {"server_keys": self._hostile.bend([self._signer.keys()])}
        raise MatrixError(404, {"errcode": "M_NOT_FOUND"}, "stub")


class Attacker:
    """A device that writes to the archiver's: its Olm messages are real, what they say is bent."""

    def __init__(self, olm: Machine, hostile: Hostile, chance: random.Random) -> None:
        self._account = vodozemac.Account()
        self._olm = olm
        self._hostile = hostile
        self._chance = chance
        olm.account.generate_one_time_keys(1)
        theirs = vodozemac.Curve25519PublicKey.from_base64(olm.account.identity_keys["curve25519"])
        [key] = olm.account.one_time_keys["curve25519"].values()
        self._session = self._account.create_outbound_session(theirs, vodozemac.Curve25519PublicKey.from_base64(key))

    def message(self, room: Room, named: Any = None) -> dict[str, Any]:
        """A to-device message with a room key, bent within the ciphertext or outside, or straight and of a room so named."""
        session = vodozemac.GroupSession()
        payload: dict[str, Any] = {
            "type": self._chance.choice(("m.room_key", "m.forwarded_room_key", "m.dummy", "m.secret.send")), "sender": "@kwaad:x",
            "recipient": self._olm.user_id, "recipient_keys": {"ed25519": self._olm.account.identity_keys["ed25519"]},
            "keys": {"ed25519": self._account.ed25519_key.to_base64()},
            "content": {
                "algorithm": ALGORITHM, "room_id": room.room_id, "session_id": session.session_id,
                "session_key": session.session_key.to_base64(), "sender_key": self._account.curve25519_key.to_base64(),
                "sender_claimed_ed25519_key": "x", "forwarding_curve25519_key_chain": [], "body": BENT,
            },
        }  # fmt: skip
        if named is not None:
            payload |= {"type": "m.room_key", "content": payload["content"] | {"room_id": named}}
        elif self._chance.random() < 0.3:
            payload["content"]["room_id"] = self._hostile.text()
        elif self._chance.random() < 0.8:
            payload = self._hostile.bend(payload)
        kind, body = self._session.encrypt(json.dumps(payload).encode()).to_parts()
        message = {
            "type": "m.room.encrypted", "sender": "@kwaad:x",
            "content": {
                "algorithm": "m.olm.v1.curve25519-aes-sha2", "sender_key": self._account.curve25519_key.to_base64(),
                "ciphertext": {self._olm.account.identity_keys["curve25519"]: {"type": kind, "body": encode_base64(body)}},
            },
        }  # fmt: skip
        return message if named is not None or self._chance.random() < 0.8 else self._hostile.bend(message)


class Ordeal:
    """Hostile pages with good neighbours on them, through a seat of an archive."""

    def __init__(self, pool: Pool, vault: Vault, seat: Seat, seed: int) -> None:
        self.chance = random.Random(seed)
        self.hostile = Hostile(self.chance)
        self.signer = Signer()
        self.counts: Counter[str] = Counter()
        self._pool = pool
        self._vault = vault
        self._seat = seat
        self.user_id = seat.user_id
        server = Stub(self.signer, self.hostile)
        megolm = Megolm(vault.org, seat.user_id, seat.secrets.pickle_key, 1000)
        self._committer = Committer(seat, megolm, ServerKeys(server, SERVER), server, ())
        self._index = BlindIndex(vault.search_key)
        self.attacker = Attacker(seat.olm, self.hostile, self.chance)
        self._said = 0
        # Rooms of their own for each round: what was done to them is looked at in whole.
        self.rooms = [Room(f"!{secrets.token_hex(6)}:{SERVER}", str(number)) for number in range(1, 13)]
        self._authentic: set[bytes] = set()
        self._odd: defaultdict[str, set[str]] = defaultdict(set)  # what is to be kept as it came, by room

    def create(self, room: Room) -> dict[str, Any]:
        content = {"room_version": room.version, "creator": SENDER}
        return self._good(room, {"type": "m.room.create", "state_key": "", "content": content})

    def neighbour(self, room: Room) -> Neighbour:
        """An event that nothing is wrong with."""
        body = f"{SECRET} {self._said + 1}"
        payload: dict[str, Any] = {"type": "m.room.message", "content": {"msgtype": "m.text", "body": body}}
        encrypted = self.chance.random() < 0.5
        if encrypted:
            ciphertext = room.session.encrypt(json.dumps(payload | {"room_id": room.room_id}).encode()).to_base64()
            content = {"algorithm": ALGORITHM, "session_id": room.session.session_id, "ciphertext": ciphertext}
            payload = {"type": "m.room.encrypted", "content": content}
        return Neighbour(room, self._good(room, payload), body, encrypted)

    def _good(self, room: Room, event: dict[str, Any]) -> dict[str, Any]:
        self._said += 1
        event = {
            "room_id": room.room_id, "sender": SENDER, "depth": self._said + 1, "origin_server_ts": BEGAN + self._said * 1000,
            "prev_events": [], "auth_events": [], **event,
        }  # fmt: skip
        if room.version == "12" and event["type"] == "m.room.create":
            del event["room_id"]
        if not room.rules.id_is_hash:
            event["event_id"] = f"$goed{self._said}:{SERVER}"
        signed = self.signer.sign(event, room.rules)
        self._authentic.add(core(signed, room.rules))
        return signed

    def bad(self, room: Room) -> dict[str, Any]:
        """An event that something is wrong with, in this room."""
        chance = self.chance.random()
        if chance < 0.25:  # one of our own, forged
            # Its word is another: bent, it may have become a type or a name, and these have columns.
            return self.hostile.bend(json.loads(json.dumps(self.neighbour(room).event).replace(SECRET, BENT)))
        event = self.hostile.event()
        if chance < 0.85 and "room_id" in event:
            event["room_id"] = room.room_id
        if chance < 0.5:
            event["signatures"] = {SERVER: {"ed25519:a1": "A" * 86}}
        if event.get("type") == "m.room.encrypted" and isinstance(event.get("content"), dict) and chance < 0.6:
            event["content"]["session_id"] = room.session.session_id
        return event

    def page(self, size: int) -> tuple[bytes, list[Neighbour], int]:
        """A page's bytes, the good neighbours on it, and how many hostile events there are."""
        answer, good, bad = real_page(), [], 0
        answer["next_batch"], answer["rooms"] = f"s{self._said}", {}
        answer["to_device"] = {"events": [self.attacker.message(self.chance.choice(self.rooms)) for _ in range(3)]}
        answer["device_lists"] = self.hostile.bend({"changed": ["@a:x"], "left": []})
        if self.chance.random() < 0.3:
            name = self.chance.choice([name for name in answer if name not in ("next_batch", "rooms")])
            answer[name] = self.hostile.bend(answer[name])
        joined = []
        for room in self.chance.sample(self.rooms, 3):
            events = []
            if not room.opened:
                room.opened = True
                events.append(json.dumps(self.create(room)))
            for _ in range(size // 3):
                if self.chance.random() < 0.15:
                    good.append(self.neighbour(room))
                    events.append(json.dumps(good[-1].event))
                else:
                    bad += 1
                    events.append(self.hostile.raw(self.bad(room)))
            limited = self.chance.choice(("true", "false", "1", "null"))
            timeline = f'{{"limited":{limited},"prev_batch":"t","events":[{",".join(events)}]}}'
            joined.append(f'{json.dumps(room.room_id)}:{{"state":{{"events":[]}},"timeline":{timeline}}}')
        # Beside the rooms with good neighbours: rooms of wrong shapes and names, left and offered ones.
        joined += [f"{json.dumps(self.hostile.text() + '!')}:{json.dumps(self.hostile.bend(self._shape()))}" for _ in range(2)]
        others = {"leave": self.hostile.bend({"!weg:x": self._shape()}), "invite": self.hostile.bend({"!uit:x": {}})}
        rooms = f'{{"join":{{{",".join(joined)}}},{json.dumps(others)[1:]}'
        text = json.dumps(answer)
        assert '"rooms": {}' in text
        return text.replace('"rooms": {}', f'"rooms": {rooms}', 1).encode(), good, bad

    def _shape(self) -> dict[str, Any]:
        return {"state": {"events": [self.hostile.event()]}, "timeline": {"events": [self.hostile.event()], "prev_batch": "t"}}

    async def take_sessions(self) -> None:
        """Have the archive get the sessions of the good neighbours, as if their devices had sent them."""
        for room in self.rooms:
            key = room.session.session_key.to_base64()
            self._seat.keys.giver = SENDER
            self._seat.keys.save_inbound_group_session(InboundGroupSession(key, "ed", "curve", room.room_id))
            self._seat.keys.giver = self._seat.user_id
        async with self._seat.tx() as tx:
            await self._seat.keys.flush(tx)

    async def take(self, raw: bytes) -> pages.Page:
        """A page through the whole path, up to the reading view."""
        found = pages.parse(parse_object(raw))
        list(found.successors())
        await self._committer.sync(found)
        async with tenant_tx(self._pool, self._vault.org) as tx:
            while await project_batch(tx, self._vault, self._index):
                pass
        return found

    async def run(self, events: int, size: int = 60) -> None:
        """Feed so many hostile events, and look at what became of them and of their neighbours after each page."""
        await self.take_sessions()
        while self.counts["hostile"] < events:
            raw, good, bad = self.page(size)
            if self.chance.random() < 0.05:
                with contextlib.suppress(HostileJson):
                    pages.parse(parse_object(self.hostile.torn(raw)))
                self.counts["torn pages"] += 1
            found = await self.take(raw)
            await self.look_at(found, good)
            if self.chance.random() < 0.1:
                before = await self._counted()
                await self.take(raw)
                assert await self._counted() == before, "a replay changed something"
                self.counts["pages again"] += 1
            self.counts["hostile"] += bad
            self.counts["good"] += len(good)
            self.counts["pages"] += 1

        await self._read_out()

    async def _read_out(self) -> None:
        """Every room as an export reads it, from its name to its last message."""
        async with tenant_tx(self._pool, self._vault.org) as tx:
            found = [room for room in await rooms(tx, self._vault) if room.room_id in {one.room_id for one in self.rooms}]
        assert len(found) == sum(room.opened for room in self.rooms)
        for room in found:
            async for entry in entries(self._pool, self._vault, room):
                json.dumps(line(entry) if isinstance(entry, Entry) else change(entry, Language("nl")))
                self.counts["read out"] += 1

    async def _counted(self) -> Any:
        async with tenant_tx(self._pool, self._vault.org) as tx:
            return tuple(await tx.fetchrow(COUNTS))

    async def look_at(self, found: pages.Page, good: Sequence[Neighbour]) -> None:
        async with tenant_tx(self._pool, self._vault.org) as tx:
            for room in self.rooms:
                part = next((one for one in found.rooms if one.room_id == room.room_id), None)
                if part is not None:
                    self._odd[room.room_id] |= {json.dumps(value) for name, value in found.odd if name == room.room_id}
                    await self._look_at_room(tx, room, part, [one for one in good if one.room is room])

    async def _look_at_room(self, tx: Any, room: Room, part: pages.RoomPage, good: Sequence[Neighbour]) -> None:
        wanted, odd = set(), self._odd[room.room_id]
        for event in part.events:
            try:
                identity = event_id(signed_form(event, room.rules), room.rules)
            except HostileJson:
                odd.add(json.dumps(event))
            else:
                if event.get("room_id", room.room_id) == room.room_id:
                    wanted.add(identity)
                else:
                    odd.add(json.dumps(event))
        rows = await tx.fetch(FIND, room.room_id, list(wanted))
        records = {record.event_id: record for record in await unseal(tx, self._vault, rows)}
        assert wanted == records.keys(), "an event was dropped"
        kept = await tx.fetchval("SELECT count(*) FROM oddity WHERE room_id = $1", room.room_id)
        assert kept == len(odd), "what could not be understood was dropped, or kept twice"
        self.counts["oddities"] = sum(map(len, self._odd.values()))
        for record in records.values():
            if record.id_matches and record.content_matches and SERVER in record.signed_by:
                assert core(record.event, room.rules) in self._authentic, "a forged event was believed"
            else:
                self.counts["flagged"] += 1
        shown = {m.record.event_id: m for m in await messages(tx, self._vault, records.values())}
        kinds = dict(await tx.fetch(FIND_KINDS, room.room_id, list(wanted)))
        for one in good:
            record = records[one.event_id]
            assert (record.id_matches, record.content_matches, record.signed_by) == (True, True, (SERVER,)), record
            assert (record.payload is not None) == one.encrypted, record.unreadable
            assert record.content["body"] == one.body
            assert shown[one.event_id].versions[0].body == one.body
            assert kinds[one.event_id] == "text"


def core(event: dict[str, Any], rules: Rules) -> bytes:
    """What a signature and a content hash vouch for."""
    try:
        return canonical({name: part for name, part in signed_form(event, rules).items() if name != "signatures"})
    except HostileJson:
        return b""


@contextlib.asynccontextmanager
async def seated(url: str, vault: Vault) -> AsyncIterator[Seat]:
    """A seat with a device that no homeserver knows."""
    async with seats.held(url, vault, f"@archief-{secrets.token_hex(4)}:x", asyncio.Event()) as seat:
        assert seat is not None
        await seat._load()
        seat.keys = KeyStore(seat.org, seat.user_id, seat.secrets.pickle_key)
        async with seat.tx() as tx:
            await seat.keys.load(tx)
            seat.olm = Machine(seat.user_id, seat.device_id, seat.keys)
            await seat.keys.flush(tx)
        yield seat
