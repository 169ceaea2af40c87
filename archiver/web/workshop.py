"""Where jobs are done: a task in each web process that takes them one at a time, and throws results away when their time is up.

A job belongs to whoever holds its advisory lock, on a connection that also writes down how far it is. A process that dies loses
both, and the next one takes the job again, from its beginning.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from archiver.db import Connection, as_organisation, tenant_tx
from archiver.ledger import chain
from archiver.ledger.audit import doing, note
from archiver.ledger.sealing import SealingError
from archiver.ledger.stream import SealedFile
from archiver.stopping import pause
from archiver.web.context import Archive
from archiver.web.jobs import COLUMNS, Job

log = logging.getLogger(__name__)

SERVICE = "griffier"  # who throws away, in the trail
ATTEMPTS = 5
TELL_HEAD = 3600.0  # seconds between two lines in the log with the head of the audit trail's chain
EVERY = 1.0  # seconds between two looks at the queue, and between two words on how far a job is
# A job that runs is offered too: if its lock can be had, the process that had it is gone.
OFFERED = """
    SELECT job_id FROM job WHERE org = $1 AND state IN ('waiting', 'running') ORDER BY created_at
    FOR UPDATE SKIP LOCKED LIMIT 20
"""
LOCK = "SELECT pg_try_advisory_lock(hashtextextended('griffier job|' || $1::text, 0))"
UNLOCK = "SELECT pg_advisory_unlock(hashtextextended('griffier job|' || $1::text, 0))"
TAKE = f"""
    UPDATE job SET state = 'running', attempt = attempt + 1, died = died + (state = 'running')::int, done = 0, total = NULL,
           started_at = now()
    WHERE org = $1 AND job_id = $2 RETURNING {COLUMNS}
"""  # noqa: S608 - constants only
MINE = "WHERE org = $1 AND job_id = $2 AND attempt = $3 AND state = 'running'"
TELL = f"UPDATE job SET done = $4, total = $5 {MINE} RETURNING cancel"  # noqa: S608
BACK = f"UPDATE job SET state = 'waiting' {MINE}"  # noqa: S608
END = f"UPDATE job SET state = $4, problem = $5, ended_at = now() {MINE}"  # noqa: S608
DONE = f"""
    UPDATE job SET state = 'done', ended_at = now(), done = $4, total = $4, media_type = $5, suffix = $6, size = $7,
           wrapped_key = $8, until = now() + $9 * interval '1 hour' {MINE} AND NOT cancel RETURNING job_id
"""  # noqa: S608
# The key goes with the result: what a back-up still has of it can't be opened any more.
EXPIRE = """
    UPDATE job SET state = 'expired', wrapped_key = NULL WHERE org = $1 AND state = 'done' AND until <= now()
    RETURNING job_id, attempt, kind, person
"""
KEPT = "SELECT job_id, attempt FROM job WHERE org = $1 AND state IN ('running', 'done')"


class CantDo(Exception):  # noqa: N818 - it names what it is
    """The job can't be done; the reason is the name of a text for who asked."""


