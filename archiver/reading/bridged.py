"""What there is to say of a bridged room beside its messages: its timers, the times not covered, who its contacts were."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from archiver.db import Connection
from archiver.ledger.record import COLUMNS, unseal
from archiver.ledger.sealing import Vault
from archiver.reading.identity import Identities, Identity, identities
from archiver.reading.interruption import Interruption, interruptions
from archiver.reading.origin import TIMER, timer
from archiver.reading.rooms import Room

CONTACTS = 200  # accounts whose history is shown
TIMERS = f"""
    SELECT {COLUMNS} FROM record WHERE org = $1 AND room_id = $2 AND type = '{TIMER}' AND state_key = ''
    ORDER BY depth, event_id LIMIT 1000
"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True)
class Timer:
    """A word on after how long messages disappear on the network."""

    seconds: int | None  # None: off
    since: datetime
    set_by: str
    set_by_name: str
    event_id: str


@dataclass(frozen=True, slots=True)
class Bridged:
    """Beside the messages."""

    timers: tuple[Timer, ...] = ()  # the earliest first
    interruptions: tuple[Interruption, ...] = ()  # that overlap the room's time, or the part of it that is asked for
    contacts: tuple[Identity, ...] = ()  # who its ghosts were, account by account


async def bridged(
    tx: Connection, vault: Vault, room: Room, start: datetime | None = None, end: datetime | None = None
) -> Bridged:
    """What is known of a room, from `start` to before `end`; nothing of a room that is no portal."""
    portal = room.portal
    if portal is None:
        return Bridged()
    records = await unseal(tx, vault, await tx.fetch(TIMERS, vault.org, room.room_id))
    ghosts = [user for user in (*room.members, *room.left) if user in room.bridges and user != portal.told_by][:CONTACTS]
    known = Identities(await identities(tx, vault, room.room_id, [*ghosts, *(record.sender for record in records)]))
    timers: list[Timer] = []
    for record in records:
        seconds = timer(record.content)
        if seconds == (timers[-1].seconds if timers else None):
            continue  # nothing changed
        name = known.at(record.sender, record.sent_at).name or room.names.get(record.sender, record.sender)
        timers.append(Timer(seconds, record.sent_at, record.sender, name, record.event_id))
    began = max((moment for moment in (start, _began(room)) if moment), default=None)
    found = [each for each in await interruptions(tx, vault.org) if each.concerns(portal) and each.overlaps(began, end)]
    return Bridged(tuple(timers), tuple(reversed(found)), tuple(word for ghost in ghosts for word in known.of(ghost)))


def _began(room: Room) -> datetime | None:
    """When a conversation began, as far as is known: what was not covered before that is not of it."""
    return min((moment for moment in (room.first_at, room.created_at) if moment), default=None)
