"""The numbers through which officials are reached on other networks: whose each is, and when it was not covered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from archiver.ledger.canonical import JsonObject
from archiver.reading.interruption import Interruption
from archiver.reading.portal import digits
from archiver.reading.rooms import Room


@dataclass(frozen=True, slots=True)
class Channel:
    """A number."""

    network: str
    network_name: str
    number: str | None
    officials: tuple[str, ...]
    told_by: str  # the bridge that carries it
    rooms: int = 0
    messages: int = 0
    last_at: datetime | None = None  # of any message in its conversations
    interruptions: tuple[Interruption, ...] = ()  # the newest first

    @property
    def open(self) -> tuple[Interruption, ...]:
        """Those that last."""
        return tuple(each for each in self.interruptions if each.until_at is None)

    def to_json(self) -> JsonObject:
        """For programs."""
        return {
            "network": self.network, "number": self.number, "officials": list(self.officials), "told_by": self.told_by,
            "rooms": self.rooms, "messages": self.messages, "last_at": self.last_at.isoformat() if self.last_at else None,
            "interruptions": [each.to_json() for each in self.interruptions],
        }  # fmt: skip


def channels(rooms: Iterable[Room], interruptions: Iterable[Interruption]) -> list[Channel]:
    """Every number that a bridge names, in a portal or in an interruption; those that are not covered now first."""
    found: dict[tuple[str, str, str], Channel] = {}
    for room in rooms:
        portal = room.portal
        if portal is None:
            continue
        key = portal.told_by, portal.network, digits(portal.receiver) or portal.official or ""
        known = found.get(key) or Channel(portal.network, portal.network_name, portal.receiver, (), portal.told_by)
        found[key] = replace(
            known,
            officials=tuple(sorted({*known.officials, *([portal.official] if portal.official else [])})),
            rooms=known.rooms + 1,
            messages=known.messages + room.messages,
            last_at=max((at for at in (known.last_at, room.last_at) if at), default=None),
        )
    for each in interruptions:
        key = each.told_by, each.network, digits(each.number) or each.official or ""
        if not key[2]:
            for name in [name for name in found if name[:2] == key[:2]]:
                found[name] = replace(found[name], interruptions=(*found[name].interruptions, each))
        if key[2] or not any(name[:2] == key[:2] for name in found):
            title = "WhatsApp" if each.network == "whatsapp" else each.network
            known = found.get(key) or Channel(each.network, title, each.number, (), each.told_by)
            officials = tuple(sorted({*known.officials, *([each.official] if each.official else [])}))
            found[key] = replace(known, officials=officials, interruptions=(*known.interruptions, each))
    return sorted(found.values(), key=lambda each: (not each.open, each.network, each.number or "", each.officials))
