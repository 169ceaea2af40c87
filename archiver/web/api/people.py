"""Roles and sessions, for admins; and for everybody: who they are here."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, Field

from archiver.db import tenant_tx
from archiver.ledger.audit import note
from archiver.ledger.canonical import column
from archiver.web import roles, sessions
from archiver.web.api.operation import Part, Request, operation
from archiver.web.api.problem import ApiProblem
from archiver.web.api.scopes import Scope
from archiver.web.api.words import Text
from archiver.web.context import ARCHIVE
from archiver.web.looks import look
from archiver.web.roles import Role, RoleError

SUBJECT = "People and roles"
Person = Annotated[
    str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]*[^\x00\s][^\x00]*$", description="As the audit trail names them.")
]
Why = Annotated[str, Field(max_length=255, pattern=r"^[^\x00]*$", description="For the audit trail.")]


class Given(BaseModel):
    """A role that an admin gave."""

    person: Text
    role: Role
    matrix_id: Text | None = Field(description="Of an official: whose conversations they see.")
    given_by: Text
    given_at: datetime
    reason: Text | None


class Roles(BaseModel):
    """The roles that admins gave; those of the identity provider are in the sessions."""

    items: list[Given]


class Signed(BaseModel):
    """Somebody who is signed in."""

    session_id: UUID
    person: Text
    name: Text
    roles: list[Text] = Field(description="By the identity provider.")
    started_at: datetime
    seen_at: datetime


class Sessions(BaseModel):
    """Who is signed in."""

    items: list[Signed]


class Me(BaseModel):
    """Who is asking."""

    person: Text
    name: Text
    roles: list[Role]
    scopes: list[Scope] | None = Field(description="Of the token; null for a session.")


class Gift(Part):
    """A role to give."""

    person: Person
    role: Role
    matrix_id: (
        Annotated[
            str, Field(max_length=255, pattern=r"^@[^\s:\x00]{1,200}:[^\s\x00]{1,200}$", examples=["@minister:rijk.example"])
        ]
        | None
    ) = None
    reason: Why | None = None


class Give(Request):
    """Give a role."""

    body: Gift


class Take(Request):
    """Take a role."""

    person: Person
    role: Role
    reason: Why | None = None


class End(Request):
    """End a session."""

    session_id: UUID


class All(Request):
    """No more than that."""


@operation("GET", "/me", subject="You", scope=None, answered=Me)
async def get_me(request: web.Request, _: All) -> Me:
    """Who you are, and what you may do."""
    visitor = request["visitor"]
    scopes = None if visitor.scopes is None else sorted(visitor.scopes)
    return Me(person=visitor.person, name=visitor.name, roles=sorted(visitor.roles), scopes=scopes)


@operation("GET", "/roles", subject=SUBJECT, scope=Scope.PEOPLE, answered=Roles)
async def list_roles(request: web.Request, _: All) -> Roles:
    """The roles that admins gave."""
    archive = request.app[ARCHIVE]
    await look(request, "list people")
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        given = await roles.assigned(tx, archive.vault.org)
    return Roles(items=[_given(each) for each in given])


@operation("POST", "/roles", subject=SUBJECT, scope=Scope.MANAGE_PEOPLE, answered=Given, status=201, problems=("conflict",))
async def give_role(request: web.Request, asked: Give) -> Given:
    """Give somebody a role.

    Roles that may not go together are refused, and nobody gives a role to themselves. It holds at their next request.
    """
    archive, by, wish = request.app[ARCHIVE], request["actor"], asked.body
    org = archive.vault.org
    try:
        async with tenant_tx(archive.pool, org) as tx:
            live = await sessions.live(tx, org, archive.settings.web)
            beside = {Role(each) for session in live if session.person == wish.person for each in session.roles}
            person, why = column(wish.person, 255), column(wish.reason, 255) if wish.reason else None
            await roles.grant(tx, org, by, person, wish.role, matrix_id=wish.matrix_id, reason=why, beside=beside)
            given = await roles.assigned(tx, org, person)
    except RoleError as error:
        raise ApiProblem("conflict", str(error)) from None
    return _given(next(each for each in given if each.role == wish.role))


@operation("DELETE", "/roles/{person}/{role}", subject=SUBJECT, scope=Scope.MANAGE_PEOPLE, status=204, problems=("conflict",))
async def take_role(request: web.Request, asked: Take) -> None:
    """Take from somebody a role that an admin gave."""
    archive = request.app[ARCHIVE]
    try:
        async with tenant_tx(archive.pool, archive.vault.org) as tx:
            why = column(asked.reason, 255) if asked.reason else None
            await roles.revoke(tx, archive.vault.org, request["actor"], column(asked.person, 255), asked.role, reason=why)
    except RoleError as error:
        raise ApiProblem("conflict", str(error)) from None


@operation("GET", "/sessions", subject=SUBJECT, scope=Scope.PEOPLE, answered=Sessions)
async def list_sessions(request: web.Request, _: All) -> Sessions:
    """Who is signed in."""
    archive = request.app[ARCHIVE]
    await look(request, "list people")
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        now = await sessions.live(tx, archive.vault.org, archive.settings.web)
    return Sessions(
        items=[
            Signed(
                session_id=each.session_id, person=each.person, name=each.name, roles=list(each.roles),
                started_at=each.started_at, seen_at=each.seen_at,
            )
            for each in now
        ]
    )  # fmt: skip


@operation("DELETE", "/sessions/{session_id}", subject=SUBJECT, scope=Scope.MANAGE_PEOPLE, status=204, problems=("not-found",))
async def end_session(request: web.Request, asked: End) -> None:
    """End somebody's session."""
    archive = request.app[ARCHIVE]
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        ended = await sessions.end(tx, archive.vault.org, asked.session_id)
        if ended is None:
            raise ApiProblem("not-found")
        told = {"person": ended.person, "session": str(asked.session_id)}
        await note(tx, archive.vault.org, request["actor"], "session ended", **told)


def _given(change: roles.Change) -> Given:
    return Given(
        person=change.person, role=Role(change.role), matrix_id=change.matrix_id, given_by=change.made_by, given_at=change.at,
        reason=change.reason,
    )  # fmt: skip
