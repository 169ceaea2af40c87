"""From what the homeserver gave to what the ledger keeps: checked, decrypted, committed together (DESIGN D3, D7, D9)."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from nio.events import ToDeviceEvent

from archiver.capture import joining, media, notice, receipts, server_keys, signatures
from archiver.capture.client import Homeserver, MatrixError, path
from archiver.capture.keystore import NewSession
from archiver.capture.megolm import REPLAYED, Megolm, Opened, Ref
from archiver.capture.page import Page, RoomPage
from archiver.capture.seat import Seat
from archiver.capture.server_keys import ServerKeys
from archiver.db import Connection
from archiver.ledger import alarm
from archiver.ledger.audit import uuid7
from archiver.ledger.canonical import HostileJson, JsonObject, column
from archiver.ledger.claims import BRIDGE_KEY, CLAIMED_SOURCE, PUPPET, believed, claims
from archiver.ledger.event import Examined, KeyRing, Rules, examine
from archiver.ledger.record import (
    COLUMNS,
    OTHER_SENDER,
    Arrival,
    Place,
    Reading,
    append,
    mark_unread,
    moment,
    repeats,
    set_payloads,
    taken,
    unseal,
)
from archiver.ledger.sealing import bound, month_of

log = logging.getLogger(__name__)

WITHHELD_TYPES = frozenset({"m.room_key.withheld", "org.matrix.room_key.withheld"})
RETRIED = 500  # waiting events opened at a time
FEW = 20  # events that are checked or decrypted in a row (1 ms); then whatever else is waiting has its turn
NO_OLM = "m.no_olm"  # the sender's device could not open an Olm session with ours: one is made from here

KEEP_WITHHELD = """
    INSERT INTO withheld (org, room_id, session_id, code, sender) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
"""
# What waits for a key that its sender will not give is told so at once; nobody can say so of what another sent.
TELL_WITHHELD = """
    UPDATE record SET unreadable = $4
    WHERE org = $1 AND room_id = $2 AND session_id = $3 AND sender = $5
      AND (unreadable = 'no-key' OR unreadable LIKE 'withheld:%') AND unreadable <> $4
    RETURNING room_id, event_id
"""
ASK_FOR_KEYS = """
    INSERT INTO key_request (org, room_id, session_id, sender)
    SELECT DISTINCT ON (r.room_id, r.session_id) $1::integer, r.* FROM unnest($2::text[], $3::text[], $4::text[])
        AS r (room_id, session_id, sender)
    ON CONFLICT DO NOTHING
"""
FORGET_REQUESTS = """
    DELETE FROM key_request WHERE org = $1 AND (room_id, session_id) IN (SELECT * FROM unnest($2::text[], $3::text[]))
"""
FIND_VERSIONS = "SELECT room_id, version FROM room WHERE org = $1 AND room_id = ANY($2) AND NOT version_guessed"
GUESS = "11"  # how a room is read whose version nobody would tell
FIND_WAITING = f"""
    SELECT {COLUMNS} FROM record
    WHERE org = $1 AND unreadable IS NOT NULL AND sealed_payload IS NULL
      AND (room_id, session_id) IN (SELECT * FROM unnest($2::text[], $3::text[])) AND (room_id, event_id) > ($4, $5)
    ORDER BY room_id, event_id LIMIT {RETRIED}
"""  # noqa: S608 - constants only
FIND_UNREAD = f"""
    SELECT {COLUMNS} FROM record
    WHERE org = $1 AND sealed_payload IS NULL AND unreadable IS NOT NULL
      AND (room_id, event_id) IN (SELECT * FROM unnest($2::text[], $3::text[]))
"""  # noqa: S608 - constants only
KEEP_ROOM = """
    INSERT INTO room AS known (org, room_id, version, version_guessed, encrypted, membership, membership_why, user_id)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (org, room_id) DO UPDATE SET
        encrypted = known.encrypted OR excluded.encrypted,
        version = CASE WHEN known.version_guessed AND NOT excluded.version_guessed THEN excluded.version ELSE known.version END,
        version_guessed = known.version_guessed AND excluded.version_guessed
    RETURNING (xmax = 0) AS is_new
"""
KNOW_VERSION = """
    UPDATE room SET version = $3, version_guessed = false WHERE org = $1 AND room_id = $2 AND version_guessed
"""
# A room is captured through one account at a time: another takes it over only once that one is no longer a member.
SEE_ROOM = """
    UPDATE room SET membership = $3, membership_why = $4, user_id = $5
    WHERE org = $1 AND room_id = $2 AND (user_id = $5 OR (membership <> 'join' AND $3 = 'join')) RETURNING true