@dataclass(slots=True)
class Task:
    """A job that is being done: what its work is given."""

    archive: Archive
    job: Job
    out: SealedFile
    arguments: dict[str, Any] = field(repr=False)
    done: int = 0  # the work counts here; it is written down every second
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What came out."""

    media_type: str
    suffix: str


class Work(Protocol):
    """A kind of job: writes to `task.out`. What it raises fails the job: CantDo with a reason that people can act on."""

    async def __call__(self, task: Task) -> Result: ...


def result_path(archive: Archive, job_id: object, attempt: int) -> Path:
    """Where the sealed result of an attempt is kept."""
    return archive.files.root / "results" / f"{archive.vault.org}.{job_id}.{attempt}"


def result_context(archive: Archive, job: Job) -> str:
    """What a result and its key are bound to."""
    return f"result|{archive.vault.org}|{job.job_id}|{job.attempt}"


class Workshop:
    """Does the jobs of one organisation."""

    def __init__(self, archive: Archive, kinds: Mapping[str, Work]) -> None:
        self._archive, self._kinds = archive, kinds
        self._asked = asyncio.Event()
        self._head: chain.Head | None = None
        self._told_at = 0.0

    def wake(self) -> None:
        """Look at the queue now: something was asked for."""
        self._asked.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Do jobs until told to stop; one that isn't finished then is put back."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._again_and_again(self._do_all, stop))
            tasks.create_task(self._again_and_again(self._keep_house, stop))

    async def _again_and_again(self, work: Callable[[asyncio.Event], Awaitable[None]], stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await work(stop)
            except Exception as error:
                log.warning("No jobs are done for now: %s\n%s", type(error).__name__, _where(error))
                await pause(stop, EVERY)

    async def _do_all(self, stop: asyncio.Event) -> None:
        while not stop.is_set() and await self.do_next(stop):
            pass
        await self._wait(stop)

    async def _keep_house(self, stop: asyncio.Event) -> None:
        await self.tidy()
        for _ in range(30):
            await self.link()
            await pause(stop, EVERY)
            if stop.is_set():
                return

    async def link(self) -> None:
        """Give the acts of the trail their places in the chain. The head that was seen before must still be in it."""
        org = self._archive.vault.org
        async with tenant_tx(self._archive.pool, org) as tx:
            if self._head and not await chain.holds(tx, org, self._head):
                log.error("The audit trail was changed in the database: link %s is not in its chain any more.", self._head)
                await note(tx, org, SERVICE, "audit trail rewritten", number=self._head.number, link=self._head.link.hex())
            await chain.extend(tx, self._archive.vault)
            self._head = await chain.head(tx, org)
        # The log is kept outside the database: what stands there can be compared later (griffier trail --known).
        now = asyncio.get_running_loop().time()
        if now - self._told_at > TELL_HEAD or not self._told_at:
            self._told_at = now
            log.info("The audit trail of organisation %d is linked up to %s", org, self._head)

    async def tidy(self) -> None:
        """Throw away results whose time is up, and what a dead process left half-written."""
        org, pool = self._archive.vault.org, self._archive.pool
        async with tenant_tx(pool, org) as tx:
            for row in await tx.fetch(EXPIRE, org):
                await note(tx, org, SERVICE, "expire result", job=str(row["job_id"]), kind=row["kind"], of=row["person"])
        folder = self._archive.files.root / "results"
        names = await asyncio.to_thread(lambda: [path.name for path in folder.iterdir()] if folder.is_dir() else [])
        if not names:
            return
        async with tenant_tx(pool, org) as tx:
            kept = {result_path(self._archive, row["job_id"], row["attempt"]).name for row in await tx.fetch(KEPT, org)}
        left = [folder / name for name in names if name.startswith(f"{org}.") and name not in kept]
        for path in left:
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def do_next(self, stop: asyncio.Event) -> bool:
        """Take the oldest job that nobody has and do it; whether there was one."""
        org = self._archive.vault.org
        async with self._archive.pool.acquire() as holder:
            job = await self._take(holder, org)
            if job is None:
                return False
            try:
                await self._do(holder, job, stop)
            finally:
                if not holder.is_closed():
                    await holder.fetchval(UNLOCK, str(job.job_id))
        return True

    async def _take(self, holder: Connection, org: int) -> Job | None:
        async with holder.transaction():
            await holder.execute(as_organisation(org))
            for row in await holder.fetch(OFFERED, org):
                if await holder.fetchval(LOCK, str(row["job_id"])):
                    return Job(**await holder.fetchrow(TAKE, org, row["job_id"]))
        return None

    async def _do(self, holder: Connection, job: Job, stop: asyncio.Event) -> None:
        if job.cancel:
            await self._end(holder, job, END, "cancelled", None)
            return
        if job.died >= ATTEMPTS:
            await self._end(holder, job, END, "failed", "died")
            return
        path = result_path(self._archive, job.job_id, job.attempt)
        try:
            out = SealedFile(path, result_context(self._archive, job).encode())
        except OSError:
            await self._end(holder, job, END, "failed", "no_room")
            return
        whole = False
        try:
            task = Task(self._archive, job, out, job.arguments(self._archive.vault))
            with doing(job.why):
                work = asyncio.create_task(self._work(task))
            whole = await self._watched(holder, task, work, stop)
        except SealingError as error:
            log.warning("%s", error)
            await self._end(holder, job, END, "failed", "key")
        finally:
            out.close()
            if not whole:
                path.unlink(missing_ok=True)

    async def _watched(self, holder: Connection, task: Task, work: asyncio.Task[Result], stop: asyncio.Event) -> bool:
        """Write down how far the work is until it ends, is cancelled, or everything stops; whether there is a result."""
        job, stopped = task.job, asyncio.create_task(stop.wait())
        try:
            while not work.done() and not stopped.done():
                await asyncio.wait({work, stopped}, timeout=EVERY, return_when=asyncio.FIRST_COMPLETED)
                [told] = await self._end(holder, job, TELL, task.done, task.total) or [None]
                if told is None:  # it is another's now, or gone
                    return False
                if told["cancel"]:
                    await self._end(holder, job, END, "cancelled", None)
                    return False
            if not work.done():
                await self._end(holder, job, BACK)
                return False
            try:
                result = work.result()
            except CantDo as error:
                await self._end(holder, job, END, "failed", str(error))
                return False
            except Exception as error:
                await self._end(holder, job, END, "failed", _reason(job, error))
                return False
            await asyncio.to_thread(task.out.finish)
            key = self._archive.vault.wrap(task.out.key, result_context(self._archive, job))
            hours = self._archive.settings.web.jobs.keep
            kept = task.done, result.media_type, result.suffix, task.out.size, key, hours
            if await self._end(holder, job, DONE, *kept):
                return True
            await self._end(holder, job, END, "cancelled", None)
            return False
        finally:
            for each in (work, stopped):
                each.cancel()
            await asyncio.gather(work, stopped, return_exceptions=True)

    async def _work(self, task: Task) -> Result:
        kind = self._kinds.get(task.job.kind)
        if kind is None:
            raise CantDo("unknown_kind")
        return await kind(task)

    async def _end(self, holder: Connection, job: Job, statement: str, *values: object) -> list[Any]:
        """A change of a job that is still this process's; no row when it isn't."""
        async with holder.transaction():
            await holder.execute(as_organisation(self._archive.vault.org))
            rows = await holder.fetch(statement, self._archive.vault.org, job.job_id, job.attempt, *values)
        assert isinstance(rows, list)  # noqa: S101 - narrows for the type checker
        return rows

    async def _wait(self, stop: asyncio.Event) -> None:
        waits = [asyncio.create_task(stop.wait()), asyncio.create_task(self._asked.wait())]
        await asyncio.wait(waits, timeout=EVERY, return_when=asyncio.FIRST_COMPLETED)
        for each in waits:
            each.cancel()
        self._asked.clear()


def _reason(job: Job, error: Exception) -> str:
    """Why a job failed, for who asked; where, for the log. Not what the error says: that may hold content."""
    log.error("A job failed: %s %s: %s\n%s", job.kind, job.job_id, type(error).__name__, _where(error))
    if isinstance(error, SealingError):
        return "key"
    return "no_room" if isinstance(error, OSError) else "unexpected"


def _where(error: Exception) -> str:
    return "".join(traceback.format_tb(error.__traceback__)[-3:])
