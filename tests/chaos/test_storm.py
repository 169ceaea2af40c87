"""A storm: under load from real encrypted clients, processes are killed, frozen and cut off at random moments.

Afterwards the archive is compared with what the homeserver holds, event by event: none missing, none twice, none altered, every
message read. The seed is printed, and GRIFFIER_CHAOS_SEED repeats it; GRIFFIER_CHAOS_BLOWS sets how many (`make chaos`: 200).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from tests.conftest import RunningStack, running_stack
from tests.facility import Facility, Proxy, facility, proxy
from tests.interop.client import Official

pytestmark = [pytest.mark.stack, pytest.mark.interop]

BLOWS = int(os.environ.get("GRIFFIER_CHAOS_BLOWS", "16"))
SEED = int(os.environ.get("GRIFFIER_CHAOS_SEED", str(secrets.randbelow(10**6))))
PARTS = {
    "archive": b"archive", "synapse": b"synapse.app.homeserver", "postgres": b"-D", "bridge": b"bridge",
    "simulator": b"simulator", "web": b"web",
}  # fmt: skip


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder of this test alone: its Postgres and Synapse are knocked down."""
    made = Path(tempfile.mkdtemp(prefix="griffier-storm-"))
    made.chmod(0o755)
    yield made
    if os.environ.get("GRIFFIER_KEEP_TEST_DATA") is None:
        shutil.rmtree(made, ignore_errors=True)


def children(parent: int) -> dict[int, list[bytes]]:
    """The processes directly under one, with their command lines."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().split(b"\0")
    return found


def pids(stack: RunningStack, part: str) -> list[int]:
    """The processes of a part of the stack."""
    return [pid for pid, command in children(stack.process.pid).items() if PARTS[part] in command]


class Storm:
    """Strikes at random."""

    def __init__(self, chance: random.Random, stack: RunningStack, archive: Facility, between: Proxy) -> None:
        self._chance = chance
        self._stack = stack
        self._archive = archive
        self._between = between
        self.log: list[str] = []

    async def strike(self) -> None:
        """One blow, and a moment's rest."""
        # Mostly at what must not lose anything; the others must come back by themselves.
        blow = self._chance.choices(
            [self._kill_archiver, self._stop_archiver, self._freeze_archiver, self._cut, self._kill_part, self._freeze_part],
            [5, 1, 1, 2, 4, 1],
        )[0]
        await blow()
        await asyncio.sleep(self._chance.uniform(0.1, 1.2))

    async def _kill_archiver(self) -> None:
        await self._end(signal.SIGKILL)

    async def _stop_archiver(self) -> None:
        await self._end(signal.SIGTERM)

    async def _end(self, how: signal.Signals) -> None:
        living = [process for process in self._archive.processes if process.returncode is None]
        if living:
            self.log.append(f"{how.name} archiver")
            living[0].send_signal(how)
            await living[0].wait()
        await self._archive.start()

    async def _freeze_archiver(self) -> None:
        living = [process for process in self._archive.processes if process.returncode is None]
        for process in living[:1]:
            self.log.append("freeze archiver")
            process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(self._chance.uniform(0.3, 3))
            process.send_signal(signal.SIGCONT)

    async def _cut(self) -> None:
        self.log.append("cut the line to the homeserver")
        self._between.held.clear()
        await asyncio.sleep(self._chance.uniform(0.3, 2))
        self._between.held.set()

    async def _kill_part(self) -> None:
        part = self._chance.choices(list(PARTS), [3, 2, 2, 1, 1, 1])[0]
        self.log.append(f"SIGKILL {part}")
        for pid in pids(self._stack, part):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(3 if part in ("synapse", "postgres") else 0)

    async def _freeze_part(self) -> None:
        part = self._chance.choice(["synapse", "postgres", "archive"])
        self.log.append(f"freeze {part}")
        frozen = pids(self._stack, part)
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(self._chance.uniform(0.3, 2))
        for pid in frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


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
            found |= {event["event_id"]: event for event in page["chunk"]}
            start = page.get("end", "")
            if not start or not page["chunk"]:
                return found


