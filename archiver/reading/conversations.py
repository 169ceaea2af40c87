"""The list of conversations: those that are asked for, a page at a time. Of what is sealed, only what a page shows is opened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from archiver.db import Connection
from archiver.ledger.claims import BRIDGE_STATE
from archiver.ledger.record import COLUMNS, Record, unseal
from archiver.ledger.sealing import Vault
from archiver.reading.bridges import Bridges
from archiver.reading.bridges import bridges as find_bridges
from archiver.reading.membership import FIRST_SEEN, LAST_SEEN, SEEN_MESSAGES, limited, refresh
from archiver.reading.portal import Portal, portal
from archiver.reading.rooms import BRIDGE, COUNTED, STATE, invited, named

NEVER = datetime(1, 1, 1, tzinfo=UTC)  # what stands for no message in `conversation`
MISSING = "gap.state <> 'filled' AND gap.cause IS DISTINCT FROM 'not-visible'"
HOLES = f"(SELECT count(*) FROM gap WHERE gap.org = c.org AND gap.room_id = c.room_id AND {MISSING})"  # noqa: S608
FETCHING = "EXISTS (SELECT FROM stretch WHERE stretch.org = c.org AND stretch.room_id = c.room_id)"
# What a conversation can be chosen by: how it stands.
STATES: dict[str, str] = {
    "complete": f"{HOLES} = 0 AND NOT {FETCHING}",
    "incomplete": f"{HOLES} > 0",
    "fetching": FETCHING,
    "unreadable": "c.unreadable > 0",
    "deleted": "c.deleted + c.pruned > 0",
    "not-captured": "room.membership <> 'join'",
}
# By which column, and whether the largest comes first.
SORTS: dict[str, tuple[str, bool]] = {
    "latest": ("c.last_at", True), "earliest": ("c.first_at", False), "largest": ("c.messages", True),
}  # fmt: skip
ALL = "SELECT * FROM conversation"
# An official's conversations, and of each only what they could see: counted as they ask, up to a limit.
OWN = f"""
    SELECT c.org, c.room_id, c.network, c.official, told.messages, told.unreadable, told.deleted, told.pruned,
           coalesce(({FIRST_SEEN.format(org="c.org", room="c.room_id")}), '0001-01-01 00:00:00+00') AS first_at,
           coalesce(({LAST_SEEN.format(org="c.org", room="c.room_id")}), '0001-01-01 00:00:00+00') AS last_at
    FROM (SELECT DISTINCT org, room_id FROM membership) AS mine JOIN conversation AS c USING (org, room_id),
         LATERAL (SELECT count(*) AS messages, count(unreadable) AS unreadable, count(*) FILTER (WHERE deleted) AS deleted,
                         count(*) FILTER (WHERE pruned) AS pruned
                  FROM ({SEEN_MESSAGES.format(org="c.org", room="c.room_id", most=COUNTED + 1)}) AS newest) AS told
"""  # noqa: S608 - constants only
CHOSEN = "FROM ({source}) AS c JOIN room ON room.org = c.org AND room.room_id = c.room_id WHERE {conditions}"
PAGE = f"""
    SELECT c.room_id, c.network, c.official, c.messages, c.unreadable, c.deleted, c.pruned, c.first_at, c.last_at,
           room.encrypted, room.membership, room.notice_seen_at, {HOLES} AS holes, {FETCHING} AS fetching
"""
# The first message at or after a moment decides whether a conversation has one in a period: a look in the index.
IN_PERIOD = """
    c.last_at >= {start} AND c.first_at < {end} AND EXISTS (
        SELECT FROM message WHERE message.org = c.org AND message.room_id = c.room_id AND sent_at >= {start} AND sent_at < {end})
"""
OF_OFFICIAL = "(c.official = {it} OR c.room_id IN (SELECT room_id FROM membership WHERE org = $1 AND user_id = {it}))"
LAST_WORDS = f"""
    SELECT {COLUMNS} FROM unnest($2::text[], $3::text[], $4::text[]) AS wanted (room, kind, about),
           LATERAL (SELECT * FROM record WHERE org = $1 AND room_id = room AND type = kind AND state_key = about
                    ORDER BY depth DESC, event_id LIMIT 1) AS record
"""  # noqa: S608 - constants only
SOME_MEMBERS = f"""
    SELECT {COLUMNS} FROM unnest($2::text[]) AS wanted (room),
           LATERAL (SELECT DISTINCT ON (state_key) * FROM record
                    WHERE org = $1 AND room_id = room AND type = 'm.room.member' AND state_key IS NOT NULL
                    ORDER BY state_key, depth DESC LIMIT 12) AS record
