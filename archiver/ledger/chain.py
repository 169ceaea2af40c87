"""The chain of the audit trail: each act gets a number and a link, made of the link before it, the act itself and the time.

A link is HMAC-SHA-256 under a key that only who holds the organisation's key can make. So a change to acts and links that are
there breaks the chain. But the service links what it finds waiting: who manages the database can take links away and have the
service make new ones, and can have it link acts that nobody did. What shows of that:

- acts that were put in the queue long after they say they were done are late: the service's clock is in the link;
- the number and link that an earlier check left in the trail must still be there;
- a head that was kept outside the database (an inspector's, the log's, a running service's) must still be there.

Without a head that was kept elsewhere, the chain does not show: acts cut off from the end; a trail that was made again with times
of now; acts that were made up at the moment itself; an act removed in the second before it is linked. It never shows what
somebody does who holds the organisation's key as well.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from archiver.db import UNHURRIED, Connection, Pool, tenant_tx
from archiver.ledger.sealing import Vault

PAGE = 1000
CHECK = "check audit trail"  # the act of who looks at the chain, with the number and the link that they saw
# Acts are linked within seconds. The clocks of two machines may differ by minutes.
TOLERANCE = timedelta(minutes=10)
ONE_AT_A_TIME = "SELECT pg_try_advisory_xact_lock(hashtextextended('griffier chain|' || $1::integer, 0))"
COLUMNS = "audit.audit_id, at, actor, action, audit.room_id, detail, purpose, case_number"
NEXT = f"""
    SELECT {COLUMNS} FROM audit_unlinked JOIN audit USING (org, audit_id) WHERE org = $1 ORDER BY audit_id LIMIT $2
"""  # noqa: S608 - constants only
HEAD = "SELECT number, link, audit_id FROM audit_link WHERE org = $1 ORDER BY number DESC LIMIT 1"
ADD = """
    INSERT INTO audit_link (org, number, audit_id, link, linked_at)
    SELECT $1, *, $5::timestamptz FROM unnest($2::bigint[], $3::uuid[], $4::bytea[])
"""
DONE = "DELETE FROM audit_unlinked WHERE org = $1 AND audit_id = ANY($2)"
LINKS = f"""
    SELECT number, link, linked_at, {COLUMNS} FROM audit_link LEFT JOIN audit USING (org, audit_id)
    WHERE org = $1 AND number > $2 ORDER BY number LIMIT $3
"""  # noqa: S608
LINK = "SELECT link FROM audit_link WHERE org = $1 AND number = $2"
THOSE = "SELECT number, link FROM audit_link WHERE org = $1 AND number = ANY($2)"
FIRST_ID = "SELECT audit_id FROM audit_link WHERE org = $1 AND number = $2"
# What has no place in the chain, nor waits for one.
STRAY = """
    SELECT count(*) FROM audit WHERE org = $1 AND audit_id >= $2
    AND NOT EXISTS (SELECT FROM audit_link AS l WHERE l.org = audit.org AND l.audit_id = audit.audit_id)
    AND NOT EXISTS (SELECT FROM audit_unlinked AS u WHERE u.org = audit.org AND u.audit_id = audit.audit_id)
"""
FIRST = bytes(32)
WRITTEN = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Head:
    """The newest place in the chain at some moment: who keeps it elsewhere can show later that the trail was not made again."""

    number: int
    link: bytes

    def __str__(self) -> str:
        return f"{self.number}:{self.link.hex()}"

    @classmethod
    def read(cls, text: str) -> Head:
        """NUMBER:LINK, as it is shown. Raises ValueError."""
        found = WRITTEN.fullmatch(text.strip().lower())
        if not found:
            raise ValueError("A kept link is written as NUMBER:LINK, the link as 64 hexadecimal digits.")
        return cls(int(found[1]), bytes.fromhex(found[2]))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look at the chain found. It is intact up to and including `number`; `problem` says what is wrong after that.

    `changed`, `removed`, `out of order`: the next act or link. `stray`: acts without a place. `rewritten`: an earlier check, or
    the head that the caller kept, tells of a link that is another now, or gone. Empty: nothing is wrong.
    """

    number: int
    link: bytes
    at: datetime | None  # of the newest act that is intact
    problem: str = ""
    first: int = 1  # from where it was looked
    late: int = 0  # acts linked long after, or before, they say they were done; after the head that the caller kept, if any
    late_at: datetime | None = None  # when the newest of those got its place
    known: int | None = None  # the number of the head that the caller kept, if that is still as it was

    @property
    def intact(self) -> bool:
        return not self.problem

    @property
    def head(self) -> Head:
        return Head(self.number, self.link)


