"""Rooms as mautrix-whatsapp and our own bridge make them, in the shapes that they write (recorded, and from their source)."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from archiver.capture.commit import Checked, Committer
from archiver.capture.megolm import Megolm
from archiver.db import tenant_tx
from archiver.export.jsonl import line
from archiver.ledger.claims import BRIDGE_KEY
from archiver.ledger.event import Rules, examine
from archiver.ledger.record import OTHER_SENDER, append
from archiver.reading.project import project_batch
from archiver.reading.rooms import Room, rooms
from archiver.reading.timeline import Entry
from archiver.reading.walk import entries
from archiver.reading.words import BlindIndex

BOT, OFFICIAL, ADMIN = "@whatsappbot:x", "@minister:x", "@beheer:x"
CONTACT, LID, OWN = "@whatsapp_31600000101:x", "@whatsapp_lid-7012345:x", "@whatsapp_31970102030:x"
BRIDGES = (BOT, "@whatsapp_*:x")
NUMBER, CHANNEL = "31970102030", "31600000101@s.whatsapp.net"
BEGAN = 1_764_000_000_000  # milliseconds
MINUTE = 60_000


def bridge_info(**more: Any) -> dict[str, Any]:
    """The content of `m.bridge` as mautrix-go writes it."""
    return {
        "bridgebot": BOT,
        "creator": BOT,
        "protocol": {
            "id": "whatsapp", "displayname": "WhatsApp", "avatar_url": "mxc://maunium.net/NeXNQarUbrlYBiPCpprYsRqr",
            "external_url": "https://whatsapp.com",
        },
        "channel": {"id": CHANNEL, "displayname": "Hatice Yıldız", "fi.mau.receiver": NUMBER},
        "com.beeper.room_type": "dm",
        "com.beeper.room_type.v2": "dm",
    } | more  # fmt: skip


def source(message_id: str, **more: Any) -> dict[str, Any]:
    """`nl.griffier.source` as our bridge writes it."""
    return {
        "network": "whatsapp", "message_id": message_id, "sender": "+31600000101", "sender_id": "NL.13491208655302741918",
        "sender_name": "Hatice Yıldız", "type": "text", "phone_number_id": "106540352242922", "number": "+31 97 0102030",
        "official": OFFICIAL,
    } | more  # fmt: skip


def text(body: str, **more: Any) -> dict[str, Any]:
    return {"msgtype": "m.text", "body": body} | more


class Portal:
    """A room being filled, event by event, through capture's own checks."""

    def __init__(self, archive: Any, room_id: str, bridges: tuple[str, ...] = BRIDGES) -> None:
        self.archive, self.room_id = archive, room_id
        seat = SimpleNamespace(org=1, vault=archive.vault, user_id="@archief:x")
        self._committer = Committer(seat, Megolm(1, "@archief:x", "k", 10), SimpleNamespace(known={}), None, bridges)
        self._depth = 0
        self.events: list[Any] = []

    async def open(self, **info: Any) -> Portal:
        """Made as a bridge makes it: created, joined, said which conversation it is."""
        async with tenant_tx(self.archive.pool, 1) as tx:
            await tx.execute(
                "INSERT INTO seat (org, user_id, sealed_secrets, bridges) VALUES (1, '@archief:x', '', $1) "
                "ON CONFLICT (org, user_id) DO UPDATE SET bridges = excluded.bridges",
                BRIDGES,
            )
            await tx.execute(
                "INSERT INTO room (org, room_id, version, membership, user_id) VALUES (1, $1, '11', 'join', '@archief:x')",
                self.room_id,
            )
        self.state("m.room.create", {"room_version": "11"}, "")
        self.member(BOT, "WhatsApp bridge bot")
        self.member(OFFICIAL, "Karin de Wit")
        self.member(CONTACT, "Hatice Yıldız (WA)")
        if info.pop("bridged", True):
            for kind in ("m.bridge", "uk.half-shot.bridge"):
                self.state(kind, bridge_info(**info), "x/whatsapp")
        return self

    def add(self, kind: str, content: dict[str, Any], sender: str, at: float | None = None, **more: Any) -> str:
        """Add an event, sent `at` minutes after the room was made (or in turn); returns its id."""
        self._depth += 1
        told = BEGAN + round((self._depth / 10 if at is None else at) * MINUTE)
        made = self.archive.arrival(
            content, self.room_id, type=kind, sender=sender, depth=self._depth, origin_server_ts=told, **more
        )
        self.events.append(made)
        return made.event_id

    def state(self, kind: str, content: dict[str, Any], key: str, sender: str = BOT, at: float | None = None) -> str:
        return self.add(kind, content, sender, at, state_key=key)

    def member(self, user_id: str, name: str | None, at: float | None = None, **more: Any) -> str:
        content = {"membership": "join", **({"displayname": name} if name else {}), **more}
        return self.state("m.room.member", content, user_id, user_id, at)

    def say(self, content: dict[str, Any], sender: str = CONTACT, at: float | None = None) -> str:
        return self.add("m.room.message", content, sender, at)

    def edit(self, target: str, new: dict[str, Any], sender: str = CONTACT, **more: Any) -> str:
        relation = {"rel_type": "m.replace", "event_id": target}
        return self.say(new | {"body": f"* {new['body']}", "m.new_content": new, "m.relates_to": relation} | more, sender)

    def redact(self, target: str, sender: str, reason: str | None = None) -> str:
        return self.add("m.room.redaction", {"redacts": target} | ({"reason": reason} if reason else {}), sender)

    def sealed_by_bridge(self, content: dict[str, Any], sender: str) -> str:
        """A message whose key is the bridge's while its sender is another."""
        event_id = self.say(content, sender)
        self.events[-1] = replace(self.events[-1], doubts=(OTHER_SENDER, BRIDGE_KEY))
        return event_id

    async def keep(self, *, backwards: bool = False) -> None:
        """Commit all of it in one go, or event by event from the newest back; then bring the view up to date."""
        pages = [[each] for each in reversed(self.events)] if backwards else [self.events]
        for page in pages:
            events = tuple((each.event, examine(each.event, Rules("11"), {})) for each in page)
            async with tenant_tx(self.archive.pool, 1) as tx:
                await append(tx, self.archive.vault, [each for each in page if each.doubts])
                await self._committer._append(tx, [Checked(self.room_id, Rules("11"), events, ())])
            if backwards:
                await project(self.archive)
        self.events = []
        await project(self.archive)

    async def room(self) -> Room:
        async with tenant_tx(self.archive.pool, 1) as tx:
            [found] = await rooms(tx, self.archive.vault, self.room_id)
        return found

    async def lines(self) -> dict[str, dict[str, Any]]:
        """The JSON Lines export by event id."""
        room = await self.room()
        portal = room.portal.to_json() if room.portal else None
        told = [entry async for entry in entries(self.archive.pool, self.archive.vault, room) if isinstance(entry, Entry)]
        return {entry.event_id: line(entry, portal) for entry in told}


async def project(archive: Any) -> None:
    index, taken = BlindIndex(archive.vault.search_key), 1
    while taken:
        async with tenant_tx(archive.pool, 1) as tx:
            taken = await project_batch(tx, archive.vault, index)