"""  # noqa: S608 - constants only
NETWORKS = "SELECT DISTINCT network FROM conversation WHERE org = $1 ORDER BY network"
OFFICIALS = "SELECT DISTINCT official FROM conversation WHERE org = $1 AND official IS NOT NULL ORDER BY official LIMIT 500"
BRIDGED = """
    SELECT DISTINCT room_id, sender FROM record
    WHERE org = $1 AND type = ANY($2) AND state_key IS NOT NULL AND room_id = ANY($3)
"""
TOLD = """
    INSERT INTO conversation (org, room_id, network, official)
    SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[])
    ON CONFLICT (org, room_id) DO UPDATE SET network = excluded.network, official = excluded.official
"""
# The bridge that said so is not believed any more.
NOT_BRIDGED = """
    UPDATE conversation SET network = 'matrix', official = NULL
    WHERE org = $1 AND room_id = ANY($2) AND (network <> 'matrix' OR official IS NOT NULL)
"""
TELLING = BRIDGE_STATE | {"m.room.member", "io.element.functional_members"}


@dataclass(frozen=True, slots=True)
class Choice:
    """Which conversations are asked for, and in which order; None is all."""

    official: str | None = None  # an account: who is or was in it, or whose number it is on
    network: str | None = None
    start: datetime | None = None  # with a message from this moment
    end: datetime | None = None  # to before this one
    state: str | None = None  # of STATES
    sort: str = "latest"  # of SORTS
    rooms: tuple[str, ...] | None = None  # no others than these


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: after a conversation, or before one."""

    value: datetime | int  # of that conversation, in the column that is sorted by
    room_id: str
    back: bool = False


@dataclass(frozen=True, slots=True)
class Headline:
    """A conversation in the list."""

    room_id: str
    name: str
    network: str
    portal: Portal | None
    official_name: str | None
    encrypted: bool
    messages: int
    counted_all: bool  # whether `messages` is all of them, and not where counting stopped
    first_at: datetime | None
    last_at: datetime | None
    unreadable: int
    deleted: int
    pruned: int
    holes: int
    fetching: bool
    seated: bool
    noticed: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of the list."""

    headlines: tuple[Headline, ...]
    total: int
    earlier: Place | None  # where the page before this one is
    later: Place | None


async def conversations(tx: Connection, vault: Vault, choice: Choice, place: Place | None = None, size: int = 50) -> Listed:
    """A page of the conversations of a choice. For a choice by official, `see_to` has gone before."""
    own = await limited(tx)
    values: list[Any] = [vault.org]
    conditions = _conditions(choice, values)
    source = OWN if own else ALL
    total = await tx.fetchval("SELECT count(*) " + CHOSEN.format(source=source, conditions=" AND ".join(conditions)), *values)
    column, falling = SORTS[choice.sort]
    back = place is not None and place.back
    if place is not None:
        values += [place.value, place.room_id]
        sign = "<" if falling != back else ">"
        conditions.append(f"({column}, c.room_id) {sign} (${len(values) - 1}, ${len(values)})")
    way = "DESC" if falling != back else "ASC"
    chosen = CHOSEN.format(source=source, conditions=" AND ".join(conditions))
    rows = await tx.fetch(f"{PAGE} {chosen} ORDER BY {column} {way}, c.room_id {way} LIMIT {size + 1}", *values)
    more, rows = len(rows) > size, rows[:size][:: -1 if back else 1]
    key = column.removeprefix("c.")
    first = Place(rows[0][key], rows[0]["room_id"], back=True) if rows and (more if back else place is not None) else None
    last = Place(rows[-1][key], rows[-1]["room_id"]) if rows and (back or more) else None
    return Listed(tuple(await _headlines(tx, vault, rows, own=own)), total, first, last)


async def see_to(tx: Connection, vault: Vault, choice: Choice) -> None:
    """Make known in which rooms the official of a choice is or was; in a transaction that may write."""
    if choice.official:
        await refresh(tx, vault, choice.official)


async def networks(tx: Connection, org: int) -> list[str]:
    """The networks that there are conversations of."""
    return [row["network"] for row in await tx.fetch(NETWORKS, org)]


async def officials(tx: Connection, org: int) -> list[str]:
    """The accounts of whom there are conversations on another network."""
    return [row["official"] for row in await tx.fetch(OFFICIALS, org)]


async def keep(tx: Connection, vault: Vault, records: Sequence[Record], bridges: Bridges) -> None:
    """Note of which network these records' rooms are, and whose they are there."""
    about = sorted({record.room_id for record in records if record.state_key is not None and record.type in TELLING})
    if not about:
        return
    rows = await tx.fetch(BRIDGED, vault.org, list(BRIDGE_STATE), about)
    bridged = sorted({row["room_id"] for row in rows if row["sender"] in bridges})
    await tx.execute(NOT_BRIDGED, vault.org, sorted({row["room_id"] for row in rows}.difference(bridged)))
    if not bridged:
        return
    state: dict[str, list[Record]] = defaultdict(list)
    found = [*await tx.fetch(STATE, vault.org, bridged), *await tx.fetch(BRIDGE, vault.org, bridged)]
    for record in await unseal(tx, vault, found):
        state[record.room_id].append(record)
    seats = {row["user_id"] for row in await tx.fetch("SELECT user_id FROM seat WHERE org = $1", vault.org)}
    told = []
    for room, words in sorted(state.items()):
        is_portal = portal(words, [user for user in invited(words) if user not in seats], bridges)
        told.append((room, is_portal.network if is_portal else "matrix", is_portal.official if is_portal else None))
    if told:
        await tx.execute(TOLD, vault.org, *zip(*told, strict=True))


