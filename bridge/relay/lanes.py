"""Conversations side by side: each in its own order, a bounded number at once, none held up by another.

A lane is one conversation in one direction. What happens next is told by events, not asked ten times a second; what another
process put in the queue is found within POLL seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import asyncpg
from cryptography.exceptions import InvalidTag

from bridge.relay.queues import BEHIND, FRESH, KNOWN, RESTART, SETTLE, START, UNHEARD, Queue, column
from bridge.relay.setback import cause, reason, setback, telling
from bridge.sealing import Seal

log = logging.getLogger(__name__)

POLL = 5.0  # seconds after which a queue is looked at though nothing was told of it
IN_A_ROW = 20  # items of a conversation before the others have their turn
GRACE = 5.0  # seconds that items under way have to end at a stop

Work = Callable[[dict[str, Any]], Awaitable[str]]
GiveUp = Callable[[dict[str, Any], str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class SetAside:
    """An item that was set aside: for an admin, without anything of its content."""

    table: str
    item: int
    lane: str
    number: str
    problem: str


@dataclass(frozen=True, slots=True)
class Word:
    """What is known of WhatsApp's word on messages that it may have."""

    settle: float  # seconds that it is waited for, once WhatsApp is heard of again
    silence: float  # seconds after which a message is sent again though nothing is heard
    heard: Callable[[str], float]  # seconds since a number was last heard of
    twice: Callable[[dict[str, Any]], Awaitable[None]]  # tells people that a message may arrive twice


