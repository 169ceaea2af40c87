"""People on WhatsApp: sets of names (number, business-scoped ids, user name, own name), each with the time that it was theirs.

WhatsApp names somebody now by a number, now by an id, now by both; ids change with the number. Whatever one message says together
is one person. Two who were thought apart and prove one are joined into the older; a number that another has taken over is theirs
from then on. All this is within one WhatsApp account: what another account's signer says changes nothing of its people.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from bridge.accounts import localpart
from bridge.network import Named
from bridge.relay.relay import column

LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('griffier persons', 0))"
# The number that is told something, and after it the others of its account, those of before too.
OURS = """
    SELECT ARRAY[$1::text] || ARRAY(SELECT number_id FROM number WHERE number_id <> $1
                                    AND waba_id = (SELECT waba_id FROM number WHERE number_id = $1))
"""
IDENTIFYING = ("user_id", "parent_user_id", "wa_id")  # the strongest first: a number may become somebody else's
# Who was called so at that time: a message may come late.
FIND = """
    SELECT kind, value, person, valid_from, valid_until IS NOT NULL AS past FROM identity
    WHERE (kind, value) IN (SELECT * FROM unnest($1::text[], $2::text[]))
      AND told_to && $4 AND (valid_until IS NULL OR ($3 <= valid_until AND valid_from <= $3))
    ORDER BY person
"""
OPEN = "SELECT kind, scope, value, valid_from, told_to FROM identity WHERE person = $1 AND valid_until IS NULL"
EVER = "SELECT DISTINCT value FROM identity WHERE person = $1 AND kind IN ('wa_id', 'user_id')"
END = """
    UPDATE identity SET valid_until = greatest($4, valid_from), ended_by = $5
    WHERE person = $1 AND kind = $2 AND scope = $3 AND value <> $6 AND valid_until IS NULL
"""
TAKE = """
    UPDATE identity SET valid_until = greatest($4, valid_from), ended_by = $5
    WHERE person <> $1 AND kind = $2 AND value = $3 AND valid_until IS NULL AND told_to && $6
"""
ADD = "INSERT INTO identity (person, kind, scope, value, valid_from, source, told_to) VALUES ($1, $2, $3, $4, $5, $6, ARRAY[$7])"
TOLD_TO = """
    UPDATE identity SET told_to = told_to || $5::text
    WHERE person = $1 AND kind = $2 AND scope = $3 AND value = $4 AND valid_until IS NULL
"""
NEW = "INSERT INTO person (localpart) VALUES ($1) ON CONFLICT (localpart) DO NOTHING RETURNING id"
MERGE = "UPDATE person SET merged_into = $2, merged_by = $3 WHERE id = ANY($1) OR merged_into = ANY($1)"
# Of two that are open for one thing, the newer stays.
SHADOWED = """
    UPDATE identity AS old SET valid_until = greatest($3, old.valid_from), ended_by = $4 FROM identity AS new
    WHERE old.person = ANY($1) AND new.person = ANY($1) AND old.valid_until IS NULL AND new.valid_until IS NULL
      AND old.kind = new.kind AND old.scope = new.scope AND old.person <> new.person
      AND (old.valid_from, old.person = $2) < (new.valid_from, new.person = $2)
"""
MOVE = "UPDATE identity SET person = $2 WHERE person = ANY($1)"
ENDED = (
    "SELECT kind, value FROM identity WHERE ended_by = $1 AND person = $2 AND kind IN ('wa_id', 'user_id') AND $3 = ANY(told_to)"
)
# The last number that somebody had.
NUMBER = "SELECT value FROM identity WHERE person = $1 AND kind = 'wa_id' ORDER BY valid_until DESC NULLS FIRST LIMIT 1"
# A late message may say what is known to be over.
HAD = """
    SELECT EXISTS (SELECT FROM identity WHERE person = $1 AND kind = $2 AND scope = $3 AND value = $4 AND valid_until >= $5)
"""
MERGED = "SELECT id FROM person WHERE merged_by = $1 AND merged_into = $2"
PERSON = "SELECT localpart, shown FROM person WHERE id = $1"
SHOWN = "UPDATE person SET shown = $2 WHERE id = $1"
CACHED = 20_000  # people held in memory
# Whoever has another id than the message says is somebody else, whom the number was before: ids outlive no number.
OTHER_ID = """
    SELECT DISTINCT person FROM identity
    WHERE person = ANY($1) AND kind = 'user_id' AND scope = ANY($2) AND value <> $3 AND valid_until IS NULL
"""
# With another number WhatsApp gives another id.
END_IDS = """
    UPDATE identity SET valid_until = greatest($2, valid_from), ended_by = $3
    WHERE person = $1 AND kind = 'user_id' AND value <> $4 AND valid_until IS NULL
