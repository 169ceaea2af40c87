"""Who an account was, and when: the names it had in a room, and of a bridge's ghost its phone number and other ids there.

A person on WhatsApp is no phone number: they may have a privacy id (LID), an id with our business only (BSUID) or a user name,
and each may change. So each word on who an account is is kept with the time and the event that it comes from.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from archiver.db import Connection
from archiver.ledger.canonical import HostileJson, JsonObject, parse_object
from archiver.ledger.claims import CLAIMED_SOURCE, SOURCE
from archiver.ledger.record import Record
from archiver.ledger.sealing import Vault, bound, month_of
from archiver.reading.bridges import Bridges

MEMBER, MESSAGE = "member", "message"
IDENTIFIERS = "com.beeper.bridge.identifiers"  # of a ghost's profile: ["tel:+316…"]
# What mautrix makes of a WhatsApp JID, and ours of a number or a BSUID. https://docs.mau.fi/bridges/go/whatsapp/
LOCALPART = re.compile(r"(?i)@[a-z]+_(?:(?P<phone>\d{5,20})|lid-(?P<lid>\d+)|(?P<bsuid>[a-z]{2}\.(?:ent\.)?[a-z0-9]{1,128})):")
MAX_TEXT = 300  # characters of a name or an id
SHOWN = 500  # rows of one account

KEEP = """
    INSERT INTO identity AS known (org, room_id, user_id, origin, day, digest, first_at, first_event_id, last_at, sealed)
    SELECT $1, r.* FROM unnest($2::text[], $3::text[], $4::text[], $5::date[], $6::bytea[], $7::timestamptz[], $8::text[],
                               $9::timestamptz[], $10::bytea[])
        AS r (room_id, user_id, origin, day, digest, first_at, first_event_id, last_at, sealed)
    ON CONFLICT (org, room_id, user_id, origin, day, digest) DO UPDATE SET
        first_event_id = CASE WHEN (excluded.first_at, excluded.first_event_id) < (known.first_at, known.first_event_id)
                              THEN excluded.first_event_id ELSE known.first_event_id END,
        first_at = least(known.first_at, excluded.first_at), last_at = greatest(known.last_at, excluded.last_at)
"""
FIND = f"""
    SELECT user_id, origin, digest, first_at, first_event_id, last_at, sealed
    FROM unnest($3::text[]) AS wanted (account),
         LATERAL (SELECT * FROM identity WHERE org = $1 AND room_id = $2 AND user_id = account
                  ORDER BY first_at DESC, origin, digest LIMIT {SHOWN}) AS identity
    ORDER BY user_id, first_at, origin, digest
"""  # noqa: S608 - a constant only


@dataclass(frozen=True, slots=True)
class Person:
    """What one word says of who an account is."""

    name: str | None = None
    phone: str | None = None
    lid: str | None = None  # WhatsApp's privacy id
    bsuid: str | None = None  # WhatsApp's id of a person with one business
    username: str | None = None

    @property
    def told(self) -> bool:
        return any(asdict(self).values())

    @property
    def address(self) -> str | None:
        """What people know somebody on the network by."""
        at = f"@{self.username.removeprefix('@')}" if self.username else None
        return self.phone or at or (f"LID {self.lid}" if self.lid else None) or self.bsuid


@dataclass(frozen=True, slots=True)
class Identity:
    """Who an account was, from a moment on, by the word of an event."""

    user_id: str
    person: Person
    since: datetime
    until: datetime | None  # when another word of the same kind took its place; None: the latest
    seen_until: datetime  # the last time it was said
    event_id: str
    origin: str  # member or message


class Identities:
    """The history of some accounts in one room."""

    def __init__(self, found: Iterable[Identity] = ()) -> None:
        self._by_user: dict[str, list[Identity]] = defaultdict(list)
        self.add(found)

    def add(self, found: Iterable[Identity]) -> None:
        """Take in what was read of accounts of which nothing was known."""
        for identity in sorted(found, key=lambda each: (each.since, each.origin)):
            self._by_user[identity.user_id].append(identity)

    def of(self, user_id: str) -> list[Identity]:
        """All that is known of an account, the earliest first."""
        return self._by_user.get(user_id, [])

    def at(self, user_id: str, when: datetime) -> Person:
        """Who an account was at a moment: for each part the latest word of until then; where there was none yet, the first."""
        words = self.of(user_id)
        before = [word.person for word in reversed(words) if word.since <= when]
        return together(before or [word.person for word in words[:1]])


def together(words: Iterable[Person]) -> Person:
    """Each part from the first that has it."""
    told = list(words)
    parts = ("name", "phone", "lid", "bsuid", "username")
    return Person(**{part: next((value for each in told if (value := getattr(each, part))), None) for part in parts})


def person(record: Record, bridges: Bridges) -> tuple[str, str, Person] | None:
    """(account, origin, who it is) as a record says; None when it says nothing of the kind."""
    if record.type == "m.room.member" and record.state_key:
        ours = record.state_key in bridges
        if ours and record.sender not in bridges:
            return None  # whoever invites a ghost, or removes it, writes what they like as its profile
        name = _text(record.content.get("displayname"))
        known = ghost(record.state_key, record.content) if ours else Person()
        told = Person(name, known.phone, known.lid, known.bsuid)
        # A ghost's ids alone are in its name; what a leave without a name would add is nothing.
        return (record.state_key, MEMBER, told) if name or (known.told and record.content.get("membership") == "join") else None
    source = record.content.get(SOURCE)
    if not isinstance(source, dict) or CLAIMED_SOURCE in record.doubts or record.sender not in bridges:
        return None
    if source.get("from_phone") is True or record.state_key is not None:
        return None
    sender = _text(source.get("sender"))
    phone = sender if sender and re.fullmatch(r"\+?\d{5,20}", sender) else None
    told = Person(
        _text(source.get("sender_name")),
        f"+{phone.lstrip('+')}" if phone else None,
        bsuid=_text(source.get("sender_id")) or (None if phone else sender),
        username=_text(source.get("username")),
    )
    return (record.sender, MESSAGE, told) if told.told else None


def ghost(user_id: str, content: JsonObject) -> Person:
    """A ghost's ids, from its Matrix id and from `content`, its profile."""
    found = LOCALPART.match(user_id)
    parts: dict[str, Any] = found.groupdict() if found else {}
    phone = f"+{parts['phone']}" if parts.get("phone") else None
    told = content.get(IDENTIFIERS)
    for one in told if isinstance(told, list) else ():
        if isinstance(one, str) and re.fullmatch(r"tel:\+\d{5,20}", one):
            phone = one.removeprefix("tel:")
    bsuid = parts.get("bsuid")
    return Person(None, phone, parts.get("lid"), bsuid.upper() if bsuid else None)


