"""Which conversation on another network a room is: what its bridge says in `m.bridge` (MSC2346; facts of mautrix and of ours)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from archiver.ledger.canonical import JsonObject, column
from archiver.ledger.claims import BRIDGE_STATE
from archiver.ledger.record import Record
from archiver.reading.bridges import Bridges

OFFICIAL = "nl.griffier.official"
RECEIVER = "fi.mau.receiver"
ROOM_TYPES = ("com.beeper.room_type.v2", "com.beeper.room_type")


@dataclass(frozen=True, slots=True)
class Portal:
    """A conversation on another network, by the word of the bridge that made its room."""

    network: str  # whatsapp, signal, …
    network_name: str  # as people write it
    channel: str | None  # the network's id of the conversation: 316…@s.whatsapp.net, …@g.us, …@lid, a BSUID
    channel_name: str | None
    group: bool
    receiver: str | None  # our number in it
    official: str | None  # whose number that is
    official_told: bool  # by the bridge; else it is the only person of ours in the room
    told_by: str  # the bridge's account
    event_id: str  # where it says so

    @property
    def phone(self) -> str | None:
        """The other one's number, where the conversation's id is one."""
        found = re.fullmatch(r"(\d{5,20})@(?:s\.whatsapp\.net|c\.us)", self.channel or "")
        return f"+{found.group(1)}" if found else None

    def to_json(self) -> JsonObject:
        """For programs."""
        return {
            "network": self.network, "channel": self.channel, "channel_name": self.channel_name,
            "kind": "group" if self.group else "dm", "receiver": self.receiver, "official": self.official,
            "official_told_by_bridge": self.official_told, "told_by": self.told_by, "event_id": self.event_id,
        }  # fmt: skip


def portal(state: Iterable[Record], people: Collection[str], bridges: Bridges) -> Portal | None:
    """The portal that a room is; None when no believed bridge says so. `people` are those in it who are no archiver.

    The newest word counts; between `m.bridge` and `uk.half-shot.bridge`, which say the same, the first.
    """
    told = [record for record in state if record.type in BRIDGE_STATE and record.sender in bridges and _protocol(record)]
    if not told:
        return None
    record = max(told, key=lambda each: (each.depth, each.type == "m.bridge", each.event_id))
    content, protocol, channel = record.content, _part(record.content, "protocol"), _part(record.content, "channel")
    network = _text(protocol, "id") or "?"
    identity = _text(channel, "id")
    kind = next((said for name in ROOM_TYPES if (said := _text(content, name))), "")
    named, ours = _text(content, OFFICIAL), [person for person in people if person not in bridges]
    return Portal(
        network=column(network),
        network_name=_text(protocol, "displayname") or network,
        channel=identity,
        channel_name=_text(channel, "displayname"),
        group=kind.startswith("group") if kind else _is_group(network, identity or ""),
        receiver=_text(channel, RECEIVER) or _text(content, RECEIVER),
        official=named or (ours[0] if len(ours) == 1 else None),
        official_told=named is not None,
        told_by=record.sender,
        event_id=record.event_id,
    )


def digits(number: str | None) -> str:
    """A telephone number's digits, to tell whether two ways of writing it mean the same."""
    return re.sub(r"\D", "", number or "")


def _is_group(network: str, channel: str) -> bool:
    """Whether a conversation without a room type is a group's: mautrix leaves it out for groups, ours need not say it."""
    return network != "whatsapp" or channel.endswith(("@g.us", "@newsletter", "@broadcast"))


def _protocol(record: Record) -> bool:
    return _text(_part(record.content, "protocol"), "id") is not None


def _part(content: JsonObject, name: str) -> JsonObject:
    value = content.get(name)
    return value if isinstance(value, dict) else {}


def _text(content: JsonObject, name: str) -> str | None:
    value = content.get(name)
    return value if isinstance(value, str) and value else None
