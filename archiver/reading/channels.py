"""The numbers through which officials are reached on other networks: whose each is, and when it was not covered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from archiver.db import Connection
from archiver.ledger.canonical import JsonObject
from archiver.ledger.record import COLUMNS, Record, unseal
from archiver.ledger.sealing import Vault
from archiver.reading.bridges import bridges
from archiver.reading.interruption import Interruption
from archiver.reading.portal import Portal, digits, portal
from archiver.reading.rooms import BRIDGE, Room

CARRIED = """
    SELECT room_id, official, messages, CASE WHEN messages > 0 THEN last_at END AS last_at FROM conversation
    WHERE org = $1 AND network <> 'matrix'
"""
CALLED = f"""
    SELECT {COLUMNS} FROM unnest($2::text[]) AS wanted (about),
           LATERAL (SELECT room_id AS room FROM conversation WHERE org = $1 AND official = about
                    ORDER BY last_at DESC, room_id LIMIT 1) AS latest,
           LATERAL (SELECT * FROM record WHERE org = $1 AND room_id = room AND type = 'm.room.member' AND state_key = about
                    ORDER BY depth DESC, event_id LIMIT 1) AS record
"""  # noqa: S608 - constants only


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


@dataclass(frozen=True, slots=True)
class Carried:
    """What counts of a conversation that a bridge carries."""

    portal: Portal | None
    messages: int
    last_at: datetime | None


async def carried(tx: Connection, vault: Vault) -> list[Carried]:
    """The conversations that bridges carry; of what is sealed, only their bridge's word is opened."""
    rows = await tx.fetch(CARRIED, vault.org)
    state: dict[str, list[Record]] = defaultdict(list)
    for record in await unseal(tx, vault, await tx.fetch(BRIDGE, vault.org, [row["room_id"] for row in rows])):
        state[record.room_id].append(record)
    believed = await bridges(tx, vault.org)
    found = []
    for row in rows:
        told = portal(state[row["room_id"]], [], believed)
        if told is not None:
            found.append(Carried(replace(told, official=row["official"]), row["messages"], row["last_at"]))
    return found


async def names(tx: Connection, vault: Vault, officials: Iterable[str]) -> dict[str, str]:
    """What these accounts were last called in a conversation that a bridge carries."""
    rows = await tx.fetch(CALLED, vault.org, sorted(officials))
    told = {record.state_key: record.content.get("displayname") for record in await unseal(tx, vault, rows)}
    return {user: name for user, name in told.items() if user and isinstance(name, str) and name}


def channels(rooms: Iterable[Carried | Room], interruptions: Iterable[Interruption]) -> list[Channel]:
    """Every number that a bridge names, in a portal or in an interruption; those that are not covered now first."""
    found: dict[tuple[str, str, str], Channel] = {}
    for room in rooms:
        of = room.portal
        if of is None:
            continue
        key = of.told_by, of.network, digits(of.receiver) or of.official or ""
        known = found.get(key) or Channel(of.network, of.network_name, of.receiver, (), of.told_by)
        found[key] = replace(
            known,
            officials=tuple(sorted({*known.officials, *([of.official] if of.official else [])})),
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
