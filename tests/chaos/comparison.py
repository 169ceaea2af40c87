"""An archive against what the homeserver holds and what people know they said: none missing, none twice, none altered."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import asyncpg

from archiver.db import DatabaseError, connect, tenant_tx
from archiver.ledger.event import Rules, redacted_form
from archiver.ledger.files import FileStore
from archiver.ledger.record import COLUMNS, Record, unseal
from archiver.ledger.sealing import FileKey, Vault
from tests.chaos.talk import Saying
from tests.conftest import RunningStack

AWAY = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, aiohttp.ClientError, DatabaseError)
MEDIA = "SELECT event_id, state, address, problem FROM media WHERE org = $1 AND room_id = $2 AND part = 'file'"
GAPS = "SELECT event_id, cause FROM gap WHERE org = $1 AND room_id = $2 AND state <> 'filled'"
ODDITIES = "SELECT reason FROM oddity WHERE org = $1 AND room_id = $2"


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive, from outside."""

    name: str
    database: str
    data_dir: Path
    files_dir: Path
    griffier: Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Room:
    """What an archive holds of a room."""

    records: dict[str, Record]
    media: dict[str, Any]
    gaps: list[Any]
    oddities: list[Any]


async def held_by_homeserver(stack: RunningStack, room: str) -> dict[str, dict[str, Any]]:
    """Every event that the homeserver holds of a room, by its id."""
    found: dict[str, dict[str, Any]] = {}
    where = f"{stack.homeserver}/_synapse/admin/v1/rooms/{quote(room, safe='')}/messages"
    headers, start = {"Authorization": f"Bearer {stack.admin_token}"}, ""
    async with aiohttp.ClientSession(headers=headers) as http:
        while True:
            query = {"dir": "b", "limit": "500", "filter": '{"event_format":"federation"}'} | ({"from": start} if start else {})
            async with http.get(where, params=query) as answer:
                page = await answer.json()
                if answer.status != 200:
                    raise ConnectionError
            found |= {event["event_id"]: event for event in page["chunk"]}
            start = page.get("end", "")
            if not start or not page["chunk"]:
                return found


async def held_by(archive: Archive, room: str, said: Sequence[Saying]) -> tuple[Room, dict[str, str]]:
    """What the archive holds of a room, opened; and the SHA-256 of each file that it holds."""
    async with connect(archive.database, 2) as pool, tenant_tx(pool, 1) as tx:
        vault = await Vault.open(tx, 1, FileKey.load(archive.data_dir / "keys"))
        records = await unseal(tx, vault, await tx.fetch(f"SELECT {COLUMNS} FROM record WHERE room_id = $1", room))
        media = {row["event_id"]: row for row in await tx.fetch(MEDIA, 1, room)}
        files = FileStore(archive.files_dir)
        digests = {}
        for one in said:
            row = media.get(one.event_id)
            if one.kind == "file" and one.room == room and row and row["state"] == "stored":
                digests[one.event_id] = hashlib.sha256(await files.read(vault, tx, room, row["address"])).hexdigest()
        gaps, oddities = await tx.fetch(GAPS, 1, room), await tx.fetch(ODDITIES, 1, room)
    assert len(records) == len({record.event_id for record in records})
    return Room({record.event_id: record for record in records}, media, gaps, oddities), digests


def alike(record: Record, held: dict[str, Any], version: str) -> bool:
    """Whether the stored event is the one that the homeserver holds; of a deleted one it holds only what deletion leaves."""
    ours = {name: value for name, value in record.event.items() if name not in ("unsigned", "event_id", "age_ts")}
    if "redacted_because" in held.get("unsigned", {}):
        ours = redacted_form(ours, Rules(version))
    names = ("type", "sender", "content", "origin_server_ts", "state_key")
    return all(ours.get(name) == held.get(name) for name in names)


