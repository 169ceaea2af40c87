"""Changing what is known of officials. Nothing is taken away: each change is kept, with who made it, what it was and became."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import asyncpg

from archiver.db import Connection, Pool, tenant_tx
from archiver.export.catalogue import N_
from archiver.ledger.audit import note, uuid7
from archiver.ledger.canonical import column
from archiver.web.admin.fields import Fields, channel_of, device_of, term_of

NAMED = """
    SELECT set_config('griffier.actor', $1, true), set_config('griffier.reason', $2, true),
           set_config('griffier.import', $3, true)
"""
ADD_OFFICIAL = "INSERT INTO official (org, official_id, name) VALUES ($1, $2, $3)"
RENAME = "UPDATE official SET name = $3 WHERE org = $1 AND official_id = $2 AND NOT withdrawn RETURNING name"
WITHDRAW_OFFICIAL = "UPDATE official SET withdrawn = true WHERE org = $1 AND official_id = $2 AND NOT withdrawn RETURNING name"
EXISTS = "SELECT name FROM official WHERE org = $1 AND official_id = $2 AND NOT withdrawn FOR UPDATE"
VERSION = "SELECT coalesce(max(number), 0) FROM official_change WHERE org = $1 AND entry_id = $2"
HISTORY = """
    SELECT number, at, made_by, what, entry_id, before, after, reason, import_id FROM official_change
    WHERE org = $1 AND official_id = $2 ORDER BY number DESC LIMIT 500
"""
# The field beside which a clash is told, and why, by the name that the database gives it (0017).
CLASHES = {
    "account": ("matrix_id", N_("In this period the account is somebody else's. End that first.")),
    "term": ("from_day", N_("In this period the official holds this function already.")),
    "function": (
        "function",
        N_("Somebody else holds this function in this period, and one person at a time does. End that first."),
    ),
    "number": ("number", N_("In this period the number is in use already. End that first.")),
    "device": ("label", N_("In this period the official has this device already.")),
}
CHANGED_MEANWHILE = N_("Somebody changed this while you were filling it in. Look at what it is now, and do it again.")


@dataclass(frozen=True, slots=True)
class Kind:
    """A table of entries: its columns, and what reads them from a form."""

    name: str
    columns: tuple[str, ...]
    read: Callable[[Fields], dict[str, Any]]

    @property
    def insert(self) -> str:
        places = ", ".join(f"${number + 4}" for number in range(len(self.columns)))
        return f"INSERT INTO {self.name} (org, entry_id, official_id, {', '.join(self.columns)}) VALUES ($1, $2, $3, {places})"  # noqa: S608

    @property
    def update(self) -> str:
        places = ", ".join(f"{column} = ${number + 4}" for number, column in enumerate(self.columns))
        return f"UPDATE {self.name} SET {places} WHERE org = $1 AND entry_id = $2 AND official_id = $3"  # noqa: S608

    @property
    def find(self) -> str:
        columns = ", ".join(self.columns)
        where = "org = $1 AND entry_id = $2 AND official_id = $3 AND NOT withdrawn"
        return f"SELECT {columns} FROM {self.name} WHERE {where} FOR UPDATE"  # noqa: S608

    @property
    def withdraw(self) -> str:
        return f"UPDATE {self.name} SET withdrawn = true WHERE org = $1 AND entry_id = $2 AND official_id = $3"  # noqa: S608


TERM = Kind("term", ("matrix_id", "function", "unit", "sole", "from_day", "until_day"), term_of)
DEVICE = Kind("device", ("label", "kind", "owner", "from_day", "until_day"), device_of)
CHANNEL = Kind("channel", ("number", "label", "from_day", "until_day"), channel_of)
KINDS = {kind.name: kind for kind in (TERM, DEVICE, CHANNEL)}
OF_OFFICIAL = {
    name: f"SELECT entry_id FROM {name} WHERE org = $1 AND official_id = $2 AND NOT withdrawn"  # noqa: S608
    for name in KINDS
}


class Refused(Exception):  # noqa: N818 - it names what happened
    """It can't be kept as it was filled in: why, by field; under "" what is about all of it."""

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__(" ".join(problems.values()))
        self.problems = problems


class NoSuchEntry(LookupError):  # noqa: N818 - it names what is the matter
    """There is no such official or entry, or it was withdrawn."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that was changed."""

    number: int
    at: datetime
    made_by: str
    what: str
    entry_id: UUID
    before: dict[str, Any] | None
    after: dict[str, Any]
    reason: str | None
    import_id: UUID | None

    @property
    def act(self) -> str:
        """added, withdrawn, ended or changed."""
        if self.before is None:
            return "added"
        if self.after["withdrawn"] and not self.before["withdrawn"]:
            return "withdrawn"
        return "ended" if set(self.differs) == {"until_day"} and self.after["until_day"] else "changed"

    @property
    def differs(self) -> list[str]:
        """Which columns became something else."""
        return [name for name, value in self.after.items() if self.before is not None and self.before.get(name) != value]


@asynccontextmanager
async def changing(pool: Pool, org: int, by: str, reason: str = "", import_id: UUID | None = None) -> AsyncIterator[Connection]:
    """A transaction in which somebody changes officials. Raises Refused where periods clash."""
    try:
        async with tenant_tx(pool, org) as tx:
            await name_actor(tx, by, reason, import_id)
            yield tx
    except asyncpg.ExclusionViolationError as error:
        raise clash(error) from None


