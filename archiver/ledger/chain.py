"""The chain of the audit trail: each act gets a number and a link, made of the link before it and the act itself.

A link is HMAC-SHA-256 under a key that only who holds the organisation's key can make. So whoever changes, removes or inserts an
act in the database, its owner included, breaks every link from there on and can't mend them. What it does not show: acts cut off
from the end, links and all, unless the newest number and link are kept elsewhere (each look at the chain puts them in the trail
and on the page); an act removed before it was linked, which is done within seconds; what who holds the key does.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from archiver.db import Connection, Pool, tenant_tx
from archiver.ledger.sealing import Vault

PAGE = 1000
ONE_AT_A_TIME = "SELECT pg_try_advisory_xact_lock(hashtextextended('griffier chain|' || $1::integer, 0))"
COLUMNS = "audit.audit_id, at, actor, action, audit.room_id, detail, purpose, case_number"
NEXT = f"""
    SELECT {COLUMNS} FROM audit_unlinked JOIN audit USING (org, audit_id) WHERE org = $1 ORDER BY audit_id LIMIT $2
"""  # noqa: S608 - constants only
HEAD = "SELECT number, link, audit_id FROM audit_link WHERE org = $1 ORDER BY number DESC LIMIT 1"
ADD = "INSERT INTO audit_link (org, number, audit_id, link) SELECT $1, * FROM unnest($2::bigint[], $3::uuid[], $4::bytea[])"
DONE = "DELETE FROM audit_unlinked WHERE org = $1 AND audit_id = ANY($2)"
LINKS = f"""
    SELECT number, link, audit_link.audit_id AS linked, {COLUMNS} FROM audit_link LEFT JOIN audit USING (org, audit_id)
    WHERE org = $1 AND number > $2 ORDER BY number LIMIT $3
"""  # noqa: S608
LINK = "SELECT link FROM audit_link WHERE org = $1 AND number = $2"
# What has no place in the chain, nor waits for one.
STRAY = """
    SELECT count(*) FROM audit WHERE org = $1
    AND NOT EXISTS (SELECT FROM audit_link AS l WHERE l.org = audit.org AND l.audit_id = audit.audit_id)
    AND NOT EXISTS (SELECT FROM audit_unlinked AS u WHERE u.org = audit.org AND u.audit_id = audit.audit_id)
"""
FIRST = bytes(32)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look at the chain found. It is intact up to and including `number`; `problem` says what is wrong after that."""

    number: int
    link: bytes
    at: datetime | None  # of the newest act that is intact
    problem: str = ""  # changed, removed, out of order, stray; empty: nothing is wrong
    first: int = 1  # from where it was looked

    @property
    def intact(self) -> bool:
        return not self.problem


def next_link(key: bytes, before: bytes, act: Any) -> bytes:
    """The link of an act, a row of COLUMNS."""
    told = [
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
    head = await tx.fetchrow(HEAD, vault.org)
    number, link, key = (head["number"], head["link"], key_of(vault)) if head else (0, FIRST, key_of(vault))
    links = []
    for act in acts:
        link = next_link(key, link, act)
        links.append(link)
    ids = [act["audit_id"] for act in acts]
    await tx.execute(ADD, vault.org, list(range(number + 1, number + 1 + len(ids))), ids, links)
    await tx.execute(DONE, vault.org, ids)
    return len(ids)


async def extend_all(pool: Pool, vault: Vault) -> None:
    """Link all acts that wait for it."""
    while True:
        async with tenant_tx(pool, vault.org) as tx:
            if await extend(tx, vault) < PAGE:
                return


async def verify(pool: Pool, vault: Vault, newest: int | None = None) -> Verdict:
    """Go through the chain, or through its newest so many links. Each 1,000 in a transaction of its own."""
    await extend_all(pool, vault)
    key, at = key_of(vault), None
    async with tenant_tx(pool, vault.org) as tx:
        head = await tx.fetchrow(HEAD, vault.org)
        number = max(head["number"] - newest, 0) if head and newest else 0
        link = await tx.fetchval(LINK, vault.org, number) if number else FIRST
        stray = await tx.fetchval(STRAY, vault.org)
    first = number + 1
    if link is None:
        return Verdict(0, FIRST, None, "out of order", first)
    while True:
        async with tenant_tx(pool, vault.org) as tx:
            rows = await tx.fetch(LINKS, vault.org, number, PAGE)
        for row in rows:
            problem = _problem(row, number, key, link)
            if problem:
                return Verdict(number, link, at, problem, first)
            number, link, at = row["number"], row["link"], row["at"]
        if len(rows) < PAGE:
            return Verdict(number, link, at, "stray" if stray else "", first)


def _problem(row: Any, number: int, key: bytes, link: bytes) -> str:
    if row["number"] != number + 1:
        return "out of order"
    if row["audit_id"] is None:
        return "removed"
    return "" if hmac.compare_digest(next_link(key, link, row), row["link"]) else "changed"
