"""Officials from a file: what it would change is shown first, all of it is done or nothing, and it can be undone.

The preview is the import itself, in a transaction that is rolled back: what it shows is what the database would do.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import UUID

import asyncpg

from archiver.db import Connection, Pool, tenant_tx
from archiver.export.catalogue import N_
from archiver.ledger.audit import note, uuid7
from archiver.ledger.canonical import column
from archiver.ledger.sealing import Vault
from archiver.web.admin import registry
from archiver.web.admin.fields import Fields
from archiver.web.admin.registry import CHANNEL, KINDS, TERM, Change, Refused, change_of
from archiver.web.admin.table import Row, Table, read

NEW, CHANGED, UNCHANGED, ERROR = "new", "changed", "unchanged", "error"
KEPT = "30 minutes"  # a file waits so long for its confirmation

FORGET = f"DELETE FROM official_import WHERE org = $1 AND confirmed_at IS NULL AND made_at < now() - interval '{KEPT}'"  # noqa: S608
WAIT = "INSERT INTO official_import (org, import_id, made_by, file_name, sealed) VALUES ($1, $2, $3, $4, $5)"
WAITING = f"""
    SELECT file_name, sealed FROM official_import WHERE org = $1 AND import_id = $2 AND made_by = $3 AND confirmed_at IS NULL
      AND made_at > now() - interval '{KEPT}' FOR UPDATE
"""  # noqa: S608 - our own constant
DROP = "DELETE FROM official_import WHERE org = $1 AND import_id = $2 AND made_by = $3 AND confirmed_at IS NULL"
CONFIRMED = "UPDATE official_import SET confirmed_at = now(), sealed = NULL WHERE org = $1 AND import_id = $2"
PAST = """
    SELECT import_id, made_by, confirmed_at, file_name, undone_at,
           (SELECT count(*) FROM official_change AS c WHERE c.org = i.org AND c.import_id = i.import_id) AS changes
    FROM official_import AS i WHERE org = $1 AND confirmed_at IS NOT NULL ORDER BY confirmed_at DESC LIMIT 50
"""
DONE = """
    SELECT file_name FROM official_import
    WHERE org = $1 AND import_id = $2 AND confirmed_at IS NOT NULL AND undone_at IS NULL FOR UPDATE
"""
UNDONE = "UPDATE official_import SET undone_at = now() WHERE org = $1 AND import_id = $2"
OF_IMPORT = """
    SELECT number, at, made_by, what, entry_id, before, after, reason, import_id, official_id FROM official_change
    WHERE org = $1 AND import_id = $2 ORDER BY number DESC
"""
# What was changed after an import of what it changed, or added to whom it added.
BUILT_ON = """
    SELECT count(*) FROM official_change AS later
    WHERE later.org = $1 AND later.import_id IS DISTINCT FROM $2 AND EXISTS (
        SELECT FROM official_change AS ours WHERE ours.org = $1 AND ours.import_id = $2 AND ours.number < later.number
          AND (ours.entry_id = later.entry_id OR ours.what = 'official' AND ours.before IS NULL
               AND ours.official_id = later.official_id))
"""
KNOWN = """
    SELECT t.official_id, o.name, t.entry_id, t.function, t.unit, t.sole, t.from_day, t.until_day FROM term AS t
    JOIN official AS o ON o.org = t.org AND o.official_id = t.official_id
    WHERE t.org = $1 AND t.matrix_id = $2 AND NOT t.withdrawn
"""
NUMBERS = """
    SELECT entry_id, label, from_day, until_day FROM channel
    WHERE org = $1 AND official_id = $2 AND number = $3 AND from_day = $4 AND NOT withdrawn
