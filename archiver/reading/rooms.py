"""The rooms of the archive, as a list for people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from archiver.db import Connection
from archiver.ledger.record import COLUMNS, Record, unseal
from archiver.ledger.sealing import Vault
from archiver.reading.bridges import Bridges
from archiver.reading.bridges import bridges as find_bridges
from archiver.reading.completeness import Completeness, completeness
from archiver.reading.membership import FIRST_SEEN, LAST_SEEN, SEEN_MESSAGES, limited
from archiver.reading.portal import Portal, portal

# Said in so many words, not `$2 IS NULL OR …`: a plan that must serve both would read all rooms for one.
ONLY, ALL = "room_id = ANY($2)", "$2::text[] IS NULL"
STATE = f"""
    SELECT DISTINCT ON (room_id, type, state_key) {COLUMNS} FROM record
    WHERE org = $1 AND state_key IS NOT NULL AND {ONLY}
      AND type IN ('m.room.create', 'm.room.name', 'm.room.canonical_alias', 'm.room.member', 'm.room.topic',
                   'io.element.functional_members')
    ORDER BY room_id, type, state_key, depth DESC, event_id
"""  # noqa: S608 - constants only
# The last word of each account: what somebody who is no bridge puts in its place does not hide what the bridge said.
BRIDGE = f"""
    SELECT DISTINCT ON (room_id, type, state_key, sender) {COLUMNS} FROM record
    WHERE org = $1 AND state_key IS NOT NULL AND {ONLY}
      AND type IN ('m.bridge', 'uk.half-shot.bridge')
    ORDER BY room_id, type, state_key, sender, depth DESC, event_id
"""  # noqa: S608 - constants only
# Who has left says no name in going: the last one that they had in the room is theirs.
EARLIER_NAMES = f"""
    SELECT {COLUMNS} FROM record
    WHERE org = $1 AND type = 'm.room.member' AND (room_id, state_key) IN (SELECT * FROM unnest($2::text[], $3::text[]))
    ORDER BY depth, event_id LIMIT 10000
"""  # noqa: S608 - constants only
COUNTS = f"""
    SELECT room_id, messages, first_at, last_at, unreadable, deleted, pruned FROM conversation
    WHERE org = $1 AND {ONLY} AND messages > 0
"""  # noqa: S608 - constants only
COUNTED = 1_000  # of an official's messages in one conversation
# What an official may see is counted as they ask, up to a limit.
COUNTS_OF_OFFICIAL = f"""
    SELECT room_id, told.*, ({FIRST_SEEN.format(org="mine.org", room="mine.room_id")}) AS first_at,
           ({LAST_SEEN.format(org="mine.org", room="mine.room_id")}) AS last_at
    FROM (SELECT DISTINCT org, room_id FROM membership WHERE org = $1 AND {ONLY}) AS mine,
         LATERAL (SELECT count(*) AS messages, count(unreadable) AS unreadable, count(*) FILTER (WHERE deleted) AS deleted,
                         count(*) FILTER (WHERE pruned) AS pruned
                  FROM ({SEEN_MESSAGES.format(org="mine.org", room="mine.room_id", most=COUNTED + 1)}) AS newest) AS told
    WHERE told.messages > 0
"""  # noqa: S608 - constants only
ROOMS = f"""
    SELECT room_id, version, encrypted, membership, notice_seen_at,
           (SELECT count(*) FROM stretch WHERE stretch.org = room.org AND stretch.room_id = room.room_id) AS stretches
    FROM room WHERE org = $1 AND {ONLY}
