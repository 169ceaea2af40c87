"""Blows, struck at random: whatever can end, stop, freeze, fill up or jump does so while people talk."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from tests.chaos.clock import Clock
from tests.chaos.database import Database
from tests.chaos.disk import SmallDisk
from tests.conftest import RunningStack
from tests.facility import Facility, Proxy

PARTS = {
    "archive": b"archive", "synapse": b"synapse.app.homeserver", "postgres": b"-D", "bridge": b"bridge",
    "simulator": b"simulator", "web": b"web",
}  # fmt: skip
HOURS = 3600

Blow = Callable[[], Awaitable[None]]


def children(parent: int) -> dict[int, list[bytes]]:
    """The processes directly under one, with their command lines."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().split(b"\0")
    return found


class Storm:
    """Strikes at random."""

    def __init__(
        self,
        chance: random.Random,
        stack: RunningStack,
        archive: Facility,
        between: Proxy,
        database: Database,
        disks: dict[str, SmallDisk],
        clock: Clock | None,
    ) -> None:
        self._chance = chance
        self._stack = stack
        self._archive = archive
        self._between = between
        self._database = database
        self._disks = disks
        self._clock = clock
        self.log: list[str] = []

    def blows(self, kills: int) -> list[Blow]:
        """So many kills, mostly of what may lose nothing, and half as many other blows, in a random order.

        Each kind of blow that this machine can do comes by at least once.
        """
        killing: list[Blow] = [self._kill_archiver, self._kill_part, self._kill_database]
        others: list[Blow] = [
            self._stop_archiver, self._freeze_archiver, self._cut, self._freeze_part, self._restart_part, self._restart_database,
            *(functools.partial(self._fill, name) for name in sorted(self._disks)), *([self._jump] if self._clock else []),
        ]  # fmt: skip
        chosen = [*killing, *self._chance.choices(killing, [5, 4, 1], k=kills - len(killing))]
        chosen += [*others, *self._chance.choices(others, k=max(0, kills // 2 - len(others)))]
        self._chance.shuffle(chosen)
        return chosen

    async def strike(self, blow: Blow) -> None:
        """One blow, and a moment's rest."""
        await blow()
        await asyncio.sleep(self._chance.uniform(0.1, 1.2))

    def _living(self) -> list[asyncio.subprocess.Process]:
        return [process for process in self._archive.processes if process.returncode is None]

    async def _kill_archiver(self) -> None:
        await self._end_archiver(signal.SIGKILL)

    async def _stop_archiver(self) -> None:
        await self._end_archiver(signal.SIGTERM)

    async def _end_archiver(self, how: signal.Signals) -> None:
        for process in self._living()[:1]:
            self.log.append(f"{how.name} archiver")
            process.send_signal(how)
            await process.wait()
        await self._archive.start()

    async def _freeze_archiver(self) -> None:
        for process in self._living()[:1]:
            self.log.append("freeze archiver")
            process.send_signal(signal.SIGSTOP)
            await self._for(0.3, 3)
            process.send_signal(signal.SIGCONT)

    async def _cut(self) -> None:
        self.log.append("cut the line to the homeserver")
        self._between.held.clear()
        await self._for(0.3, 2)
        self._between.held.set()

    async def _kill_part(self) -> None:
        part = self._chance.choices(list(PARTS), [3, 2, 2, 1, 1, 1])[0]
        self.log.append(f"SIGKILL {part}")
        self._signal(part, signal.SIGKILL)
        await asyncio.sleep(3 if part in ("synapse", "postgres") else 0)

    async def _freeze_part(self) -> None:
        part = self._chance.choice(["synapse", "postgres", "archive"])
        self.log.append(f"freeze {part}")
        frozen = self._signal(part, signal.SIGSTOP)
        await self._for(0.3, 2)
        for pid in frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    async def _restart_part(self) -> None:
        """An orderly stop, as of an admin who takes his time before he starts it again."""
        part, how = self._chance.choice([("synapse", signal.SIGTERM), ("postgres", signal.SIGINT)])
        self.log.append(f"stop and start {part}")
        self._stack.process.send_signal(signal.SIGSTOP)  # who would start it at once
        self._signal(part, how)
        await self._for(0.5, 2.5)
        self._stack.process.send_signal(signal.SIGCONT)
        await asyncio.sleep(3)

    async def _kill_database(self) -> None:
        self.log.append("SIGKILL the archive's Postgres")
        self._database.signal(signal.SIGKILL)

    async def _restart_database(self) -> None:
        self.log.append("stop and start the archive's Postgres")
        self._database.may_run.clear()
        self._database.signal(signal.SIGINT)
        await self._for(0.5, 2.5)
        self._database.may_run.set()

    async def _fill(self, name: str) -> None:
        disk = self._disks[name]
        self.log.append(f"fill the disk of the {name}")
        await asyncio.to_thread(disk.fill)
        if name == "database" and self._chance.random() < 0.7:
            await self._database.begin_new_log_file()
        await self._for(0.5, 3)
        disk.free()

    async def _jump(self) -> None:
        assert self._clock is not None
        hours = self._chance.choice([-30, -2, 2, 30, 24 * 40])
        self.log.append(f"the clock to {hours:+d} h")
        self._clock.set(hours * HOURS)
        await self._for(0.1, 1)

    async def _for(self, least: float, most: float) -> None:
        await asyncio.sleep(self._chance.uniform(least, most))

    def _signal(self, part: str, what: signal.Signals) -> list[int]:
        """Send the processes of a part of the stack a signal."""
        sent = []
        for pid, command in children(self._stack.process.pid).items():
            if PARTS[part] in command:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, what)
                    sent.append(pid)
        return sent
