"""Sessions on the server: short, revocable, known to the database by the SHA-256 of the cookie's token only."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from archiver.db import Connection
from archiver.ledger.audit import uuid7
from archiver.ledger.sealing import Vault
from archiver.settings import Web
from archiver.web.roles import Role

COLUMNS = "session_id, issuer, subject, sid, person, name, matrix_id, roles, sealed_id_token, started_at, seen_at"
WHY = "purpose, case_number, purpose_until"
START = f"""
    INSERT INTO web_session (org, token_hash, session_id, issuer, subject, sid, person, name, matrix_id, roles, sealed_id_token)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING {COLUMNS}
"""  # noqa: S608 - constants only
FIND = f"""
    SELECT {COLUMNS}, {WHY} FROM web_session
    WHERE org = $1 AND token_hash = $2 AND seen_at > now() - $3::interval AND started_at > now() - $4::interval
"""  # noqa: S608
# Not at every request: a minute more or less is nothing to an idle limit.
SEEN = "UPDATE web_session SET seen_at = now() WHERE org = $1 AND session_id = $2 AND seen_at < now() - interval '30 seconds'"
EXPIRED = "DELETE FROM web_session WHERE org = $1 AND (seen_at <= now() - $2::interval OR started_at <= now() - $3::interval)"
LIVE = f"SELECT {COLUMNS} FROM web_session WHERE org = $1 ORDER BY started_at DESC"  # noqa: S608
END = f"DELETE FROM web_session WHERE org = $1 AND session_id = $2 RETURNING {COLUMNS}"  # noqa: S608
END_PERSON = f"DELETE FROM web_session WHERE org = $1 AND person = $2 RETURNING {COLUMNS}"  # noqa: S608
# OpenID Connect Back-Channel Logout 1.0, 2.7: by sid, by sub, or by both.
END_AT_PROVIDER = f"""
    DELETE FROM web_session
    WHERE org = $1 AND issuer = $2 AND ($3::text IS NULL OR subject = $3) AND ($4::text IS NULL OR sid = $4)
    RETURNING {COLUMNS}
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Whom the identity provider says somebody is."""

    issuer: str
    subject: str
    sid: str | None
    person: str
    name: str
    matrix_id: str | None
    roles: frozenset[Role]
    id_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody's session."""

    session_id: UUID
    issuer: str
    subject: str
    sid: str | None
    person: str
    name: str
    matrix_id: str | None
    roles: tuple[str, ...]
    sealed_id_token: bytes = field(repr=False)
    started_at: datetime
    seen_at: datetime
    purpose: str | None = field(default=None, repr=False)
    case_number: str | None = field(default=None, repr=False)
    purpose_until: datetime | None = None

    def id_token(self, vault: Vault) -> str:
        """The token with which they signed in. Raises SealingError."""
        return vault.unwrap(self.sealed_id_token, f"session|{self.session_id}").decode()


def digest(token: str) -> bytes:
    """What the database keeps of a token."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


def new_token() -> str:
    """256 random bits for a cookie."""
    return secrets.token_urlsafe(32)


def form_token(token: str) -> str:
    """What a form of this session must carry: only who holds the cookie's token can work it out."""
    return hashlib.sha256(f"griffier form|{token}".encode()).hexdigest()


async def start(tx: Connection, vault: Vault, who: SignedIn, limits: Web) -> tuple[str, Session]:
    """A new session; returns the cookie's token. Clears away what has expired."""
    idle, longest = _limits(limits)
    await tx.execute(EXPIRED, vault.org, idle, longest)
    token, session_id = new_token(), uuid7()
    sealed = vault.wrap(who.id_token.encode(), f"session|{session_id}")
    row = await tx.fetchrow(
        START, vault.org, digest(token), session_id, who.issuer, who.subject, who.sid, who.person, who.name, who.matrix_id,
        sorted(who.roles), sealed,
    )  # fmt: skip
    return token, _session(row)


async def find(tx: Connection, org: int, token: str, limits: Web, *, renew: bool = True) -> Session | None:
    """The live session of a cookie's token; marks it as seen, unless it is not to be renewed."""
    row = await tx.fetchrow(FIND, org, digest(token), *_limits(limits))
    if row is None:
        return None
    if renew:
        await tx.execute(SEEN, org, row["session_id"])
    return _session(row)


async def live(tx: Connection, org: int, limits: Web) -> list[Session]:
    """All sessions that could be used now."""
    await tx.execute(EXPIRED, org, *_limits(limits))
    return [_session(row) for row in await tx.fetch(LIVE, org)]


async def end(tx: Connection, org: int, session_id: UUID) -> Session | None:
    """End a session."""
    row = await tx.fetchrow(END, org, session_id)
    return _session(row) if row else None


async def end_all_of(tx: Connection, org: int, person: str) -> list[Session]:
    """End every session of somebody."""
    return [_session(row) for row in await tx.fetch(END_PERSON, org, person)]


async def end_at_provider(tx: Connection, org: int, issuer: str, subject: str | None, sid: str | None) -> list[Session]:
    """End the sessions that the identity provider names; at least one of subject and sid."""
    if subject is None and sid is None:
        raise ValueError("a subject or a sid is needed")
    return [_session(row) for row in await tx.fetch(END_AT_PROVIDER, org, issuer, subject, sid)]


def _limits(limits: Web) -> tuple[timedelta, timedelta]:
    return timedelta(minutes=limits.session_idle), timedelta(minutes=limits.session_max)


def _session(row: dict[str, object]) -> Session:
    values = dict(row)
    roles = values.pop("roles")
    assert isinstance(roles, list)  # noqa: S101 - narrows for the type checker
    return Session(roles=tuple(roles), **values)  # type: ignore[arg-type]
