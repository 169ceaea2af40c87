"""Which rooms and accounts somebody means: what they write in a filter, as ids."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from archiver.db import Connection
from archiver.ledger.sealing import Vault
from archiver.reading.rooms import Room, rooms
from archiver.reading.sweep import Filters

IN_ROOM = "SELECT true FROM room WHERE org = $1 AND room_id = $2"
ON_NETWORK = "SELECT room_id FROM conversation WHERE org = $1 AND network = $2"
OF_OFFICIAL = "SELECT DISTINCT room_id FROM record WHERE org = $1 AND type = 'm.room.member' AND state_key = $2"


class NotKnown(LookupError):  # noqa: N818 - it names what is the matter
    """No room or account goes by what was written in a filter: `field` says which."""

    def __init__(self, field: str, written: str) -> None:
        super().__init__(f"There is no {field} '{written}' in this archive.")
        self.field = field


async def scope(
    tx: Connection,
    vault: Vault,
    *,
    room: str = "",
    sender: str = "",
    official: str = "",
    network: str = "",
    start: datetime | None = None,
    end: datetime | None = None,
    has: frozenset[str] = frozenset(),
) -> Filters:
    """The filters of what was written; empty is no filter. Raises NotKnown.

    `room`: an id, or part of a name; `sender`: a Matrix id, or part of it or of a name; `official`: a Matrix id, in whose
    conversations is searched; `network`: of the conversation.
    """
    known: list[Room] | None = None
    chosen: list[frozenset[str]] = []
    if room.startswith("!"):
        if not await tx.fetchval(IN_ROOM, vault.org, room):
            raise NotKnown("room", room)
        chosen.append(frozenset({room}))
    elif room:
        known = await rooms(tx, vault)
        chosen.append(_some("room", room, (each.room_id for each in known if room.casefold() in each.name.casefold())))
    if official:
        found = [row["room_id"] for row in await tx.fetch(OF_OFFICIAL, vault.org, official)]
        chosen.append(_some("official", official, found))
    if network:
        chosen.append(frozenset(row["room_id"] for row in await tx.fetch(ON_NETWORK, vault.org, network)))
    senders = None
    if sender.startswith("@") and ":" in sender:
        senders = frozenset({sender})
    elif sender:
        known = known or await rooms(tx, vault)
        part = sender.casefold()
        people = ((user, name) for each in known for user, name in each.names.items())
        senders = _some("sender", sender, (user for user, name in people if part in name.casefold() or part in user.casefold()))
    return Filters(frozenset.intersection(*chosen) if chosen else None, senders, start, end, has)


def _some(field: str, written: str, found: Iterable[str]) -> frozenset[str]:
    chosen = frozenset(found)
    if not chosen:
        raise NotKnown(field, written)
    return chosen
