"""`griffier role` and `griffier session`: who may do what, and who is signed in."""

from __future__ import annotations

import argparse
from typing import Any
from uuid import UUID

from archiver.db import Pool, tenant_tx
from archiver.ledger.audit import note
from archiver.settings import Settings
from archiver.web import roles, sessions
from archiver.web.roles import Change, Role, RoleError

Told = tuple[dict[str, Any], str]
"""What a command prints: for programs, and for people."""


def add_role_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `griffier role`."""
    parser.add_argument("do", choices=("grant", "revoke", "list"))
    parser.add_argument("person", nargs="?", help="as the sign-in page and 'griffier session list' name them")
    parser.add_argument("role", nargs="?", choices=list(Role), metavar="role", help=", ".join(Role))
    parser.add_argument("--matrix-id", help="with the role official: whose conversations they see")
    parser.add_argument("--reason", help="kept with the change")
    parser.add_argument("--history", action="store_true", help="with list: everything given and taken")


def add_session_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `griffier session`."""
    parser.add_argument("do", choices=("list", "revoke"))
    parser.add_argument("which", nargs="?", help="with revoke: a session's id, or a person for all of theirs")


async def role(pool: Pool, org: int, by: str, settings: Settings, args: argparse.Namespace) -> Told:
    """Give, take or list roles. Raises RoleError."""
    if args.do == "list":
        async with tenant_tx(pool, org) as tx:
            found = await (roles.history if args.history else roles.assigned)(tx, org, args.person)
        return {"roles": [_change(each) for each in found]}, "\n".join(map(_line, found)) or "No role has been given."
    chosen = Role(args.role)
    async with tenant_tx(pool, org) as tx:
        if args.do == "grant":
            beside = {
                Role(each)
                for session in await sessions.live(tx, org, settings.web)
                if session.person == args.person
                for each in session.roles
            }
            await roles.grant(
                tx, org, by, args.person, chosen, matrix_id=args.matrix_id, reason=args.reason, beside=beside
            )  # fmt: skip
        else:
            await roles.revoke(tx, org, by, args.person, chosen, reason=args.reason)
    granted = args.do == "grant"
    told = f"{args.person} {'now has' if granted else 'no longer has'} the role {chosen}."
    return {"person": args.person, "role": chosen.value, "granted": granted}, told


async def session(pool: Pool, org: int, by: str, settings: Settings, args: argparse.Namespace) -> Told:
    """List or end sessions. Raises RoleError when there is nothing to end."""
    if args.do == "list":
        async with tenant_tx(pool, org) as tx:
            found = await sessions.live(tx, org, settings.web)
        return {"sessions": [_session(each) for each in found]}, "\n".join(map(_session_line, found)) or "Nobody is signed in."
    async with tenant_tx(pool, org) as tx:
        try:
            one = await sessions.end(tx, org, UUID(args.which))
            ended = [one] if one else []
        except ValueError:
            ended = []
        ended = ended or await sessions.end_all_of(tx, org, args.which)  # Entra and Keycloak name people by UUIDs too
        for each in ended:
            await note(tx, org, by, "session ended", person=each.person, session=str(each.session_id))
    if not ended:
        raise RoleError(f"There is no session of '{args.which}'. 'griffier session list' shows them.")
    return {"ended": [str(each.session_id) for each in ended]}, f"{len(ended)} session(s) ended."


def _change(each: Change) -> dict[str, Any]:
    return {
        "person": each.person, "role": each.role, "granted": each.granted, "matrix_id": each.matrix_id,
        "made_by": each.made_by, "at": each.at.isoformat(), "reason": each.reason,
    }  # fmt: skip


def _line(each: Change) -> str:
    whose = f" as {each.matrix_id}" if each.matrix_id else ""
    why = f": {each.reason}" if each.reason else ""
    what = f"{'+' if each.granted else '-'} {each.role:<16} {each.person}{whose}"
    return f"{each.at:%Y-%m-%d %H:%M %Z}  {what}, by {each.made_by}{why}"


def _session(each: sessions.Session) -> dict[str, Any]:
    return {
        "session": str(each.session_id), "person": each.person, "name": each.name, "roles": list(each.roles),
        "matrix_id": each.matrix_id, "started_at": each.started_at.isoformat(), "seen_at": each.seen_at.isoformat(),
    }  # fmt: skip


def _session_line(each: sessions.Session) -> str:
    return f"{each.session_id}  since {each.started_at:%Y-%m-%d %H:%M %Z}  {each.person} ({each.name})  {' '.join(each.roles)}"
