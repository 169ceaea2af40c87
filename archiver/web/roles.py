"""Who has which role: by the claims of the identity provider, or assigned by an admin. Which may not go together."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from archiver.db import Connection
from archiver.export.catalogue import N_
from archiver.ledger.audit import note


class Role(StrEnum):
    """What somebody does with the archive (DESIGN section 1)."""

    OFFICIAL = "official"
    RECORDS_OFFICER = "records-officer"
    ADVISOR = "advisor"
    ADMIN = "admin"
    INSPECTOR = "inspector"
    AUDITOR = "auditor"


NAMES: dict[str, str] = {
    Role.OFFICIAL: N_("official"),
    Role.RECORDS_OFFICER: N_("records officer"),
    Role.ADVISOR: N_("advisor"),
    Role.ADMIN: N_("admin"),
    Role.INSPECTOR: N_("inspector"),
    Role.AUDITOR: N_("auditor"),
}
READERS = frozenset({Role.RECORDS_OFFICER, Role.ADVISOR, Role.INSPECTOR})  # of every conversation
READING = READERS | {Role.OFFICIAL}
# The reason is also the code of a text in archiver.web.refusals.
APART: tuple[tuple[frozenset[Role], frozenset[Role], str], ...] = (
    (frozenset({Role.AUDITOR}), frozenset(Role) - {Role.AUDITOR}, "apart:auditor"),
    (frozenset({Role.ADMIN}), READERS, "apart:admin"),
    (frozenset({Role.INSPECTOR}), READERS - {Role.INSPECTOR}, "apart:inspector"),
)
WHY = {
    "apart:auditor": N_("who reads the audit trail reads or manages nothing else"),
    "apart:admin": N_("who gives roles does not read conversations"),
    "apart:inspector": N_("who inspects the work does not do it"),
}
MATRIX_ID = re.compile(r"@[^\s:]{1,200}:[^\s]{1,200}")
LAST_WORDS = """
    SELECT DISTINCT ON (person, role) person, role, granted, matrix_id, made_by, at, reason FROM role_change
    WHERE org = $1 AND ($2::text IS NULL OR person = $2) ORDER BY person, role, number DESC
"""
HISTORY = """
    SELECT person, role, granted, matrix_id, made_by, at, reason FROM role_change
    WHERE org = $1 AND ($2::text IS NULL OR person = $2) ORDER BY number DESC LIMIT 1000
"""
ADD = """
    INSERT INTO role_change (org, made_by, person, role, granted, matrix_id, reason) VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
# Two grants at once could make a pair that neither saw.
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('griffier role|' || $1::integer || '|' || $2::text, 0))"


class RoleError(Exception):
    """The role can't be given or taken; the message says why, and `text` and `told` say it in any language."""

    def __init__(self, text: str, **told: str) -> None:
        super().__init__(text % told if told else text)
        self.text, self.told = text, told


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two roles that one person may not have, and the reason's name."""

    one: Role
    other: Role
    reason: str


@dataclass(frozen=True, slots=True)
class Change:
    """A role given to somebody or taken from them."""

    person: str
    role: str
    granted: bool
    matrix_id: str | None
    made_by: str
    at: datetime
    reason: str | None


def conflict(roles: Iterable[Role]) -> Conflict | None:
    """The first two of these roles that one person may not have together."""
    held = frozenset(roles)
    for one, others, reason in APART:
        if one & held and others & held:
            return Conflict(min(one & held), min(others & held), reason)
    return None


async def assigned(tx: Connection, org: int, person: str | None = None) -> list[Change]:
    """The roles that admins gave and did not take back; of everybody, or of one person."""
    return [Change(**row) for row in await tx.fetch(LAST_WORDS, org, person) if row["granted"]]


async def history(tx: Connection, org: int, person: str | None = None) -> list[Change]:
    """Everything given and taken, the newest first; at most 1,000."""
    return [Change(**row) for row in await tx.fetch(HISTORY, org, person)]


async def grant(
    tx: Connection,
    org: int,
    by: str,
    person: str,
    role: Role,
    *,
    matrix_id: str | None = None,
    reason: str | None = None,
    beside: Iterable[Role] = (),
) -> None:
    """Give somebody a role; `beside` are those they have by their claims. Raises RoleError. Audited."""
    if not person.strip() or len(person) > 255 or "\0" in person:
        raise RoleError(N_("Name the person as the sign-in page and 'griffier session list' do."))
    if person == by:
        raise RoleError(N_("Nobody gives a role to themselves: ask another admin."))
    if matrix_id is not None and role is not Role.OFFICIAL:
        raise RoleError(N_("A Matrix id belongs to the role 'official' only."))
    if matrix_id is not None and not MATRIX_ID.fullmatch(matrix_id):
        raise RoleError(N_("'%(matrix_id)s' is not a Matrix id such as @minister:rijk.example."), matrix_id=matrix_id)
    await tx.execute(ONE_AT_A_TIME, org, person)
    held = {Role(change.role): change for change in await assigned(tx, org, person)}
    if role in held and held[role].matrix_id == matrix_id:
        raise RoleError(N_("%(person)s already has the role '%(role)s'."), person=person, role=role)
    if found := conflict({role, *held, *beside}):
        raise RoleError(
            N_("%(person)s can't be both '%(one)s' and '%(other)s': %(why)s. Take one back first."),
            person=person, one=found.one, other=found.other, why=WHY[found.reason],
        )  # fmt: skip
    await tx.execute(ADD, org, by, person, role.value, True, matrix_id, reason)
    await note(tx, org, by, "grant role", person=person, role=role.value, matrix_id=matrix_id, reason=reason)


async def revoke(tx: Connection, org: int, by: str, person: str, role: Role, *, reason: str | None = None) -> None:
    """Take a role from somebody; it ends at their next request. Raises RoleError when no admin gave it. Audited."""
    await tx.execute(ONE_AT_A_TIME, org, person)
    if role not in {change.role for change in await assigned(tx, org, person)}:
        raise RoleError(
            N_("No admin gave %(person)s the role '%(role)s'. If they have it, the identity provider gives it: take it there."),
            person=person, role=role,
        )  # fmt: skip
    await tx.execute(ADD, org, by, person, role.value, False, None, reason)
    await note(tx, org, by, "revoke role", person=person, role=role.value, reason=reason)
