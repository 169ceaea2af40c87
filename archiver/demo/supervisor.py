"""Parts as supervised child processes: started in order, started again when they die, stopped together."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from archiver.demo.ports import DemoError
from archiver.demo.postgres import Account

GRACE = 8.0  # seconds all parts together have to stop by themselves
FIRST_GRACE = 5.0  # of which those that need the first part, Postgres, may take so much
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)

Say = Callable[[str], None]
Ready = Callable[[], Awaitable[bool]]


@dataclass(slots=True)
class Part:
    """One part of the stack."""

    name: str
    command: Sequence[str]
    ready: Ready
    log: Path
    stop_with: signal.Signals = signal.SIGTERM
    user: Account | None = None
    env: dict[str, str] = field(default_factory=dict)
    patience: float = 60.0
    process: asyncio.subprocess.Process | None = None


def die_with_parent(stop_with: signal.Signals) -> Callable[[], None]:
    """What a child does before it becomes the part: ask the kernel for a signal when we die."""

    def set_signal() -> None:
        LIBC.prctl(PR_SET_PDEATHSIG, int(stop_with))

    return set_signal


def own_env() -> dict[str, str]:
    """Our environment without the GRIFFIER_ settings: the parts go by the files written for them."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GRIFFIER_")}


class Supervisor:
    """Keeps the parts running."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._parts: list[Part] = []
        self._watchers: list[asyncio.Task[None]] = []
        self.stopping = False

    async def start(self, part: Part) -> None:
        """Start a part and wait until it answers; raises DemoError with the end of its log when it doesn't."""
        began = time.monotonic()
        await self._spawn(part)
        self._parts.append(part)
        while True:
            process = part.process
            if process is None or process.returncode is not None:
                raise DemoError(f"{part.name} stopped while starting ({_why(process)}).\n{_tail(part.log)}\nIts log: {part.log}")
            if await part.ready():
                break
            if time.monotonic() - began > part.patience:
                raise DemoError(
                    f"{part.name} does not answer after {part.patience:.0f} s.\n{_tail(part.log)}\nIts log: {part.log}"
                )
            await asyncio.sleep(0.1)
        self._watchers.append(asyncio.create_task(self._watch(part)))
        self._say(f"  {part.name:<22} gereed · ready   {time.monotonic() - began:4.1f} s")

    async def _spawn(self, part: Part) -> None:
        part.log.parent.mkdir(parents=True, exist_ok=True)
        who: dict[str, Any] = {}
        if part.user is not None:
            who = {"user": part.user.uid, "group": part.user.gid, "extra_groups": []}
        with part.log.open("ab") as log:
            part.process = await asyncio.create_subprocess_exec(
                *part.command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                env=own_env() | part.env, start_new_session=True,
                preexec_fn=die_with_parent(part.stop_with), **who,
            )  # fmt: skip

    async def _watch(self, part: Part) -> None:
        delay = 0.2
        while True:
            assert part.process is not None  # noqa: S101 - it was spawned before it is watched
            began = time.monotonic()
            await part.process.wait()
            if self.stopping:
                return
            if time.monotonic() - began > 20:
                delay = 0.2
            # Its last words explain an exit; who was killed had nothing to say about that.
            killed = (part.process.returncode or 0) < 0
            said = "" if killed else f": {_last_line(part.log)}"
            self._say(f"! {part.name} stopped ({_why(part.process)}){said}\n  log: {part.log}; starting it again.")
            await asyncio.sleep(delay)
            delay = min(delay * 2, 10)
            await self._spawn(part)
            if await self._answers(part):
                self._say(f"  {part.name:<22} weer gereed · ready again")

    async def _answers(self, part: Part) -> bool:
        """Wait until a part that was started again answers; False when it stops first or takes too long."""
        end = time.monotonic() + part.patience
        while part.process is not None and part.process.returncode is None and time.monotonic() < end:
            if await part.ready():
                return True
            await asyncio.sleep(0.2)
        return False

    async def stop(self) -> None:
        """Stop all parts, the last started first; whatever does not stop in time is killed."""
        self.stopping = True
        for watcher in self._watchers:
            watcher.cancel()
        # Everything that needs Postgres goes first, all at once; Postgres, started first, goes last.
        began = time.monotonic()
        await asyncio.gather(*(self._end(part, FIRST_GRACE) for part in self._parts[1:]))
        await asyncio.gather(*(self._end(part, GRACE - (time.monotonic() - began)) for part in self._parts[:1]))

    async def _end(self, part: Part, grace: float) -> None:
        process = part.process
        if process is None:
            return
        started = _descendants(process.pid)
        if process.returncode is None:
            process.send_signal(part.stop_with)
            try:
                await asyncio.wait_for(process.wait(), grace)
            except TimeoutError:
                self._say(f"! {part.name} did not stop within {grace:.0f} s and was killed.")
                started |= _descendants(process.pid)
        # What the part itself started, if anything is left of it: in its session, or in their own as Postgres's children are.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        for pid, birth in started.items():
            if _birth(pid) == birth:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        if process.returncode is None:
            await process.wait()


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on (proc(5)); empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _birth(pid: int) -> str:
    """When a process was started, in clock ticks: with its id, which process it is."""
    fields = _stat(pid)
    return fields[19] if fields else ""


def _descendants(ancestor: int) -> dict[int, str]:
    """The processes that a process started, and those that these started: process id to birth."""
    parents = {int(entry.name): _stat(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    found: dict[int, str] = {}
    near = {ancestor}
    while near:
        near = {pid for pid, fields in parents.items() if fields and int(fields[1]) in near and pid not in found}
        found |= {pid: parents[pid][19] for pid in near}
    return found


def _why(process: asyncio.subprocess.Process | None) -> str:
    if process is None or process.returncode is None:
        return "not started"
    if process.returncode < 0:
        return f"signal {signal.Signals(-process.returncode).name}"
    return f"exit code {process.returncode}"


def _tail(log: Path, lines: int = 12) -> str:
    try:
        text = log.read_text(errors="replace")[-8000:]
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


def _last_line(log: Path) -> str:
    lines = [line for line in _tail(log, 40).splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else "it wrote nothing"