class Lanes:
    """One direction as it runs."""

    def __init__(
        self, pool: asyncpg.Pool, seal: Seal, queue: Queue, at_once: int, word: Word, alarm: Callable[[SetAside], Awaitable[None]]
    ) -> None:
        self._pool = pool
        self._seal = seal
        self._queue = queue
        self._at_once = at_once
        self._word = word
        self._settle = word.settle
        self._began = time.monotonic()
        self._alarm = alarm
        self._wake = asyncio.Event()
        self._ready: dict[str, None] = {}  # in the order of their turn
        self._behind: dict[str, None] = {}
        self._busy: set[str] = set()
        self._again: set[str] = set()  # told of while they were busy
        self._timers = 0
        self._look = self._look_behind = True  # there may be lanes that we don't know of
        self._paused: dict[str, float] = {}  # number, or "" for all: until when, on the loop's clock
        self._pauses: dict[str, int] = {}  # how often in a row
        self._stopping = False

    def put(self, lanes: Iterable[str]) -> None:
        """Something has come in these lanes."""
        for lane in lanes:
            line = self._behind if lane.startswith(BEHIND) else self._ready
            if lane in self._busy:
                self._again.add(lane)
            elif len(line) < KNOWN:
                line[lane] = None
            elif line is self._ready:
                self._look = True
            else:
                self._look_behind = True
        self._wake.set()

    async def run(self, work: Work, give_up: GiveUp, stop: asyncio.Event) -> None:
        """Carry over until told to stop. `work` returns the state to leave: done or kept."""
        under_way: set[asyncio.Task[None]] = set()
        looked = -POLL
        restarted = False
        async with asyncio.TaskGroup() as tasks:
            bell = tasks.create_task(self._ring(stop))
            while not stop.is_set():
                self._wake.clear()
                wait = POLL
                try:
                    if not restarted:
                        await self._pool.execute(FRESH.format(table=self._queue.table))
                        if self._queue.marks:
                            await self._pool.execute(RESTART)
                        restarted = True
                    now = time.monotonic()
                    if (pause := self._pause("")) > 0:
                        wait = pause
                    else:
                        if now - looked >= POLL or self._should_look():
                            await self._find()
                            looked = now
                        while len(self._busy) < self._at_once and (lane := self._pop()) is not None:
                            self._busy.add(lane)
                            task = tasks.create_task(self._drain(lane, work, give_up))
                            under_way.add(task)
                            task.add_done_callback(under_way.discard)
                except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                    self._database_away(error)
                    wait = 1.0
                await _within(self._wake.wait(), wait)
            self._stopping = True
            if under_way:
                await asyncio.wait(under_way, timeout=GRACE)
            for task in under_way:
                task.cancel()  # as good as a crash, and no worse: each step can be taken again
            bell.cancel()

    async def _ring(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._wake.set()

    def _pop(self) -> str | None:
        """The next lane; what has no haste only when nobody waits for an answer, and never with all hands."""
        if self._ready:
            lane = next(iter(self._ready))
            del self._ready[lane]
            return lane
        if self._behind and sum(lane.startswith(BEHIND) for lane in self._busy) < max(1, self._at_once // 4):
            lane = next(iter(self._behind))
            del self._behind[lane]
            return lane
        return None

    async def _find(self) -> None:
        """Look in the database for lanes with something to do."""
        self._look = self._look_behind = False
        paused = [number for number in list(self._paused) if number and self._pause(number)]
        lanes = [row["lane"] for row in await self._pool.fetch(self._queue.lanes, paused)]
        if len(lanes) == KNOWN:  # and more where they came from
            self._look = not lanes[-1].startswith(BEHIND)
            self._look_behind = True
        self.put(lane for lane in lanes if lane not in self._busy)

    def _should_look(self) -> bool:
        return not self._ready and (self._look or (self._look_behind and not self._behind))

    async def _drain(self, lane: str, work: Work, give_up: GiveUp) -> None:
        """Carry over what is in a lane, as far as its turn goes."""
        try:
            for _ in range(1 if lane.startswith(BEHIND) else IN_A_ROW):
                if self._stopping or self._pause("") or not await self._step(lane, work, give_up):
                    break
            else:
                self._again.add(lane)
        except Exception as error:
            self._database_away(error)
            self._look = self._look_behind = True
        finally:
            self._busy.discard(lane)
            if lane in self._again:
                self._again.discard(lane)
                self.put([lane])
            self._wake.set()

    async def _step(self, lane: str, work: Work, give_up: GiveUp) -> bool:
        """Carry over the next item of a lane; returns whether there may be another."""
        row = await self._pool.fetchrow(self._queue.next, lane)
        if row is None or self._pause(row["number"] or ""):
            return False
        try:
            return await self._one(lane, row, work, give_up)
        except Exception as error:
            if _database(error) or isinstance(error, OSError):
                raise
            # Not even that it failed could be written down as it is: this item is set aside, and stops nothing else.
            problem = column(reason(error))
            log.warning("%s %d can't be dealt with: %s", self._queue.table, row["id"], problem)
            await self._pool.execute(self._queue.finish, row["id"], "failed", problem)
            await self._ring_alarm(SetAside(self._queue.table, row["id"], lane, row["number"] or "", problem))
            return True

    async def _one(self, lane: str, row: Any, work: Work, give_up: GiveUp) -> bool:
        """Carry over an item; returns whether there may be another."""
        if row["verdict"]:
            return await self._tell(lane, row, row["verdict"], row["problem"] or "", row["attempts"], give_up)
        if self._queue.marks and not row["carried"]:
            if row["started"] is not None and not row["settled"]:
                log.warning("%s %d may be at WhatsApp already: its word is waited for.", self._queue.table, row["id"])
                # That it says nothing means something only once it has been heard, of whatever: its calls come through again.
                silent = min(row["started"], time.monotonic() - self._began)
                heard = silent >= self._word.silence or self._word.heard(row["number"] or "") < silent
                await self._pool.execute(SETTLE if heard else UNHEARD, row["id"], self._settle)
                self._later(lane, self._settle)
                return False
            if row["settled"] and not await self._twice(lane, row):
                return False
            if not await self._pool.fetchval(START, row["id"]):
                return True  # meanwhile WhatsApp told that it has it
        try:
            state = await work(json.loads(self._seal.open(row["sealed"], row["key"])))
        except Exception as error:
            if _database(error):
                raise
            return await self._set_back(lane, row, error, give_up)
        await self._pool.execute(self._queue.finish, row["id"], state, None)
        self._pauses.pop("", None)
        self._pauses.pop(row["number"] or "", None)
        return True

    async def _set_back(self, lane: str, row: Any, error: Exception, give_up: GiveUp) -> bool:
        chance = random.random()  # noqa: S311 - no secret
        waited = row["waited"] if row["waits_for"] == cause(error) else 0.0
        what = setback(error, row["attempts"] + 1, waited, chance, inward=not self._queue.marks)
        table, problem = self._queue.table, column(reason(error))
        log.warning("%s %d was not carried over (attempt %d): %s", table, row["id"], row["attempts"] + 1, problem)
        if what.state in ("kept", "failed"):
            await self._pool.execute(self._queue.judge, row["id"], what.state, problem, column(what.awaits) or None)
            if what.alarm:
                await self._ring_alarm(SetAside(table, row["id"], lane, row["number"] or "", problem))
            return await self._tell(lane, row, what.state, problem, 0, give_up)
        after = max(what.after, self._settle) if what.unsure else what.after
        # What comes from WhatsApp needs WhatsApp for files alone: the others go on.
        if what.pause == "all" or (what.pause and self._queue.marks):
            after = max(after, self._hold(row["number"] or "" if what.pause == "number" else "", what.after))
        values = [row["id"], what.state, int(what.counted), problem, after, column(what.awaits) or None, cause(error)]
        await self._pool.execute(self._queue.again, *values, *([what.unsure] if self._queue.marks else []))
        self._later(lane, after)
        return what.state == "aside"

    async def _tell(self, lane: str, row: Any, verdict: str, problem: str, attempts: int, give_up: GiveUp) -> bool:
        """Tell people of an item that is given up, and only then leave it; returns whether there may be another."""
        try:
            with contextlib.suppress(InvalidTag, ValueError):  # nothing of it can be opened, and so nobody be told
                await give_up(json.loads(self._seal.open(row["sealed"], row["key"])), problem)
        except Exception as error:
            if _database(error):
                raise
            what = telling(error, attempts + 1, random.random())  # noqa: S311 - no secret
            log.warning("%s %d: nobody could be told of it yet: %s", self._queue.table, row["id"], reason(error))
            if what.state == "waiting":
                after = max(what.after, self._hold("", what.after)) if what.pause else what.after
                await self._pool.execute(self._queue.tell_later, row["id"], int(what.counted), after)
                self._later(lane, after)
                return False
        await self._pool.execute(self._queue.finish, row["id"], verdict, problem)
        return True

    async def _twice(self, lane: str, row: Any) -> bool:
        """Tell people, before it is sent again, that a message may arrive twice; returns whether that is done."""
        try:
            with contextlib.suppress(InvalidTag, ValueError):
                await self._word.twice(json.loads(self._seal.open(row["sealed"], row["key"])))
        except Exception as error:
            if _database(error):
                raise
            what = telling(error, 1, random.random())  # noqa: S311 - no secret
            log.warning("%s %d: it could not be told that it may arrive twice: %s", self._queue.table, row["id"], reason(error))
            if what.pause:  # the homeserver is away
                after = max(what.after, self._hold("", what.after))
                await self._pool.execute(self._queue.tell_later, row["id"], 0, after)
                self._later(lane, after)
                return False
        return True

    async def _ring_alarm(self, alarm: SetAside) -> None:
        try:
            await self._alarm(alarm)
        except Exception as error:
            log.warning("No alarm could be given of %s %d: %s", alarm.table, alarm.item, reason(error))

    def _pause(self, number: str) -> float:
        """Seconds that a number, or with "" everything, still has to wait."""
        left = self._paused.get(number, 0) - time.monotonic()
        if left <= 0:
            self._paused.pop(number, None)
        return max(0.0, left)

    def _hold(self, number: str, after: float) -> float:
        """Let a number, or everything, wait: longer each time that it is of no use. Returns the seconds."""
        if left := self._pause(number):
            return left
        times = self._pauses.get(number, 0)
        self._pauses[number] = times + 1
        seconds = max(after, min(60.0 if number else 15.0, 0.5 * 2.0 ** min(times, 10)))
        self._paused[number] = time.monotonic() + seconds
        self._after(seconds, self._look_again)
        return seconds

    def _database_away(self, error: Exception) -> None:
        log.warning("The bridge's database does not answer as it should (%s); trying again.", type(error).__name__)
        self._paused[""] = max(self._paused.get("", 0), time.monotonic() + 1.0)

    def _look_again(self) -> None:
        self._look = self._look_behind = True
        self._wake.set()

    def _later(self, lane: str, seconds: float) -> None:
        self._after(seconds, lambda: self.put([lane]))

    def _after(self, seconds: float, what: Callable[[], None]) -> None:
        """Do something in a while; when very much is to be done in a while, the look every POLL seconds finds it."""
        if self._timers >= KNOWN:
            return

        def due() -> None:
            self._timers -= 1
            what()

        self._timers += 1
        asyncio.get_running_loop().call_later(seconds + 0.005, due)


def _database(error: Exception) -> bool:
    """Whether it is our database that failed, and not on account of what the item holds."""
    if isinstance(error, asyncpg.DataError | asyncpg.IntegrityConstraintViolationError | asyncpg.SyntaxOrAccessError):
        return False
    return isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError)


async def _within(waiting: Awaitable[Any], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        pass