def next_link(key: bytes, before: bytes, act: Any, linked_at: datetime) -> bytes:
    """The link of an act, a row of COLUMNS, that gets its place at a moment."""
    told = [
        linked_at.astimezone(UTC).isoformat(),
        str(act["audit_id"]), act["at"].astimezone(UTC).isoformat(), act["actor"], act["action"], act["room_id"],
        json.loads(act["detail"]), act["purpose"], act["case_number"],
    ]  # fmt: skip
    return hmac.digest(key, before + json.dumps(told, sort_keys=True, separators=(",", ":")).encode(), hashlib.sha256)


def key_of(vault: Vault) -> bytes:
    """The key of the organisation's chain."""
    return hmac.digest(vault.search_key, b"griffier audit chain", hashlib.sha256)


async def extend(tx: Connection, vault: Vault) -> int:
    """Link up to 1,000 acts that wait for it; returns how many. Nothing while another process does so."""
    if not await tx.fetchval(ONE_AT_A_TIME, vault.org):
        return 0
    acts = await tx.fetch(NEXT, vault.org, PAGE)
    if not acts:
        return 0
    last = await head(tx, vault.org)
    number, link, key = last.number, last.link, key_of(vault)
    links, now = [], _now()
    for act in acts:
        link = next_link(key, link, act, now)
        links.append(link)
    ids = [act["audit_id"] for act in acts]
    await tx.execute(ADD, vault.org, list(range(number + 1, number + 1 + len(ids))), ids, links, now)
    await tx.execute(DONE, vault.org, ids)
    return len(ids)


async def extend_all(pool: Pool, vault: Vault) -> None:
    """Link all acts that wait for it."""
    while True:
        async with tenant_tx(pool, vault.org) as tx:
            if await extend(tx, vault) < PAGE:
                return


async def head(tx: Connection, org: int) -> Head:
    """The newest place in the chain."""
    row = await tx.fetchrow(HEAD, org)
    return Head(row["number"], row["link"]) if row else Head(0, FIRST)


async def holds(tx: Connection, org: int, kept: Head) -> bool:
    """Whether the chain still has this place; it says nothing of what comes before or after it."""
    return kept == Head(0, FIRST) or bool(await tx.fetchval(LINK, org, kept.number) == kept.link)


async def verify(pool: Pool, vault: Vault, newest: int | None = None, known: Head | None = None) -> Verdict:
    """Go through the chain, or through its newest so many links. Each 1,000 in a transaction of its own.

    `known` is a head that the caller kept elsewhere: it must be among the links that are gone through.
    """
    await extend_all(pool, vault)
    org, key = vault.org, key_of(vault)
    async with tenant_tx(pool, org) as tx:
        last = (await head(tx, org)).number
        number = max(last - newest, 0) if newest else 0
        link = await tx.fetchval(LINK, org, number) if number else FIRST
        since = await tx.fetchval(FIRST_ID, org, number) if number else None
        stray = await tx.fetchval(STRAY, org, since or UUID(int=0), timeout=UNHURRIED)
    first, at, late, late_at = number + 1, None, 0, None
    if link is None:
        return Verdict(0, FIRST, None, "out of order", first)
    problem, found = "", None if known is None else known == Head(number, link)
    while not problem:
        async with tenant_tx(pool, org) as tx:
            rows = await tx.fetch(LINKS, org, number, PAGE)
            if not await _checks_hold(tx, org, rows, first):
                problem = "rewritten"
        for row in rows:
            if wrong := _problem(row, number, key, link):
                problem = wrong
                break
            number, link, at = row["number"], row["link"], row["at"]
            if known and number == known.number:
                found = link == known.link
            if abs(row["linked_at"] - at) > TOLERANCE and number > (known.number if known else 0):
                late, late_at = late + 1, row["linked_at"]
        if len(rows) < PAGE:
            break
    if found is False or (known and known.number > last):
        problem = problem or "rewritten"
    kept = known.number if known and found else None
    return Verdict(number, link, at, problem or ("stray" if stray else ""), first, late, late_at, kept)


async def _checks_hold(tx: Connection, org: int, rows: Sequence[Any], first: int) -> bool:
    """Whether the links that earlier checks saw are still there, as far as the chain is gone through."""
    told = [json.loads(row["detail"]) for row in rows if row["action"] == CHECK]
    kept = {each["number"]: each["link"] for each in told if isinstance(each.get("number"), int) and each["number"] >= first}
    there = {row["number"]: row["link"].hex() for row in await tx.fetch(THOSE, org, list(kept))} if kept else {}
    return all(there.get(number) == link for number, link in kept.items())


def _problem(row: Any, number: int, key: bytes, link: bytes) -> str:
    if row["number"] != number + 1:
        return "out of order"
    if row["audit_id"] is None:
        return "removed"
    return "" if hmac.compare_digest(next_link(key, link, row, row["linked_at"]), row["link"]) else "changed"


def _now() -> datetime:
    return datetime.now(UTC)
