"""Personal access tokens: made once, shown once, known to the database by their SHA-256 only."""

from __future__ import annotations

import secrets
import string
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from archiver.db import Connection
from archiver.ledger.audit import note, uuid7
from archiver.web.api.scopes import Scope
from archiver.web.sessions import SignedIn, digest

PREFIX = "griffier_pat_"  # secret scanners know a leaked one by it and by the checksum, without asking anybody
LETTERS = string.digits + string.ascii_letters
SECRET, CHECK = 43, 6  # letters: 256 bits, and a CRC-32
AT_MOST = 50  # live tokens of one person
COLUMNS = """token_id, issuer, subject, person, name, matrix_id, roles, claimed_at, label, scopes, made_at, expires_at, used_at"""
MAKE = f"""
    INSERT INTO personal_token (org, token_id, token_hash, issuer, subject, person, name, matrix_id, roles, claimed_at, label,
                                scopes, expires_at)
    SELECT $1, $2, $3, issuer, subject, person, name, matrix_id, roles, started_at, $5, $6, now() + $7::interval
    FROM web_session WHERE org = $1 AND session_id = $4
    RETURNING {COLUMNS}
"""  # noqa: S608 - constants only
FIND = f"SELECT {COLUMNS} FROM personal_token WHERE org = $1 AND token_hash = $2 AND expires_at > now()"  # noqa: S608
# Not at every request, as with sessions.
USED = """
    UPDATE personal_token SET used_at = now()
    WHERE org = $1 AND token_id = $2 AND (used_at IS NULL OR used_at < now() - interval '30 seconds')
"""
ALL = f"SELECT {COLUMNS} FROM personal_token WHERE org = $1 AND ($2::text IS NULL OR person = $2) ORDER BY made_at DESC"  # noqa: S608
REVOKE = f"""
    DELETE FROM personal_token WHERE org = $1 AND token_id = $2 AND ($3::text IS NULL OR person = $3) RETURNING {COLUMNS}
"""  # noqa: S608
SIGNED_IN = """
    UPDATE personal_token SET roles = $4, matrix_id = $5, name = $6, claimed_at = now()
    WHERE org = $1 AND issuer = $2 AND subject = $3
"""
ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtextextended('griffier token|' || $1::integer || '|' || $2::text, 0))"


class TooManyTokens(ValueError):  # noqa: N818 - it names what is the matter
    """Somebody has as many live tokens as one person may have."""


@dataclass(frozen=True, slots=True)
class PersonalToken:
    """What is known of a token; not the token."""

    token_id: UUID
    issuer: str
    subject: str
    person: str
    name: str
    matrix_id: str | None
    roles: tuple[str, ...]  # of the claims
    claimed_at: datetime
    label: str
    scopes: frozenset[Scope]
    made_at: datetime
    expires_at: datetime
    used_at: datetime | None

    def expired(self, now: datetime) -> bool:
        return self.expires_at <= now


def new() -> str:
    """A token: prefix, 256 random bits, checksum."""
    secret = "".join(secrets.choice(LETTERS) for _ in range(SECRET))
    return PREFIX + secret + checksum(secret)


def checksum(secret: str) -> str:
    """The CRC-32 of the secret, in six letters."""
    number, found = zlib.crc32(secret.encode()), ""
    for _ in range(CHECK):
        number, rest = divmod(number, len(LETTERS))
        found = LETTERS[rest] + found
    return found


def well_formed(token: str) -> bool:
    """Whether this could be a token of ours: what is not costs the database nothing."""
    body = token.removeprefix(PREFIX)
    if body == token or len(body) != SECRET + CHECK or not body.isascii() or not body.isalnum():
        return False
    return checksum(body[:SECRET]) == body[SECRET:]


async def make(
    tx: Connection, org: int, session_id: UUID, label: str, scopes: Iterable[Scope], days: int
) -> tuple[str, PersonalToken]:
    """A token for whose session this is; returns what is shown once. Raises TooManyTokens, LookupError. Audited."""
    person = await tx.fetchval("SELECT person FROM web_session WHERE org = $1 AND session_id = $2", org, session_id)
    if person is None:
        raise LookupError("the session has ended")
    await tx.execute(ONE_AT_A_TIME, org, person)
    if len(await tokens(tx, org, person)) >= AT_MOST:
        raise TooManyTokens(f"{AT_MOST} tokens")
    token, asked = new(), sorted(set(scopes))
    row = await tx.fetchrow(MAKE, org, uuid7(), digest(token), session_id, label, asked, timedelta(days=days))
    made = _token(row)
    told = {"token": str(made.token_id), "label": label, "scopes": " ".join(asked), "until": made.expires_at.isoformat()}
    await note(tx, org, made.person, "make token", **told)
    return token, made


async def find(tx: Connection, org: int, token: str) -> PersonalToken | None:
    """The live token; marks it as used."""
    if not well_formed(token):
        return None
    row = await tx.fetchrow(FIND, org, digest(token))
    if row is None:
        return None
    await tx.execute(USED, org, row["token_id"])
    return _token(row)


async def tokens(tx: Connection, org: int, person: str | None = None) -> list[PersonalToken]:
    """Those of one person, or of all; expired ones too."""
    return [_token(row) for row in await tx.fetch(ALL, org, person)]


async def revoke(tx: Connection, org: int, by: str, token_id: UUID, *, own: bool) -> PersonalToken | None:
    """End a token: of `by` alone where `own`, else anybody's. Audited."""
    row = await tx.fetchrow(REVOKE, org, token_id, by if own else None)
    if row is None:
        return None
    ended = _token(row)
    await note(tx, org, by, "revoke token", token=str(token_id), label=ended.label, person=ended.person)
    return ended


async def signed_in(tx: Connection, org: int, who: SignedIn) -> None:
    """What the identity provider says of somebody now holds for their tokens too."""
    await tx.execute(SIGNED_IN, org, who.issuer, who.subject, sorted(who.roles), who.matrix_id, who.name)


def _token(row: dict[str, object]) -> PersonalToken:
    values = dict(row)
    roles, scopes = values.pop("roles"), values.pop("scopes")
    assert isinstance(roles, list)  # noqa: S101 - narrows for the type checker
    assert isinstance(scopes, list)  # noqa: S101
    known = frozenset(Scope(scope) for scope in scopes if scope in set(Scope))
    return PersonalToken(roles=tuple(roles), scopes=known, **values)  # type: ignore[arg-type]