def _conditions(choice: Choice, values: list[Any]) -> list[str]:
    """What a choice asks, in SQL; its values are added to `values`."""

    def value(it: Any) -> str:
        values.append(it)
        return f"${len(values)}"

    conditions = ["c.org = $1"]
    if choice.rooms is not None:
        conditions.append(f"c.room_id = ANY({value(list(choice.rooms))})")
    if choice.network:
        conditions.append(f"c.network = {value(choice.network)}")
    if choice.official:
        conditions.append(OF_OFFICIAL.format(it=value(choice.official)))
    if choice.start or choice.end:
        start = value(choice.start or datetime(1900, 1, 1, tzinfo=UTC))
        conditions.append(IN_PERIOD.format(start=start, end=value(choice.end or datetime(9999, 12, 31, tzinfo=UTC))))
    if choice.state:
        conditions.append(STATES[choice.state])
    return conditions


async def _headlines(tx: Connection, vault: Vault, rows: Sequence[Any], *, own: bool) -> list[Headline]:
    """These rows with what is sealed of them."""
    rooms = [row["room_id"] for row in rows]
    wanted = [(room, kind, "") for room in rooms for kind in ("m.room.name", "m.room.canonical_alias")]
    wanted += [(row["room_id"], "m.room.member", row["official"]) for row in rows if row["official"]]
    state: dict[str, list[Record]] = defaultdict(list)
    found = await tx.fetch(LAST_WORDS, vault.org, *zip(*wanted, strict=True)) if wanted else []
    carried = [row["room_id"] for row in rows if row["network"] != "matrix"]
    if carried:
        found += await tx.fetch(BRIDGE, vault.org, carried)
    for record in await unseal(tx, vault, found):
        state[record.room_id].append(record)
    seats = {row["user_id"] for row in await tx.fetch("SELECT user_id FROM seat WHERE org = $1", vault.org)}
    nameless = [room for room in rooms if named(room, state[room], []) == room]
    members: dict[str, list[str]] = defaultdict(list)
    for record in await unseal(tx, vault, await tx.fetch(SOME_MEMBERS, vault.org, nameless)) if nameless else []:
        if record.content.get("membership") == "join" and record.state_key and record.state_key not in seats:
            members[record.room_id].append(_display(record))
    believed = await find_bridges(tx, vault.org)
    headlines = []
    for row in rows:
        room, words = row["room_id"], state[row["room_id"]]
        is_portal = portal(words, [], believed) if row["network"] != "matrix" else None
        official = next((_display(each) for each in words if each.type == "m.room.member"), row["official"])
        headlines.append(
            Headline(
                room_id=room,
                name=named(room, words, members[room]),
                network=row["network"],
                portal=replace(is_portal, official=row["official"]) if is_portal else None,
                official_name=official,
                encrypted=row["encrypted"],
                messages=min(row["messages"], COUNTED) if own else row["messages"],
                counted_all=not own or row["messages"] <= COUNTED,
                first_at=row["first_at"] if row["first_at"] > NEVER else None,
                last_at=row["last_at"] if row["last_at"] > NEVER else None,
                unreadable=row["unreadable"],
                deleted=row["deleted"],
                pruned=row["pruned"],
                holes=row["holes"],
                fetching=row["fetching"],
                seated=row["membership"] == "join",
                noticed=row["notice_seen_at"] is not None,
            )
        )
    return headlines


def _display(member: Record) -> str:
    """What a member is called."""
    name = member.content.get("displayname")
    return name if isinstance(name, str) and name else member.state_key or ""
