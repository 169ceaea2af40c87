"""A storm: under load from real encrypted clients, processes are killed, stopped, frozen and cut off at random moments, disks are
filled and the clock jumps.

Afterwards the archive is compared with what the homeserver holds, event by event: none missing, none twice, none altered, every
message read. The seed is printed, and GRIFFIER_CHAOS_SEED repeats it; GRIFFIER_CHAOS_KILLS sets how many kills there are, beside
half as many other blows (`make chaos`: 200).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.chaos.clock import clock
from tests.chaos.comparison import Archive, compare
from tests.chaos.database import database
from tests.chaos.disk import small_disk
from tests.chaos.storm import Storm
from tests.chaos.talk import Talker
from tests.conftest import RunningStack, running_stack
from tests.facility import Facility, facility, proxy
from tests.interop.client import Official

pytestmark = [pytest.mark.stack, pytest.mark.interop]

KILLS = int(os.environ.get("GRIFFIER_CHAOS_KILLS", "8"))
SEED = int(os.environ.get("GRIFFIER_CHAOS_SEED", str(secrets.randbelow(10**6))))
SECONDS = 60 + KILLS  # that an archive may take to get over it


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder of this test alone: its Postgres and Synapse are knocked down."""
    made = Path(tempfile.mkdtemp(prefix="griffier-storm-"))
    made.chmod(0o755)
    yield made
    if os.environ.get("GRIFFIER_KEEP_TEST_DATA") is None:
        shutil.rmtree(made, ignore_errors=True)


@pytest.mark.timeout(240 + 18 * KILLS)
async def test_nothing_is_lost_doubled_or_altered_in_a_storm(folder: Path) -> None:
    print(f"\nGRIFFIER_CHAOS_SEED={SEED} GRIFFIER_CHAOS_KILLS={KILLS}")
    stack_folder, own = folder / "stack", folder / "own"
    for made in (stack_folder, own):
        made.mkdir(mode=0o755)
    timepiece = clock(own)
    with small_disk(folder / "database", 256) as ledger_disk, small_disk(folder / "files", 16) as files_disk:
        disks = {name: disk for name, disk in (("database", ledger_disk), ("files", files_disk)) if disk.fillable}
        async with (
            running_stack(stack_folder) as stack,
            proxy(stack.homeserver) as between,
            database(ledger_disk.path, own / "postgres.log") as postgres,
            facility(
                stack, own, homeserver=between.url, database=postgres.url, FILES_DIR=str(files_disk.path)
            ) as archive,
            _officials(stack) as officials,
        ):  # fmt: skip
            archive.under = timepiece.env if timepiece else {}
            storm = Storm(random.Random(SEED), stack, archive, between, postgres, disks, timepiece)
            try:
                await _weather(storm, stack, archive, officials)
            except BaseException:
                print(*(f"\n{path}:\n{path.read_text()[-3000:]}" for path in sorted(own.glob("archive-*.log"))[-3:]))
                raise
            finally:
                await postgres.answers()


async def _weather(storm: Storm, stack: RunningStack, archive: Facility, officials: list[Official]) -> None:
    room = await _gather(archive, officials)
    talkers = [Talker(official, room, archive.user_id, random.Random(SEED + number)) for number, official in enumerate(officials)]
    done, began = asyncio.Event(), time.monotonic()
    async with asyncio.TaskGroup() as talking:
        for talker in talkers:
            talking.create_task(talker.talk(done))
        for blow in storm.blows(KILLS):
            await storm.strike(blow)
        done.set()
    said = [one for talker in talkers for one in talker.said]
    print(f"{len(said)} sayings, {len(storm.log)} blows in {time.monotonic() - began:.0f} s: {', '.join(storm.log)}")
    log = (archive.folder / "postgres.log").read_text(errors="replace")
    print(f"The archive's Postgres found no space {log.count('No space left')} times, and gave up {log.count('PANIC')} times.")
    own_files = Path(archive.env["GRIFFIER_FILES_DIR"])
    stack_folder = Path(stack.data_dir)
    for one in (
        Archive("the archive of the test", archive.database, Path(archive.env["GRIFFIER_DATA_DIR"]), own_files, archive.run),
        Archive("the archive of the stack", stack.database, stack_folder, stack_folder / "files", stack.griffier),
    ):
        began = time.monotonic()
        counts = await compare(stack, one, said, SECONDS)
        print(f"{one.name}, whole after {time.monotonic() - began:.0f} s: {counts}")
        assert counts["said"] > 4 * KILLS


async def _gather(archive: Facility, officials: list[Official]) -> str:
    """A room with everybody in it, and two processes at the test's own archive, of which one stands by."""
    await archive.start()
    await archive.until("SELECT capturing FROM seat")
    await archive.start()
    others = officials[1:]
    invited = [archive.user_id, *(official.user_id for official in others)]
    room = (await officials[0].do("create_room", name="Storm", invite=invited))["room"]
    for other in others:
        await other.do("wait_invite")
    await archive.until("SELECT membership = 'join' FROM room WHERE room_id = $1", room)
    for each in officials:
        await each.do("wait_members", room=room, count=len(officials) + 2)
    return room


@contextlib.asynccontextmanager
async def _officials(stack: RunningStack) -> AsyncIterator[list[Official]]:
    async with contextlib.AsyncExitStack() as opened:
        yield [
            await opened.enter_async_context(Official(stack.homeserver, *await stack.register(f"storm-{number}")))
            for number in range(2)
        ]