async def name_actor(tx: Connection, by: str, reason: str = "", import_id: UUID | None = None) -> None:
    """Say who makes the changes of this transaction, and why."""
    await tx.execute(NAMED, by, column(reason, 500), str(import_id) if import_id else "")


def clash(error: asyncpg.ExclusionViolationError) -> Refused:
    """A clash of periods, for people."""
    field, why = CLASHES[str(error.constraint_name)]
    return Refused({field: why})


async def add_official(tx: Connection, org: int, by: str, name: str) -> UUID:
    """A new official, as yet without a function."""
    official_id = uuid7()
    await tx.execute(ADD_OFFICIAL, org, official_id, name)
    await _note(tx, org, by, official_id, "official", None, {"name": name})
    return official_id


async def rename(tx: Connection, org: int, by: str, official_id: UUID, name: str) -> None:
    """Another name for an official. Raises NoSuchEntry."""
    was = await tx.fetchval(EXISTS, org, official_id)
    if was is None:
        raise NoSuchEntry
    if was != name:
        await tx.execute(RENAME, org, official_id, name)
        await _note(tx, org, by, official_id, "official", {"name": was}, {"name": name})


async def add(tx: Connection, org: int, by: str, kind: Kind, official_id: UUID, values: dict[str, Any]) -> UUID:
    """A term, device or number of an official. Raises NoSuchEntry; clashes end the transaction (`changing`)."""
    if await tx.fetchval(EXISTS, org, official_id) is None:
        raise NoSuchEntry
    entry_id = uuid7()
    await tx.execute(kind.insert, org, entry_id, official_id, *(values[name] for name in kind.columns))
    await _note(tx, org, by, official_id, kind.name, None, values)
    return entry_id


async def change(
    tx: Connection,
    org: int,
    by: str,
    kind: Kind,
    official_id: UUID,
    entry_id: UUID,
    values: dict[str, Any],
    seen: int | None = None,
) -> None:
    """Correct or end an entry; `seen` is its version as whoever changes it saw it. Raises NoSuchEntry, Refused."""
    was = await tx.fetchrow(kind.find, org, entry_id, official_id)
    if was is None:
        raise NoSuchEntry
    if seen is not None and await version(tx, org, entry_id) != seen:
        raise Refused({"": CHANGED_MEANWHILE})
    if dict(was) != values:
        await tx.execute(kind.update, org, entry_id, official_id, *(values[name] for name in kind.columns))
        await _note(tx, org, by, official_id, kind.name, dict(was), values)


async def withdraw(tx: Connection, org: int, by: str, kind: Kind, official_id: UUID, entry_id: UUID) -> None:
    """Say that an entry was a mistake: it counts no more, and stays in the history. Raises NoSuchEntry."""
    was = await tx.fetchrow(kind.find, org, entry_id, official_id)
    if was is None:
        raise NoSuchEntry
    await tx.execute(kind.withdraw, org, entry_id, official_id)
    await _note(tx, org, by, official_id, kind.name, dict(was), {"withdrawn": True})


async def withdraw_official(tx: Connection, org: int, by: str, official_id: UUID) -> None:
    """Say that an official was entered by mistake, with all that was said of them. Raises NoSuchEntry."""
    was = await tx.fetchval(EXISTS, org, official_id)
    if was is None:
        raise NoSuchEntry
    for kind in KINDS.values():
        for row in await tx.fetch(OF_OFFICIAL[kind.name], org, official_id):
            await withdraw(tx, org, by, kind, official_id, row["entry_id"])
    await tx.execute(WITHDRAW_OFFICIAL, org, official_id)
    await _note(tx, org, by, official_id, "official", {"name": was}, {"withdrawn": True})


async def version(tx: Connection, org: int, entry_id: UUID) -> int:
    """The number of an entry's last change."""
    found: int = await tx.fetchval(VERSION, org, entry_id)
    return found


async def history(tx: Connection, org: int, official_id: UUID) -> list[Change]:
    """What was changed of an official, the newest first; at most 500."""
    return [change_of(row) for row in await tx.fetch(HISTORY, org, official_id)]


def change_of(row: Any) -> Change:
    """A row of official_change."""
    told = {name: json.loads(row[name]) if row[name] else None for name in ("before", "after")}
    return Change(**{**dict(row), **told})


async def _note(
    tx: Connection, org: int, by: str, official_id: UUID, what: str, was: dict[str, Any] | None, values: dict[str, Any]
) -> None:
    """The audit trail's line: what became something else, and what it was."""
    new = {name: value for name, value in values.items() if was is None or was.get(name) != value}
    old = None if was is None else {name: was.get(name) for name in (new if "withdrawn" not in new else was)}
    await note(
        tx, org, by, "add official" if was is None else "change official", official=str(official_id), what=what,
        before=_told(old), after=_told(new),
    )  # fmt: skip


def _told(values: dict[str, Any] | None) -> str | None:
    if values is None:
        return None
    return json.dumps({name: str(value) if isinstance(value, date) else value for name, value in values.items()}, sort_keys=True)