"""  # noqa: S608 - constants only


class NoSuchRoom(LookupError):  # noqa: N818 - it names what is the matter
    """No room, or more than one, goes by this name."""


@dataclass(frozen=True, slots=True)
class Room:
    """A room and what is known of its completeness."""

    room_id: str
    name: str
    encrypted: bool
    portal: Portal | None  # which conversation on another network it is, by the word of a believed bridge
    created_at: datetime | None
    messages: int
    counted_all: bool  # whether `messages` is all of them, and not where counting stopped
    first_at: datetime | None
    last_at: datetime | None
    unreadable: int
    deleted: int
    pruned: int
    completeness: Completeness
    fetching: bool  # history is still being fetched
    seated: bool  # the archiver is a member
    noticed: bool  # the server showed the notice in the room
    names: dict[str, str]  # user id to display name
    members: tuple[str, ...]
    left: tuple[str, ...]  # who were members before
    bridges: Bridges  # whose accounts are no people of ours

    @property
    def network(self) -> str:
        """Where its people are: matrix, or the network that a bridge carries it over from."""
        return self.portal.network if self.portal else "matrix"


async def rooms(tx: Connection, vault: Vault, only: str | Sequence[str] | None = None) -> list[Room]:
    """The rooms, the one with the latest message first; `only` those asked for: no more than theirs is read and opened."""
    wanted = [only] if isinstance(only, str) else list(only) if only is not None else None

    async def found_by(statement: str) -> list[Any]:
        found: list[Any] = await tx.fetch(statement if wanted is not None else statement.replace(ONLY, ALL), vault.org, wanted)
        return found

    state: dict[str, list[Record]] = defaultdict(list)
    for record in await unseal(tx, vault, [*await found_by(STATE), *await found_by(BRIDGE)]):
        state[record.room_id].append(record)
    believed = await find_bridges(tx, vault.org)
    earlier = await _earlier_names(tx, vault, state)
    own = await limited(tx)
    counts = {row["room_id"]: row for row in await found_by(COUNTS_OF_OFFICIAL if own else COUNTS)}
    seats = {row["user_id"] for row in await tx.fetch("SELECT user_id FROM seat WHERE org = $1", vault.org)}
    rows = await found_by(ROOMS)
    complete = await completeness(tx, vault.org, [row["room_id"] for row in rows], all_rooms=wanted is None)
    found = []
    for row in rows:
        room = row["room_id"]
        found.append(_room(row, seats, state[room], earlier[room], counts.get(room), complete[room], believed, own=own))
    return sorted(found, key=lambda room: (room.last_at is not None, room.last_at), reverse=True)


async def rooms_called(tx: Connection, vault: Vault, wanted: str) -> Room:
    """The room with this id, or the only one whose name holds this text. Raises NoSuchRoom."""
    return choose(await rooms(tx, vault, wanted) or await rooms(tx, vault), wanted)


def choose(found: list[Room], wanted: str) -> Room:
    """The room with this id, or the only one whose name holds this text. Raises NoSuchRoom."""
    for room in found:
        if room.room_id == wanted:
            return room
    named = [room for room in found if wanted.casefold() in room.name.casefold()]
    if len(named) == 1:
        return named[0]
    if named:
        options = ", ".join(f"{room.name} ({room.room_id})" for room in named[:5])
        raise NoSuchRoom(f"More than one room goes by '{wanted}': {options}. Give the room id.")
    raise NoSuchRoom(f"No room goes by '{wanted}'. 'griffier rooms' lists them.")


async def _earlier_names(tx: Connection, vault: Vault, state: dict[str, list[Record]]) -> dict[str, dict[str, str]]:
    """By room: the last name of each account whose present membership does not say one."""
    nameless = [
        (record.room_id, record.state_key)
        for records in state.values()
        for record in records
        if record.type == "m.room.member" and record.state_key and not record.content.get("displayname")
    ]
    names: dict[str, dict[str, str]] = defaultdict(dict)
    if nameless:
        for record in await unseal(tx, vault, await tx.fetch(EARLIER_NAMES, vault.org, *zip(*nameless, strict=True))):
            display = record.content.get("displayname")
            if isinstance(display, str) and display and record.state_key:
                names[record.room_id][record.state_key] = display
    return names


def _room(
    row: Any,
    seats: set[str],
    state: list[Record],
    earlier: dict[str, str],
    counts: Any,
    known: Completeness,
    believed: Bridges,
    *,
    own: bool,
) -> Room:
    names: dict[str, str] = {}
    members, left = [], []
    for record in state:
        if record.type == "m.room.member" and record.state_key:
            display = record.content.get("displayname")
            names[record.state_key] = (
                display if isinstance(display, str) and display else earlier.get(record.state_key, record.state_key)
            )
            if record.content.get("membership") == "join":
                members.append(record.state_key)
            elif record.content.get("membership") in ("leave", "ban"):
                left.append(record.state_key)
    return Room(
        room_id=row["room_id"],
        name=named(row["room_id"], state, [names[member] for member in members if member not in seats]),
        encrypted=row["encrypted"],
        portal=portal(state, [user for user in invited(state) if user not in seats], believed),
        created_at=next((record.sent_at for record in state if record.type == "m.room.create"), None),
        messages=(min(counts["messages"], COUNTED) if own else counts["messages"]) if counts else 0,
        counted_all=not (own and counts and counts["messages"] > COUNTED),
        first_at=counts["first_at"] if counts else None,
        last_at=counts["last_at"] if counts else None,
        unreadable=counts["unreadable"] if counts else 0,
        deleted=counts["deleted"] if counts else 0,
        pruned=counts["pruned"] if counts else 0,
        completeness=known,
        fetching=row["stretches"] > 0,
        seated=row["membership"] == "join",
        noticed=row["notice_seen_at"] is not None,
        names=names,
        members=tuple(sorted(members)),
        left=tuple(sorted(left)),
        bridges=believed,
    )


def named(room_id: str, state: list[Record], members: list[str]) -> str:
    """The name that clients show: its own, its alias, or its members' names."""
    for kind, key in (("m.room.name", "name"), ("m.room.canonical_alias", "alias")):
        for record in state:
            value = record.content.get(key) if record.type == kind else None
            if isinstance(value, str) and value.strip():
                return value
    return ", ".join(sorted(members)[:4]) or room_id


def invited(state: list[Record]) -> list[str]:
    """Which people are in a room or invited to it; not who only serves there, as bots and archivers do (MSC4171)."""
    told = [record.content.get("service_members") for record in state if record.type == "io.element.functional_members"]
    serving = {user for users in told if isinstance(users, list) for user in users if isinstance(user, str)}
    return [
        record.state_key
        for record in state
        if record.type == "m.room.member"
        and record.state_key
        and record.state_key not in serving
        and record.content.get("membership") in ("join", "invite")
    ]