"""
SAME_ROW = N_("The same row is in the file more than once.")
OTHER_NAME = N_("This account is registered for the same function and day under another name. Change the name there.")
NOT_ONE = N_("Nothing was imported: some rows can't be used. Improve them in the file, and upload it again.")
CHANGED_MEANWHILE = N_("What is known of the officials changed since you saw this. Look at it again before you import.")
BUILT = N_("This import can't be undone: what it added was changed since. Change or end it on the pages of the officials.")


@dataclass(frozen=True, slots=True)
class Judged:
    """A row and what the import makes of it."""

    row: Row
    state: str
    problems: dict[str, str] = field(default_factory=dict)  # by column; in English, to translate
    was: dict[str, Any] = field(default_factory=dict)  # what is changed, and from what

    @property
    def elsewhere(self) -> list[str]:
        """Problems of no column of the file."""
        return [why for name, why in self.problems.items() if name not in self.row.cells]


@dataclass(frozen=True, slots=True)
class Plan:
    """A file and what becomes of it."""

    import_id: UUID
    file_name: str
    ignored: tuple[str, ...]
    rows: tuple[Judged, ...]  # in the order of the file

    @property
    def counts(self) -> Counter[str]:
        return Counter(each.state for each in self.rows)

    @property
    def good(self) -> bool:
        return not self.counts[ERROR]

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self.good and any(each.state != UNCHANGED for each in self.rows)

    @property
    def digest(self) -> str:
        """What a confirmation is about: other words of the database make another plan."""
        told = [(each.row.line, each.state, sorted(each.problems.items()), str(each.was)) for each in self.rows]
        return hashlib.sha256(repr(told).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Import:
    """An import that was done."""

    import_id: UUID
    made_by: str
    confirmed_at: datetime
    file_name: str
    undone_at: datetime | None
    changes: int


class _Rollback(Exception):  # noqa: N818 - no error
    """Ends a transaction that was only to see."""


async def keep(pool: Pool, vault: Vault, by: str, file_name: str, raw: bytes) -> UUID:
    """Seal a file until it is confirmed; at most half an hour. Raises Unreadable."""
    read(raw)
    import_id = uuid7()
    async with tenant_tx(pool, vault.org) as tx:
        await tx.execute(FORGET, vault.org)
        sealed = vault.wrap(raw, f"official import|{import_id}")
        await tx.execute(WAIT, vault.org, import_id, by, column(file_name, 200) or "?", sealed)
        await note(tx, vault.org, by, "upload officials", file=column(file_name, 200), size=len(raw))
    return import_id


async def preview(pool: Pool, vault: Vault, by: str, import_id: UUID) -> Plan | None:
    """What a file that waits would change; None when it is not there (any more), or is another's."""
    plan = None
    try:
        async with tenant_tx(pool, vault.org) as tx:
            waiting = await _waiting(tx, vault, by, import_id)
            if waiting:
                plan = await _apply(tx, vault.org, by, import_id, *waiting)
            raise _Rollback  # noqa: TRY301 - to roll back, out of the block
    except _Rollback:
        return plan


async def confirm(pool: Pool, vault: Vault, by: str, import_id: UUID, digest: str) -> Plan | None:
    """Do it, all of it. Raises Refused when a row can't be used or the plan is no longer the one that was shown."""
    async with tenant_tx(pool, vault.org) as tx:
        waiting = await _waiting(tx, vault, by, import_id)
        if waiting is None:
            return None
        plan = await _apply(tx, vault.org, by, import_id, *waiting)
        if not plan.good:
            raise Refused({"": NOT_ONE})
        if plan.digest != digest:
            raise Refused({"": CHANGED_MEANWHILE})
        await tx.execute(CONFIRMED, vault.org, import_id)
        new, changed = plan.counts[NEW], plan.counts[CHANGED]
        await note(
            tx, vault.org, by, "import officials", file=plan.file_name, import_id=str(import_id), new=new, changed=changed
        )  # fmt: skip
    return plan


async def forget(pool: Pool, org: int, by: str, import_id: UUID) -> None:
    """Throw away a file that waits."""
    async with tenant_tx(pool, org) as tx:
        await tx.execute(DROP, org, import_id, by)


async def imports(tx: Connection, org: int) -> list[Import]:
    """The last 50 that were done."""
    return [Import(**row) for row in await tx.fetch(PAST, org)]


async def undo(pool: Pool, org: int, by: str, import_id: UUID) -> bool:
    """Take back all that an import did: what it added counts no more, what it changed is as it was. Raises Refused.

    False when there is no such import, or it was undone before.
    """
    async with registry.changing(pool, org, by, "import undone") as tx:
        name = await tx.fetchval(DONE, org, import_id)
        if name is None:
            return False
        if await tx.fetchval(BUILT_ON, org, import_id):
            raise Refused({"": BUILT})
        for row in await tx.fetch(OF_IMPORT, org, import_id):
            told = dict(row)
            official_id = told.pop("official_id")
            await _take_back(tx, org, by, official_id, change_of(told))
        await tx.execute(UNDONE, org, import_id)
        await note(tx, org, by, "undo import of officials", file=name, import_id=str(import_id))
    return True


async def _take_back(tx: Connection, org: int, by: str, official_id: UUID, done: Change) -> None:
    if done.what == "official":
        await registry.withdraw_official(tx, org, by, official_id)
        return
    kind = KINDS[done.what]
    if done.before is None:
        await registry.withdraw(tx, org, by, kind, official_id, done.entry_id)
    else:
        days = {name: date.fromisoformat(told) for name in ("from_day", "until_day") if (told := done.before[name])}
        values = {name: days.get(name) if name.endswith("_day") else done.before[name] for name in kind.columns}
        await registry.change(tx, org, by, kind, official_id, done.entry_id, values)