async def test_nothing_is_lost_doubled_or_altered_in_a_storm(folder: Path, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    print(f"\nGRIFFIER_CHAOS_SEED={SEED} GRIFFIER_CHAOS_BLOWS={BLOWS}")
    async with (
        running_stack(folder) as stack,
        proxy(stack.homeserver) as between,
        facility(stack, tmp_path, homeserver=between.url) as archive,
        _officials(stack) as officials,
    ):
        await archive.start()
        await archive.until("SELECT capturing FROM seat")
        await archive.start()  # stands by
        room = (
            await officials[0].do("create_room", name="Storm", invite=[archive.user_id, *(o.user_id for o in officials[1:])])
        )["room"]
        for other in officials[1:]:
            await other.do("wait_invite")
        await archive.until("SELECT membership = 'join' FROM room WHERE room_id = $1", room)
        for each in officials:
            await each.do("wait_members", room=room, count=len(officials) + 2)
        storm = Storm(chance, stack, archive, between)
        done = asyncio.Event()
        talking = [asyncio.create_task(_talk(each, room, done)) for each in officials]
        began = time.monotonic()
        for _ in range(BLOWS):
            await storm.strike()
        done.set()
        said = {event_id: text for told in await asyncio.gather(*talking) for event_id, text in told.items()}
        print(f"{len(said)} messages, {BLOWS} blows in {time.monotonic() - began:.0f} s: {', '.join(storm.log)}")
        assert len(said) > 3 * BLOWS
        await _compare(stack, archive, room, said)


@contextlib.asynccontextmanager
async def _officials(stack: RunningStack) -> AsyncIterator[list[Official]]:
    async with contextlib.AsyncExitStack() as opened:
        yield [
            await opened.enter_async_context(Official(stack.homeserver, *await stack.register(f"storm-{number}")))
            for number in range(2)
        ]


async def _talk(official: Official, room: str, done: asyncio.Event) -> dict[str, str]:
    """Talk until told to stop; what was said, by event id. Sending is tried again under the same transaction id."""
    said = {}
    while not done.is_set():
        texts = [f"{secrets.token_hex(6)} in de storm" for _ in range(8)]
        ids = (await official.do("send_surely", room=room, bodies=texts, gap_ms=60, timeout=300))["event_ids"]
        said |= dict(zip(ids, texts, strict=True))
    return said


async def _compare(stack: RunningStack, archive: Facility, room: str, said: dict[str, str]) -> None:
    """The archive of the test, and that of the stack, against what the homeserver holds."""
    for database, export in ((archive.database, archive.run), (stack.database, stack.griffier)):
        there = Facility(stack, "", {"GRIFFIER_DATABASE__URL": database}, archive.folder)
        held: dict[str, dict[str, Any]] = {}
        end = time.monotonic() + 90
        while True:
            with contextlib.suppress(aiohttp.ClientError, KeyError, ValueError, OSError):
                held = await held_by_homeserver(stack, room)
            rows: list[Any] = []
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                rows = await there.fetch(
                    "SELECT event_id, id_matches, content_matches, unreadable FROM record WHERE room_id = $1", room
                )
            missing = held.keys() - {row["event_id"] for row in rows}
            unread = [row["event_id"] for row in rows if row["unreadable"] and row["event_id"] in said]
            if (set(said) <= held.keys() and not missing and not unread) or time.monotonic() > end:
                break
            await asyncio.sleep(1)
        assert set(said) <= held.keys(), "the homeserver lost something of its own"
        assert not missing, f"{len(missing)} of {len(held)} events are missing"
        assert not unread, f"{len(unread)} of {len(said)} messages can't be read"
        assert all(row["id_matches"] and row["content_matches"] for row in rows)
        assert not await there.fetch("SELECT FROM gap WHERE room_id = $1 AND state <> 'filled'", room)
        out = archive.folder / f"{secrets.token_hex(4)}.jsonl"
        done = await export("export", room, "--format", "jsonl", "--out", str(out))
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        exported = [(line["event_id"], line["body"]) for line in lines if line["event_id"] in said]
        assert sorted(exported) == sorted(said.items())
        assert not any(line["doubts"] for line in lines)