"""
HELD_LATER = """
    SELECT EXISTS (SELECT FROM identity
                   WHERE person <> $1 AND kind = $2 AND value = $3 AND valid_until IS NULL AND valid_from > $4
                     AND told_to && $5)
"""
TAKEN = """
    SELECT DISTINCT person FROM identity
    WHERE ended_by = $1 AND person <> $2 AND kind = 'wa_id' AND $3 = ANY(told_to) ORDER BY person
"""
SKEW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody, by the names that are theirs now."""

    id: int
    localpart: str
    named: Named
    shown: str = ""  # the profile that the homeserver has of their ghost
    was: Named | None = None  # what the message at hand has changed: the number or id that was theirs before
    joined: tuple[int, ...] = ()  # who have proved to be the same by the message at hand
    instead_of: tuple[int, ...] = ()  # who had the number until the message at hand, and are possibly somebody else


class Persons:
    """Everybody whom a message has named."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._known: dict[tuple[str, Named], Person] = {}

    async def meet(self, number_id: str, named: Named, at: datetime | None, message_id: str) -> Person:
        """Who a message names, made when nobody was called so; what it says of them is kept. The same again changes nothing."""
        source, when = column(f"{number_id}|{message_id}"), _sane(at)
        present = when > datetime.now(UTC) - SKEW  # what is remembered is of now, and nothing for what was said long ago
        if present and (known := self._known.get((number_id, named))) is not None:
            return known
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(LOCK)
            ours = await connection.fetchval(OURS, number_id)
            person, changed = await self._one(connection, ours, named, when, source)
            met = await self._read(connection, person, number_id, source)
        if changed or len(self._known) >= CACHED:
            self._known.clear()
        if present and met.was is None and not met.joined and not met.instead_of:  # until that has been told, it is found again
            self._known[number_id, named] = met
        return met

    async def move(self, number_id: str, before: Named, after: Named, at: datetime | None, message_id: str) -> Person:
        """Somebody is called otherwise from now on: the same person, with whoever was met under the new names since."""
        source, when = column(f"{number_id}|{message_id}"), _sane(at)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(LOCK)
            ours = await connection.fetchval(OURS, number_id)
            found = await self._find(connection, ours, before, when)
            if found:
                person = min(who for _, who, _ in found)
                given = {kind: value for kind, _, value in _rows(number_id, before)}
                if after.wa_id and after.wa_id != before.wa_id:
                    await connection.execute(END_IDS, person, when, source, column(after.user_id))
                for kind, scope, value in _rows(number_id, after):
                    if kind in IDENTIFYING and given.get(kind) != value:
                        await connection.execute(END, person, kind, scope, when, source, value)
                # Who had the new number long before is somebody else, and has lost it.
                same = {
                    who
                    for kind, who, since in await self._find(connection, ours, after, when)
                    if kind != "wa_id" or since > when - SKEW
                }
                person = await self._join(connection, person, same, when, source)
                await self._settle(connection, person, ours, after, when, source)
            else:
                person, _ = await self._one(connection, ours, after, when, source)
            met = await self._read(connection, person, number_id, source)
        self._known.clear()
        return met

    async def find(self, number_id: str, named: Named) -> Person | None:
        """Somebody who has been met, without remembering anything; None for a stranger."""
        if (known := self._known.get((number_id, named))) is not None:
            return known
        async with self._pool.acquire() as connection:
            found = await self._find(connection, await connection.fetchval(OURS, number_id), named, datetime.now(UTC))
            return await self._read(connection, found[0][1], number_id, "") if found else None

    async def ever(self, person: Person) -> list[str]:
        """Every number and id that was ever theirs."""
        return [row["value"] for row in await self._pool.fetch(EVER, person.id)]

    async def keep_shown(self, person: Person, shown: str) -> None:
        """Remember the profile that the homeserver has of their ghost."""
        await self._pool.execute(SHOWN, person.id, column(shown))
        for key, known in list(self._known.items()):
            if known.id == person.id:
                self._known[key] = replace(known, shown=shown)

    async def _find(self, connection: Any, ours: list[str], named: Named, at: datetime) -> list[tuple[str, int, datetime]]:
        """(kind, person, since) of whoever was called so at that time, by the strongest name first."""
        names = [(kind, value) for kind, _, value in _rows(ours[0], named) if kind in IDENTIFYING]
        rows = await connection.fetch(FIND, [kind for kind, _ in names], [value for _, value in names], at, ours)
        past = {(row["kind"], row["value"]) for row in rows if row["past"]}  # then whoever has it now is not meant
        rows = [row for row in rows if row["past"] or (row["kind"], row["value"]) not in past]
        return sorted(
            ((row["kind"], row["person"], row["valid_from"]) for row in rows), key=lambda row: IDENTIFYING.index(row[0])
        )

    async def _one(self, connection: Any, ours: list[str], named: Named, at: datetime, source: str) -> tuple[int, bool]:
        """The person whom all of these names are of, and whether that changed anything."""
        found = await self._find(connection, ours, named, at)
        by_number = {who for _, who, _ in found} - {who for kind, who, _ in found if kind != "wa_id"}
        if named.user_id and by_number:
            rows = await connection.fetch(OTHER_ID, list(by_number), ours, column(named.user_id))
            others = {row["person"] for row in rows}
            found = [row for row in found if row[1] not in others]
        if not found:
            person, people = await self._new(connection, named), 1
        else:
            person, people = found[0][1], len({who for _, who, _ in found})
        if people > 1:
            # Two who have had numbers of their own are two: one has taken over the other's.
            numbers = {who: await connection.fetchval(NUMBER, who) for _, who, _ in found}
            same = {who for who, number in numbers.items() if None in (number, numbers[person])}
            person = await self._join(connection, person, same, at, source)
        changed = await self._settle(connection, person, ours, named, at, source)
        return person, changed or people > 1

    async def _new(self, connection: Any, named: Named) -> int:
        """A person with a ghost of their own: a number that was somebody else's before gets a new one."""
        base, number = localpart(named.address or "onbekend"), 1
        while True:
            made = await connection.fetchval(NEW, base if number == 1 else f"{base}=-{number}")
            if made is not None:
                return int(made)
            number += 1

    async def _join(self, connection: Any, person: int, same: set[int], at: datetime, source: str) -> int:
        """All of these are one person: the oldest goes on."""
        oldest = min(same | {person})
        others = sorted((same | {person}) - {oldest})
        if others:
            await connection.execute(SHADOWED, [oldest, *others], oldest, at, source)
            await connection.execute(MOVE, others, oldest)
            await connection.execute(MERGE, others, oldest, source)
        return oldest

    async def _settle(self, connection: Any, person: int, ours: list[str], named: Named, at: datetime, source: str) -> bool:
        """Note what a person is called, and return whether that is new; a late message changes nothing of now."""
        present = {(row["kind"], row["scope"]): row for row in await connection.fetch(OPEN, person)}
        changed = False
        for kind, scope, value in _rows(ours[0], named):
            now = present.get((kind, scope))
            if now is not None and now["value"] == value:
                if ours[0] not in now["told_to"]:
                    await connection.execute(TOLD_TO, person, kind, scope, value, ours[0])
                    changed = True
                continue
            if now is not None and at < now["valid_from"]:
                continue
            if now is not None:
                await connection.execute(END, person, kind, scope, at, source, value)
            elif await connection.fetchval(HAD, person, kind, scope, value, at):
                continue
            if kind in IDENTIFYING:
                if await connection.fetchval(HELD_LATER, person, kind, value, at, ours):
                    continue
                await connection.execute(TAKE, person, kind, value, at, source, ours)
            await connection.execute(ADD, person, kind, scope, value, at, source, ours[0])
            changed = True
        return changed

    async def _read(self, connection: Any, person: int, number_id: str, source: str) -> Person:
        row = await connection.fetchrow(PERSON, person)
        rows = await connection.fetch(OPEN, person)
        # Nobody's number is shown to whom they hid it from; their own name is theirs for everybody.
        present = {
            name["kind"]: name["value"]
            for name in rows
            if name["scope"] in ("", number_id) and (name["kind"] == "name" or number_id in name["told_to"])
        }
        ended = (
            {name["kind"]: name["value"] for name in await connection.fetch(ENDED, source, person, number_id)} if source else {}
        )
        joined = [other["id"] for other in await connection.fetch(MERGED, source, person)] if source else []
        was = Named(**ended) if any(present.get(kind) != value for kind, value in ended.items()) else None
        taken = [other["person"] for other in await connection.fetch(TAKEN, source, person, number_id)] if source else []
        return Person(person, row["localpart"], Named(**present), row["shown"], was, tuple(joined), tuple(taken))


def _rows(number_id: str, named: Named) -> Iterator[tuple[str, str, str]]:
    """(kind, scope, value) of everything that a message calls somebody."""
    for kind in (*IDENTIFYING, "username", "name"):
        value = column(getattr(named, kind))
        if value:
            yield kind, number_id if kind == "user_id" else "", value


def _sane(at: datetime | None) -> datetime:
    """When it was said; never in the time to come, where it would stand in the way of all that is said until then."""
    now = datetime.now(UTC)
    return min(at, now) if at is not None else now