async def _waiting(tx: Connection, vault: Vault, by: str, import_id: UUID) -> tuple[str, Table] | None:
    row = await tx.fetchrow(WAITING, vault.org, import_id, by)
    if row is None:
        return None
    return row["file_name"], read(vault.unwrap(row["sealed"], f"official import|{import_id}"))


async def _apply(tx: Connection, org: int, by: str, import_id: UUID, file_name: str, table: Table) -> Plan:
    """Do each row that can be done, in the transaction that is open; what can't is told."""
    await registry.name_actor(tx, by, f"import {file_name}", import_id)
    ready: list[tuple[Row, dict[str, Any]]] = []
    judged: list[Judged] = []
    seen: set[tuple[Any, ...]] = set()
    for row in table.rows:
        values, problems = values_of(row)
        key = tuple(str(values[name]).casefold() for name in ("matrix_id", "name", "function", "unit", "from_day"))
        if not problems and key in seen:
            problems = {"name": SAME_ROW}
        seen.add(key)
        if problems:
            judged.append(Judged(row, ERROR, problems))
        else:
            ready.append((row, values))
    # What ends makes room for what begins, whichever comes first in the file.
    for row, values in sorted(ready, key=lambda each: each[1]["until_day"] is None):
        try:
            async with tx.transaction():
                judged.append(await _row(tx, org, by, row, values))
        except asyncpg.ExclusionViolationError as error:
            judged.append(Judged(row, ERROR, registry.clash(error).problems))
        except Refused as refused:
            judged.append(Judged(row, ERROR, refused.problems))
    return Plan(import_id, file_name, table.ignored, tuple(sorted(judged, key=lambda each: each.row.line)))


def values_of(row: Row) -> tuple[dict[str, Any], dict[str, str]]:
    """What a row says, and what is wrong with it by column."""
    fields = Fields(row.cells)
    values = {"name": fields.text("name"), **TERM.read(fields), "number": fields.number("number", required=False)}
    return values, {**({"": row.problem} if row.problem else {}), **fields.problems}


async def _row(tx: Connection, org: int, by: str, row: Row, values: dict[str, Any]) -> Judged:
    """An official is known by account and name; a term by function, part of the organisation and first day."""
    name, number = values["name"], values["number"]
    term = {column: values[column] for column in TERM.columns}
    known = await tx.fetch(KNOWN, org, values["matrix_id"])
    same = [each for each in known if _is(each, term)]
    official_id = next((each["official_id"] for each in known if each["name"].casefold() == name.casefold()), None)
    if official_id is None and same:
        raise Refused({"name": OTHER_NAME})
    state, was = UNCHANGED, {}
    if official_id is None:
        official_id, state = await registry.add_official(tx, org, by, name), NEW
    held = next((each for each in same if each["official_id"] == official_id), None)
    if held is None:
        await registry.add(tx, org, by, TERM, official_id, term)
        state = NEW
    elif held["until_day"] != term["until_day"]:
        kept = {column: held[column] for column in ("function", "unit", "sole")}
        await registry.change(tx, org, by, TERM, official_id, held["entry_id"], {**term, **kept})
        state, was = CHANGED, {"until_day": held["until_day"]}
    if number and await _number(tx, org, by, official_id, number, term["from_day"], term["until_day"]) and state == UNCHANGED:
        state = CHANGED
    return Judged(row, state, was=was)


async def _number(tx: Connection, org: int, by: str, official_id: UUID, number: str, start: date, end: date | None) -> bool:
    """See to it that the official has this number in this period; whether anything was to be done for it."""
    known = await tx.fetchrow(NUMBERS, org, official_id, number, start)
    values = {"number": number, "label": known["label"] if known else "", "from_day": start, "until_day": end}
    if known is None:
        await registry.add(tx, org, by, CHANNEL, official_id, values)
    elif known["until_day"] != end:
        await registry.change(tx, org, by, CHANNEL, official_id, known["entry_id"], values)
    return known is None or known["until_day"] != end


def _is(known: Any, term: dict[str, Any]) -> bool:
    same = all(known[name].casefold() == term[name].casefold() for name in ("function", "unit"))
    return bool(same and known["from_day"] == term["from_day"])


def first(rows: Iterable[Judged]) -> list[Judged]:
    """As they are shown: what is wrong first, what does not change last."""
    order = {ERROR: 0, CHANGED: 1, NEW: 2, UNCHANGED: 3}
    return sorted(rows, key=lambda each: (order[each.state], each.row.line))
