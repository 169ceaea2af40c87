"""Long work that somebody asked for: a queue in the database. What it is about is sealed; how far it is stands plain."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from archiver.db import Connection
from archiver.ledger.audit import Purpose, note, purpose_now, uuid7
from archiver.ledger.sealing import Vault

COLUMNS = """job_id, kind, person, purpose, case_number, sealed_arguments, state, cancel, attempt, done, total,
    created_at, started_at, ended_at, problem, media_type, suffix, size, wrapped_key, until, seen, died"""
# Two requests at once would each see the other's place free.
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('griffier jobs of|' || $1::integer || '|' || $2::text, 0))"
OPEN = "SELECT count(*) FROM job WHERE org = $1 AND person = $2 AND state IN ('waiting', 'running')"
START = """
    INSERT INTO job (org, job_id, kind, person, purpose, case_number, sealed_arguments) VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
OF = f"SELECT {COLUMNS} FROM job WHERE org = $1 AND person = $2 ORDER BY created_at DESC LIMIT 100"  # noqa: S608 - constants only
ONE = f"SELECT {COLUMNS} FROM job WHERE org = $1 AND person = $2 AND job_id = $3"  # noqa: S608
CANCEL = """
    UPDATE job SET cancel = true, state = CASE state WHEN 'waiting' THEN 'cancelled' ELSE state END,
           ended_at = CASE state WHEN 'waiting' THEN now() END
    WHERE org = $1 AND person = $2 AND job_id = $3 AND state IN ('waiting', 'running')
"""
ENDED = """
    SELECT count(*) FILTER (WHERE state = 'done') AS done, count(*) FILTER (WHERE state = 'failed') AS failed FROM job
    WHERE org = $1 AND person = $2 AND state IN ('done', 'failed') AND NOT seen
"""
SEE = "UPDATE job SET seen = true WHERE org = $1 AND person = $2 AND state IN ('done', 'failed') AND NOT seen"
PER_PERSON = 3


class TooMany(Exception):  # noqa: N818 - it names what it is
    """Somebody has as much waiting or running as they may."""


@dataclass(frozen=True, slots=True)
class Job:
    """Something that was asked for."""

    job_id: UUID
    kind: str
    person: str
    purpose: str | None = field(repr=False)
    case_number: str | None = field(repr=False)
    sealed_arguments: bytes = field(repr=False)
    state: str  # waiting, running, done, failed, cancelled, expired
    cancel: bool
    attempt: int
    done: int
    total: int | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    problem: str | None
    media_type: str | None
    suffix: str | None
    size: int | None
    wrapped_key: bytes | None = field(repr=False)
    until: datetime | None
    seen: bool
    died: int

    @property
    def open(self) -> bool:
        return self.state in ("waiting", "running")

    @property
    def why(self) -> Purpose | None:
        return Purpose(self.purpose, self.case_number) if self.purpose is not None else None

    def arguments(self, vault: Vault) -> dict[str, Any]:
        """What was asked. Raises SealingError."""
        read = json.loads(vault.unwrap(self.sealed_arguments, f"job|{self.job_id}"))
        assert isinstance(read, dict)  # noqa: S101 - narrows for the type checker
        return read


async def start(
    tx: Connection, vault: Vault, person: str, kind: str, arguments: dict[str, Any], most: int = PER_PERSON
) -> UUID:  # fmt: skip
    """Ask for work of a kind that the workshop knows; it is begun once this transaction commits. Audited. Raises TooMany.

    The purpose of now goes with it: what is done for the job is noted under it. The arguments are kept sealed.
    """
    await tx.execute(ONE_AT_A_TIME, vault.org, person)
    if await tx.fetchval(OPEN, vault.org, person) >= most:
        raise TooMany
    job_id, why = uuid7(), purpose_now()
    sealed = vault.wrap(json.dumps(arguments).encode(), f"job|{job_id}")
    await tx.execute(
        START, vault.org, job_id, kind, person, why.text if why else None, why.case_number if why else None, sealed
    )  # fmt: skip
    await note(tx, vault.org, person, "ask for job", kind=kind, job=str(job_id))
    return job_id


async def of(tx: Connection, org: int, person: str) -> list[Job]:
    """What somebody asked for, the newest first; at most 100."""
    return [Job(**row) for row in await tx.fetch(OF, org, person)]


async def one(tx: Connection, org: int, person: str, job_id: UUID) -> Job | None:
    """A job of this person."""
    row = await tx.fetchrow(ONE, org, person, job_id)
    return Job(**row) if row else None


async def cancel(tx: Connection, org: int, person: str, job_id: UUID) -> bool:
    """Stop a job of this person; whether there was something to stop. Audited."""
    if await tx.execute(CANCEL, org, person, job_id) == "UPDATE 0":
        return False
    await note(tx, org, person, "cancel job", job=str(job_id))
    return True


async def ended(tx: Connection, org: int, person: str) -> tuple[int, int]:
    """How many of their jobs were done since they last looked, and how many failed."""
    row = await tx.fetchrow(ENDED, org, person)
    return row["done"], row["failed"]


async def see(tx: Connection, org: int, person: str) -> None:
    """They have looked."""
    await tx.execute(SEE, org, person)
