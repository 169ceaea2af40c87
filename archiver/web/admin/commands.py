"""`griffier official`: the officials, from the command line."""

from __future__ import annotations

import argparse
import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from archiver.db import Pool, tenant_tx
from archiver.ledger.audit import note
from archiver.ledger.sealing import Vault
from archiver.reading.officials import Official, Term, day_of, officials
from archiver.web.admin import importing, registry
from archiver.web.admin.fields import Fields
from archiver.web.admin.registry import TERM, NoSuchEntry, Refused
from archiver.web.admin.table import Unreadable

Told = tuple[dict[str, Any], str]
"""What a command prints: for programs, and for people."""


class OfficialError(Exception):
    """It can't be done; the message says why."""


async def official(pool: Pool, vault: Vault, by: str, args: argparse.Namespace) -> Told:
    """List, add, end or import officials. Raises OfficialError."""
    work = {"list": _list, "add": _add, "end": _end, "import": _import}[args.do]
    try:
        return await work(pool, vault, by, args)
    except Refused as refused:
        raise OfficialError(str(refused)) from None
    except NoSuchEntry:
        raise OfficialError("There is no such function. 'griffier official list' shows them with their ids.") from None


async def _list(pool: Pool, vault: Vault, by: str, _: argparse.Namespace) -> Told:
    async with tenant_tx(pool, vault.org) as tx:
        await note(tx, vault.org, by, "list officials")
    async with tenant_tx(pool, vault.org) as tx:
        found = await officials(tx, vault.org)
    lines = [f"{each.name}\n" + "\n".join(map(_line, each.terms)) for each in found]
    return {"officials": [_official(each) for each in found]}, "\n".join(lines) or "There are no officials yet."


async def _add(pool: Pool, vault: Vault, by: str, args: argparse.Namespace) -> Told:
    names = ("name", "matrix_id", "function", "unit", "from_day", "until_day")
    given = {name: getattr(args, name) or "" for name in names} | {"sole": "yes" if args.sole else ""}
    fields = Fields(given)
    name, values = fields.text("name"), TERM.read(fields)
    if fields.problems:
        raise OfficialError("; ".join(f"--{_option(name)}: {why}" for name, why in fields.problems.items()))
    async with registry.changing(pool, vault.org, by, args.reason) as tx:
        official_id = await registry.add_official(tx, vault.org, by, name)
        entry_id = await registry.add(tx, vault.org, by, TERM, official_id, values)
    return {"official": str(official_id), "term": str(entry_id)}, f"{name} was added; the function's id is {entry_id}."


async def _end(pool: Pool, vault: Vault, by: str, args: argparse.Namespace) -> Told:
    fields = Fields({"until_day": args.until_day or str(day_of(datetime.now(UTC)))})
    until = fields.day("until_day")
    try:
        entry_id = UUID(args.which or "")
    except ValueError:
        raise NoSuchEntry from None
    if until is None:
        raise OfficialError(f"--until: {fields.problems['until_day']}")
    async with registry.changing(pool, vault.org, by, args.reason) as tx:
        held = next(
            ((each, term) for each in await officials(tx, vault.org) for term in each.terms if term.entry_id == entry_id), None
        )
        if held is None:
            raise NoSuchEntry
        person, term = held
        if until < term.from_day:
            raise OfficialError("--until: The last day is before the first day.")
        values = {name: getattr(term, name) for name in TERM.columns} | {"until_day": until}
        await registry.change(tx, vault.org, by, TERM, person.official_id, entry_id, values)
    return {"term": str(entry_id), "until": str(until)}, f"{person.name} is {term.function} up to and including {until}."


async def _import(pool: Pool, vault: Vault, by: str, args: argparse.Namespace) -> Told:
    file = Path(args.which or "")
    try:
        raw = await asyncio.to_thread(file.read_bytes)
    except OSError as error:
        raise OfficialError(f"'{file}' can't be read: {error.strerror}.") from None
    try:
        import_id = await importing.keep(pool, vault, by, file.name, raw)
    except Unreadable as error:
        raise OfficialError(" ".join([error.why, ", ".join(error.columns)]).strip()) from None
    try:
        plan = await importing.preview(pool, vault, by, import_id)
        if plan is None:
            raise OfficialError("The file was thrown away meanwhile. Import it again.")
        done = bool(args.confirm and plan.changes)
        if done:
            await importing.confirm(pool, vault, by, import_id, plan.digest)
    finally:
        await importing.forget(pool, vault.org, by, import_id)
    rows = [{"line": each.row.line, "state": each.state, "problems": each.problems} for each in plan.rows]
    lines = [f"line {row['line']}: {row['state']}{_why(row['problems'])}" for row in rows if row["state"] != importing.UNCHANGED]
    end = "Imported." if done else "Nothing was stored; give --confirm to do it." if plan.changes else "Nothing was stored."
    told = {"import_id": str(import_id) if done else None, "imported": done, "rows": rows, **dict(plan.counts)}
    if args.confirm and not plan.good:
        raise OfficialError("\n".join([*lines, end]))
    return told, "\n".join([*lines, end])


def _why(problems: Any) -> str:
    return "".join(f"; {name}: {why}" if name else f"; {why}" for name, why in problems.items())


def _option(name: str) -> str:
    return {"from_day": "from", "until_day": "until"}.get(name, name.replace("_", "-"))


def _line(term: Term) -> str:
    until = term.until_day or "…"
    return f"  {term.entry_id}  {term.from_day} – {until}  {term.function}, {term.unit}  {term.matrix_id}"


def _official(each: Official) -> dict[str, Any]:
    def period(entry: Any) -> dict[str, Any]:
        return {
            "id": str(entry.entry_id),
            "from": str(entry.from_day),
            "until": str(entry.until_day) if entry.until_day else None,
        }

    return {
        "id": str(each.official_id),
        "name": each.name,
        "terms": [
            {**period(one), "matrix_id": one.matrix_id, "function": one.function, "unit": one.unit, "sole": one.sole}
            for one in each.terms
        ],
        "devices": [{**period(one), "label": one.label, "kind": one.kind, "owner": one.owner} for one in each.devices],
        "numbers": [{**period(one), "number": one.number, "label": one.label} for one in each.channels],
    }