"""
ADD_STRETCH = """
    INSERT INTO stretch (org, stretch_id, room_id, token, cause, until_known, user_id) VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
ADD_ODDITY = "INSERT INTO oddity (org, oddity_id, room_id, reason, sealed) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"


@dataclass(frozen=True, slots=True)
class Checked:
    """Events of one room as far as they can be judged without the database."""

    room_id: str
    rules: Rules
    events: tuple[tuple[JsonObject, Examined | None], ...]  # None: it has no canonical form, so no id
    keys: Sequence[server_keys.Answer]  # the signing keys that turned up, still to be kept


class Committer:
    """Commits what arrives, for one seat."""

    def __init__(self, seat: Seat, megolm: Megolm, keys: ServerKeys, server: Homeserver, bridges: Sequence[str]) -> None:
        self.seat = seat
        self._bridges = bridges
        self._server = server
        self._megolm = megolm
        self._keys = keys
        self._versions: dict[str, str] = {}  # of the rooms whose version is known; a guess is good for one page
        self.came: list[NewSession] = []
        """The Megolm sessions that came and whose devices are still to be looked at: archiver.capture.mending takes them."""

    async def sync(self, page: Page) -> int:
        """Commit a sync page: keys, events and token in one transaction (promise 1). Returns the number of new events."""
        versions = await self._learn_versions([(room.room_id, room.events) for room in page.rooms])
        checked = [await self._check(room.room_id, room.events, versions[room.room_id]) for room in page.rooms]
        async with self.seat.tx() as tx:
            withheld = self._take_keys(page)
            came = await self.seat.keys.flush(tx)
            new_sessions = [(session.room_id, session.session_id) for session in came]
            added = await self._append(tx, checked, fresh=new_sessions)
            await self._ask_for_keys(tx, added)
            await notice.note_deleted(tx, self.seat.org, [place for each in added if (place := each.deletes)])
            await self._open_waiting(tx, new_sessions)
            await self._keep_withheld(tx, withheld)
            for room in page.rooms:
                await self._keep_room(tx, room, versions[room.room_id])
            await receipts.keep(tx, self.seat.org, page.rooms)
            invited = ((room_id, "") for room_id in page.invites)
            await joining.keep(tx, self.seat.org, self.seat.user_id, (*invited, *page.successors()))
            for room_id, value in page.odd:
                await self._keep_oddity(tx, room_id, value, "not an event")
            await self.seat.advance(tx, page.next_batch)
            await tx.execute("NOTIFY griffier_ledger")
        self._megolm.trim()
        self.came += came
        return len(added)

    async def history(self, room_id: str, events: Sequence[JsonObject], then: Sequence[tuple[str, tuple[object, ...]]]) -> int:
        """Check and commit a page of history together with the statements that say how far it has come."""
        return await self.keep(await self.check(room_id, events), then)

    async def check(self, room_id: str, events: Sequence[JsonObject]) -> Checked:
        """Ids, content hashes and signatures, a few at a time beside capture. Raises MatrixError, HomeserverUnreachable."""
        versions = await self._learn_versions([(room_id, events)])
        return await self._check(room_id, events, versions[room_id])

    async def _check(self, room_id: str, events: Sequence[JsonObject], version: str) -> Checked:
        found = await self._keys.learn(server_keys.needed(events, server_keys.believable()))
        rules, keys = Rules(version), self._keys.known
        examined: list[tuple[JsonObject, Examined | None]] = []
        for start in range(0, len(events), FEW):
            examined += _examine(room_id, events[start : start + FEW], rules, keys)
            # No thread: with one interpreter lock it would only take turns with us, and that measured slower.
            await asyncio.sleep(0)
        return Checked(room_id, rules, tuple(examined), found)

    async def keep(self, page: Checked, then: Sequence[tuple[str, tuple[object, ...]]]) -> int:
        """Commit checked events of a room's history together with the statements that say how far it has come."""
        async with self.seat.tx() as tx:
            added = await self._append(tx, [page])
            if any(_is_create(event) for event, _ in page.events):
                await tx.execute(KNOW_VERSION, self.seat.org, page.room_id, page.rules.version)
            for statement, values in then:
                await tx.execute(statement, *values)
            await tx.execute("NOTIFY griffier_ledger")
        self._megolm.trim()
        return len(added)

    def _take_keys(self, page: Page) -> list[tuple[str, str, str, str]]:
        """Hand the to-device messages to nio's Olm machine; return (room, session, code, sender) of keys withheld from us."""
        withheld = []
        for message in page.to_device:
            kind, sender = message.get("type"), message.get("sender")
            content = message.get("content")
            if isinstance(kind, str) and kind in WITHHELD_TYPES and isinstance(content, dict):
                if content.get("code") == NO_OLM and isinstance(sender, str) and isinstance(content.get("sender_key"), str):
                    self.seat.olm.note_broken(sender, content["sender_key"])
                row = tuple(content.get(name) for name in ("room_id", "session_id", "code"))
                if all(isinstance(part, str) for part in row):
                    withheld.append((*(column(part, 255) for part in row), column(str(sender))))  # type: ignore[arg-type]
                continue
            self._take_key(message)
        self.seat.olm.tracked_users -= page.changed_devices
        if page.one_time_keys is not None:
            self.seat.olm.uploaded_key_count = page.one_time_keys
        return withheld  # type: ignore[return-value]

    def _take_key(self, message: JsonObject) -> None:
        """One to-device message; whatever is wrong with it harms no neighbour."""
        content = message.get("content")
        sender, sender_key = message.get("sender"), content.get("sender_key") if isinstance(content, dict) else None
        try:
            self.seat.olm.handle_to_device_event(ToDeviceEvent.parse_event(message))
        except Exception as error:
            kind = column(str(message.get("type")))
            log.warning("A key message (%s) of %s can't be used: %s", kind, column(str(sender)), type(error).__name__)
            if isinstance(sender, str) and isinstance(sender_key, str):
                self.seat.olm.note_broken(sender, sender_key)

    async def _keep_withheld(self, tx: Connection, withheld: list[tuple[str, str, str, str]]) -> None:
        for room_id, session_id, code, sender in withheld:
            log.warning("%s withholds a room key in %s: %s", sender, room_id, code)
            await tx.execute(KEEP_WITHHELD, self.seat.org, room_id, session_id, code, sender)
            told = await tx.fetch(TELL_WITHHELD, self.seat.org, room_id, session_id, f"withheld:{code}", sender)
            await mark_unread(tx, self.seat.org, {(row["room_id"], row["event_id"]) for row in told})

    async def _ask_for_keys(self, tx: Connection, added: Sequence[Arrival]) -> None:
        """Have the senders' devices asked for the keys that did not come with what was just said."""
        wanted = [
            (a.room_id, column(a.session_id or ""), column(str(a.event.get("sender")))) for a in added if a.unreadable == "no-key"
        ]
        if wanted:
            await tx.execute(ASK_FOR_KEYS, self.seat.org, *zip(*wanted, strict=True))

    async def _learn_versions(self, rooms: Sequence[tuple[str, Sequence[JsonObject]]]) -> dict[str, str]:
        """The version of every room, by room id: without it no event id can be computed. A room is its id and a page's events.

        Raises MatrixError, HomeserverUnreachable when the homeserver can't tell now; what it won't tell is guessed for this page.
        """
        unknown = [room_id for room_id, _ in rooms if room_id not in self._versions]
        if unknown:
            async with self.seat.tx() as tx:
                for row in await tx.fetch(FIND_VERSIONS, self.seat.org, unknown):
                    self._versions[row["room_id"]] = row["version"]
        versions = {}
        for room_id, events in rooms:
            if room_id not in self._versions:
                # A room is made once: what later says that it makes the room again is not believed.
                create = next((event for event in events if _is_create(event)), None)
                content = create.get("content") if create is not None else await self._ask_create(room_id)
                if content is not None or create is not None:
                    self._versions[room_id] = _version(content)
            versions[room_id] = self._versions.get(room_id, GUESS)
        return versions

    async def _ask_create(self, room_id: str) -> JsonObject | None:
        """The content of the event that made a room; None when the homeserver will not tell."""
        try:
            return await self._server.call("GET", path("v3", "rooms", room_id, "state", "m.room.create", ""))
        except MatrixError as error:
            if error.status in (401, 429) or error.status >= 500:
                raise  # ids by the wrong version would be there for ever
            log.warning("The version of %s can't be had (%s); what came of it now is read as version %s.", room_id, error, GUESS)
            return None

    async def _append(self, tx: Connection, pages: Sequence[Checked], *, fresh: Sequence[Ref] = ()) -> list[Arrival]:
        """Decrypt and append; returns what was new."""
        await self._megolm.prepare(tx, {ref for page in pages for ref in _sessions(page)}, fresh=fresh)
        arrivals = []
        for page in pages:
            for number, (event, examined) in enumerate(page.events):
                if number % FEW == 0:
                    await asyncio.sleep(0)  # the next page is on its way: nobody keeps the homeserver waiting
                if examined is None:
                    await self._keep_oddity(tx, page.room_id, event, "no canonical form")
                elif event.get("room_id", page.room_id) != page.room_id:
                    await self._keep_oddity(tx, page.room_id, event, "of another room")
                else:
                    arrivals.append(self._arrival(page, event, examined))
            await server_keys.keep(tx, self.seat.org, page.keys)
        arrivals = await self._doubt_replays(tx, arrivals)
        new = await append(tx, self.seat.vault, arrivals)
        added = [arrival for arrival in arrivals if (arrival.room_id, arrival.event_id) in new]
        await self._open_known(tx, [a for a in arrivals if a.payload is not None and (a.room_id, a.event_id) not in new])
        await media.enqueue(tx, self.seat.vault, added)
        await signatures.wait(tx, self.seat.org, added, self._keys.known)
        return added

    async def _doubt_replays(self, tx: Connection, arrivals: list[Arrival]) -> list[Arrival]:
        """Mark each message whose place in its Megolm session is another event's: somebody sent it a second time."""
        places = [(a.room_id, column(a.session_id or ""), a.message_index) for a in arrivals if a.message_index is not None]
        first = await taken(tx, self.seat.org, places)
        checked = []
        for arrival in arrivals:
            if arrival.message_index is not None:
                place = arrival.room_id, column(arrival.session_id or ""), arrival.message_index
                if repeats(first, place, arrival.event_id, arrival.doubts):
                    log.warning("%s in %s repeats the ciphertext of another event.", arrival.event_id, arrival.room_id)
                    arrival = replace(arrival, doubts=(*arrival.doubts, REPLAYED))  # noqa: PLW2901
            checked.append(arrival)
        return checked

    def _arrival(self, page: Checked, event: JsonObject, examined: Examined) -> Arrival:
        if event.get("type") != "m.room.encrypted" or "state_key" in event:
            return Arrival(
                page.room_id, examined.event_id, event, page.rules, examined.checks,
                doubts=self._doubts(event, Opened(None, None, said=event)), written=examined.written,
            )  # fmt: skip
        opened = self._megolm.open(page.room_id, event)
        return Arrival(
            page.room_id, examined.event_id, event, page.rules, examined.checks, opened.payload, opened.unreadable, opened.index,
            self._doubts(event, opened), examined.written, opened.said,
        )  # fmt: skip

    def _doubts(self, event: JsonObject, opened: Opened) -> tuple[str, ...]:
        """What speaks against believing an event, and whether somebody who is no bridge says what only a bridge may say.

        A bridge's own device makes the keys of what it says in the name of its ghosts: such a key is not doubted. So it does of
        what an official wrote in the network's own app (`fi.mau.double_puppet_source`); whether the room is that official's
        is for the reader to know, since anybody in it could send the same ciphertext again. What it opens is the bridge's word.
        """
        content, sender = opened.said.get("content") if opened.said else None, event.get("sender")
        if not isinstance(content, dict):
            return opened.doubts
        doubts, bridge = opened.doubts, self._believed(sender)
        if OTHER_SENDER in doubts and self._believed(opened.giver):
            if bridge:
                doubts = tuple(doubt for doubt in doubts if doubt != OTHER_SENDER)
            elif isinstance(content.get(PUPPET), str):
                doubts, bridge = (*doubts, BRIDGE_KEY), True
        kind = opened.said.get("type") if opened.said else None
        return doubts if bridge or not claims(kind, content) else (*doubts, CLAIMED_SOURCE)

    def _believed(self, user_id: object) -> bool:
        return believed(user_id, self._bridges)

    async def _open_waiting(self, tx: Connection, sessions: list[tuple[str, str]]) -> None:
        """Read what waited for the keys that have just come (D9)."""
        if not sessions:
            return
        rooms, ids = [room for room, _ in sessions], [session for _, session in sessions]
        await tx.execute(FORGET_REQUESTS, self.seat.org, rooms, ids)
        after = ("", "")
        while rows := await tx.fetch(FIND_WAITING, self.seat.org, rooms, ids, *after):
            after = rows[-1]["room_id"], rows[-1]["event_id"]
            await self._megolm.prepare(tx, sessions)
            readings = []
            for record in await unseal(tx, self.seat.vault, rows):
                opened = self._megolm.open(record.room_id, record.event)
                if opened.payload is not None:
                    readings.append(Reading(record, opened.payload, opened.index, self._doubts(record.event, opened)))
                    await media.enqueue_payload(tx, self.seat.vault, record, opened.payload)
            places: list[Place] = [(r.record.room_id, r.record.session_id or "", r.message_index or 0) for r in readings]
            first = await taken(tx, self.seat.org, places)
            for number, (reading, place) in enumerate(zip(readings, places, strict=True)):
                if repeats(first, place, reading.record.event_id, reading.doubts):
                    readings[number] = replace(reading, doubts=(*reading.doubts, REPLAYED))
            await set_payloads(tx, self.seat.vault, readings)

    async def _open_known(self, tx: Connection, again: Sequence[Arrival]) -> None:
        """Read what another account kept without a key, and to which this one has it."""
        if not again:
            return
        by_id = {(arrival.room_id, arrival.event_id): arrival for arrival in again}
        readings = []
        for record in await unseal(tx, self.seat.vault, await tx.fetch(FIND_UNREAD, self.seat.org, *zip(*by_id, strict=True))):
            arrival = by_id[record.room_id, record.event_id]
            assert arrival.payload is not None  # noqa: S101 - narrows for the type checker
            readings.append(Reading(record, arrival.payload, arrival.message_index, arrival.doubts))
            await media.enqueue_payload(tx, self.seat.vault, record, arrival.payload)
        await set_payloads(tx, self.seat.vault, readings)

    async def _keep_room(self, tx: Connection, room: RoomPage, version: str) -> None:
        own = room.state("m.room.member", self.seat.user_id)
        content = own.get("content") if own and room.membership == "leave" else None
        why = content.get("reason") if isinstance(content, dict) else None
        guessed = room.room_id not in self._versions
        encrypted = room.state("m.room.encryption") is not None
        told = room.membership, column(why) if isinstance(why, str) else None, self.seat.user_id
        is_new = await tx.fetchval(KEEP_ROOM, self.seat.org, room.room_id, version, guessed, encrypted, *told)
        if not await tx.fetchval(SEE_ROOM, self.seat.org, room.room_id, *told):
            log.debug("%s is captured through another archiver.", room.room_id)
        elif room.membership == "leave":
            log.warning("The archiver is no longer in %s: nothing said there from now on is archived.", room.room_id)
            await alarm.clear(tx, self.seat.org, room.room_id, alarm.CANT_JOIN)  # an invitation that was taken back
            if own is not None and own.get("sender") != self.seat.user_id:
                removed = f"{own.get('sender')} removed the archiver: {why or 'no reason was given'}"
                await alarm.sound(tx, self.seat.org, alarm.REMOVED, room.room_id, removed)
        else:
            await alarm.clear(tx, self.seat.org, room.room_id, alarm.REMOVED, alarm.CANT_JOIN)
        whole = any(event.get("type") == "m.room.create" for event in room.events)
        if room.prev_batch and (room.limited or (is_new and not whole)):
            cause = "joined" if is_new else "limited"
            place = self.seat.org, uuid7(), room.room_id, room.prev_batch
            await tx.execute(ADD_STRETCH, *place, cause, not is_new, self.seat.user_id)

    async def _keep_oddity(self, tx: Connection, room_id: str, value: Any, reason: str) -> None:
        place = room_id, month_of(moment(value.get("origin_server_ts") if isinstance(value, dict) else None))
        key = (await self.seat.vault.keys_for(tx, {place}))[place]
        raw = json.dumps(value).encode()
        # The same again is no second one (promise 2); the key keeps its id from telling what it is.
        oddity = UUID(
            bytes=hmac.digest(self.seat.vault.search_key, f"oddity|{room_id}|".encode() + raw, "sha256")[:16], version=5
        )
        sealed = key.seal(raw, bound(self.seat.org, room_id, f"{oddity}|oddity"))
        await tx.execute(ADD_ODDITY, self.seat.org, oddity, room_id, reason, sealed)


def _examine(
    room_id: str, events: Iterable[JsonObject], rules: Rules, keys: KeyRing
) -> Iterator[tuple[JsonObject, Examined | None]]:
    for event in events:
        try:
            yield event, examine(event, rules, keys)
        except HostileJson as error:
            log.warning("An event in %s can't be identified (%s); kept as it came.", room_id, error)
            yield event, None


def _sessions(page: Checked) -> set[Ref]:
    """The Megolm sessions that a page's events name."""
    found = set()
    for event, _ in page.events:
        content = event.get("content")
        session_id = content.get("session_id") if event.get("type") == "m.room.encrypted" and isinstance(content, dict) else None
        if isinstance(session_id, str):
            found.add((page.room_id, column(session_id)))
    return found


def _is_create(event: JsonObject) -> bool:
    """Whether an event says that it made its room."""
    return event.get("type") == "m.room.create" and event.get("state_key") == ""


def _version(content: object) -> str:
    """The room version in the content of a create event; absent means 1 (specification, m.room.create)."""
    version = content.get("room_version", "1") if isinstance(content, dict) else "1"
    return column(str(version))