async def compare(stack: RunningStack, archive: Archive, said: Sequence[Saying], seconds: float) -> dict[str, int]:
    """Wait until an archive has all that was said, then hold it against the homeserver; returns counts of what was compared."""
    counts: Counter[str] = Counter()
    end = time.monotonic() + seconds
    for room in sorted({one.room for one in said}):
        here = [one for one in said if one.room == room]
        while True:
            with contextlib.suppress(*AWAY):
                held = await held_by_homeserver(stack, room)
                stored, digests = await held_by(archive, room, here)
                lacks = lacking(here, held, stored, digests)
                if not lacks or time.monotonic() > end:
                    break
            await asyncio.sleep(0.5)
            assert time.monotonic() < end + 30, "the stack does not come back"
        assert not lacks, f"{archive.name}: {lacks}"
        counts += await _hold_against(archive, room, here, held, stored, digests)
    return dict(counts)


def lacking(said: Sequence[Saying], held: dict[str, Any], stored: Room, digests: dict[str, str]) -> list[str]:
    """What an archive has still to get of a room, in words."""
    lost = {one.event_id for one in said} - held.keys()
    missing = held.keys() - stored.records.keys()
    pruned = {event_id for event_id, record in stored.records.items() if not record.content_matches}
    unread = [
        f"{one.event_id} ({stored.records[one.event_id].unreadable}), number {number} of {len(said)} in the room"
        for number, one in enumerate(said)
        if one.event_id in stored.records and stored.records[one.event_id].unreadable and one.event_id not in pruned
    ]
    unfetched = [
        f"{one.event_id} {dict(stored.media[one.event_id]) if one.event_id in stored.media else ''}"
        for one in said
        if one.kind == "file" and one.event_id not in digests and one.event_id not in pruned
    ]
    told = {
        "lost by the homeserver itself": lost, "missing": missing, "unreadable": unread, "files not fetched": unfetched,
        "gaps": [dict(gap) for gap in stored.gaps], "oddities": [dict(row) for row in stored.oddities],
    }  # fmt: skip
    return [f"{len(found)} {what}: {sorted(map(str, found))[:3]}" for what, found in told.items() if found]


async def _hold_against(
    archive: Archive, room: str, said: Sequence[Saying], held: dict[str, Any], stored: Room, digests: dict[str, str]
) -> Counter[str]:
    create = next(record for record in stored.records.values() if record.type == "m.room.create")
    version = create.content.get("room_version", "1")
    deleted = {one.target for one in said if one.kind == "deletion"}
    for event_id, record in stored.records.items():
        assert record.id_matches, event_id
        assert record.content_matches or event_id in deleted, event_id
        assert not record.doubts, (event_id, record.doubts)
        if event_id in held:
            assert alike(record, held[event_id], version), event_id
    lines = await exported(archive, room)
    messages = {one.event_id: one for one in said if one.kind in ("text", "file")}
    assert Counter(line["event_id"] for line in lines if line["event_id"] in messages) == Counter(messages.keys())
    by_id = {line["event_id"]: line for line in lines}
    counts = Counter({"rooms": 1, "events": len(held), "said": len(said)})
    for one in said:
        record = stored.records[one.event_id]
        line = by_id[one.target if one.kind in ("edit", "reaction", "deletion") else one.event_id]
        if not record.content_matches:
            assert line["deleted_before_capture"], one
            counts["deleted before capture"] += 1
            continue
        counts[one.kind] += 1
        match one.kind:
            case "text":
                assert record.content["body"] == one.text
                assert line["versions"][0]["body"] == one.text
            case "file":
                assert (line["versions"][0]["body"], digests[one.event_id]) == (one.text, one.digest)
            case "edit":
                assert (one.event_id, one.text) in [(version["event_id"], version["body"]) for version in line["versions"]]
            case "reaction":
                assert (one.event_id, one.text) in [(reaction["event_id"], reaction["key"]) for reaction in line["reactions"]]
            case "deletion":
                assert line["deleted"], one
    return counts


async def exported(archive: Archive, room: str) -> list[dict[str, Any]]:
    """The lines of a room's export. Before it, the reading view is given a moment to have all."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(*AWAY):
                async with connect(archive.database, 2) as pool, tenant_tx(pool, 1) as tx:
                    if not await tx.fetchval("SELECT count(*) FROM unread WHERE room_id = $1", room):
                        break
            await asyncio.sleep(0.2)
    out = archive.data_dir.parent / f"{secrets.token_hex(4)}.jsonl"
    done = await archive.griffier("export", room, "--format", "jsonl", "--out", str(out))
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    out.unlink()
    return lines