async def keep(tx: Connection, vault: Vault, records: Sequence[Record], bridges: Bridges) -> None:
    """Note what these records say of who is who."""
    rows: dict[tuple[Any, ...], tuple[datetime, str, datetime, bytes]] = {}
    for record in records:
        told = person(record, bridges)
        if told is None:
            continue
        user_id, origin, who = told
        raw = json.dumps(asdict(who), sort_keys=True).encode()
        digest = hmac.digest(vault.search_key, f"identity|{record.room_id}|{user_id}|".encode() + raw, hashlib.sha256)[:16]
        place = record.room_id, user_id, origin, record.sent_at.date(), digest
        known = rows.get(place)
        first = min((record.sent_at, record.event_id), known[:2]) if known else (record.sent_at, record.event_id)
        rows[place] = (*first, max(record.sent_at, known[2]) if known else record.sent_at, raw)
    if not rows:
        return
    months = {(place[0], month_of(first_at)) for place, (first_at, *_) in rows.items()}
    keys = await vault.keys_for(tx, months)
    ready = [
        (*place, first_at, event_id, last_at,
         keys[place[0], month_of(first_at)].seal(raw, bound(vault.org, place[0], f"{place[1]}|{place[4].hex()}|identity")))
        for place, (first_at, event_id, last_at, raw) in sorted(rows.items())
    ]  # fmt: skip
    await tx.execute(KEEP, vault.org, *zip(*ready, strict=True))


async def identities(tx: Connection, vault: Vault, room_id: str, accounts: Iterable[str]) -> list[Identity]:
    """The history of these accounts in a room, the earliest first; what a destroyed key sealed is left out."""
    rows = await tx.fetch(FIND, vault.org, room_id, sorted(set(accounts)))
    sealed = [(room_id, f"{row['user_id']}|{row['digest'].hex()}|identity", row["sealed"]) for row in rows]
    runs: dict[tuple[str, str], list[list[Any]]] = defaultdict(
        list
    )  # [who, since, last seen, event id] of one word after another
    for row, raw in zip(rows, await vault.open_many(tx, sealed), strict=True):
        who = _read(raw)
        if who is None:
            continue
        run = runs[row["user_id"], row["origin"]]
        if run and run[-1][0] == who:
            run[-1][2] = max(run[-1][2], row["last_at"])
        else:
            run.append([who, row["first_at"], row["last_at"], row["first_event_id"]])
    found = []
    for (user_id, origin), run in runs.items():
        for number, (who, since, seen, event_id) in enumerate(run):
            until = run[number + 1][1] if number + 1 < len(run) else None
            found.append(Identity(user_id, who, since, until, seen, event_id, origin))
    return sorted(found, key=lambda each: (each.since, each.user_id, each.origin))


def _read(raw: bytes | None) -> Person | None:
    try:
        return Person(**parse_object(raw)) if raw is not None else None
    except (HostileJson, TypeError):
        return None


def _text(told: object) -> str | None:
    return told.strip()[:MAX_TEXT] or None if isinstance(told, str) else None
