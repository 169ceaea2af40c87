"""The durable inbox and outbox: nothing is acknowledged before it is committed, nothing is carried over twice (promises 1, 2)."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import asyncpg

from bridge.relay import failed
from bridge.relay.lanes import GiveUp, Lanes, SetAside, Word, Work
from bridge.relay.queues import HISTORY, INBOX, OUTBOX, Queue, column
from bridge.sealing import Seal
from bridge.stopping import stopped

__all__ = ["INBOX", "OUTBOX", "Pace", "Relay", "SetAside", "column"]

log = logging.getLogger(__name__)

ADD_IN = """
    INSERT INTO inbox (dedupe, conversation, sealed)
    SELECT dedupe, conversation, sealed FROM unnest($1::text[], $2::text[], $3::bytea[])
           WITH ORDINALITY AS given (dedupe, conversation, sealed, place) ORDER BY place
    ON CONFLICT (dedupe) DO NOTHING RETURNING conversation
"""
ADD_OUT = """
    INSERT INTO outbox (event_id, room_id, sealed)
    SELECT event_id, room_id, sealed FROM unnest($1::text[], $2::text[], $3::bytea[])
           WITH ORDINALITY AS given (event_id, room_id, sealed, place) ORDER BY place
    ON CONFLICT (event_id) DO NOTHING RETURNING lane
"""
REJECT = "INSERT INTO rejected (reason, sealed, digest, signers) VALUES ($1, $2, $3, $4) ON CONFLICT (digest) DO NOTHING"
# Whoever waits beside its conversation for this message may go on. So may, for a week, what was told of because it did not come:
# the notice stood in its place, and it now comes after that.
CARRY = """
    WITH carry AS (
        INSERT INTO carried (number_id, message_id, room_id, event_id, part, parts) VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT DO NOTHING
    ), into_matrix AS (
        UPDATE inbox SET due_at = now() WHERE state = 'aside' AND awaits IN ($2, $4) RETURNING conversation
    ), into_whatsapp AS (
        UPDATE outbox SET due_at = now() WHERE state = 'aside' AND awaits IN ($2, $4) RETURNING lane
    ), after_all AS (
        UPDATE inbox SET state = 'aside', due_at = now(), attempts = 0, waits_since = NULL, finished_at = NULL, problem = NULL
        WHERE state = 'kept' AND awaits IN ($2, $4) AND sealed IS NOT NULL AND finished_at > now() - interval '7 days'
        RETURNING conversation, split_part(dedupe, '|', 1) AS kind, split_part(dedupe, '|', 2) AS number_id, dedupe
    ), notices AS (
        DELETE FROM carried USING after_all
        WHERE carried.number_id = after_all.number_id
          AND carried.message_id = substr(dedupe, length(kind) + length(after_all.number_id) + 3)
    )
    SELECT 'inbox', conversation FROM into_matrix UNION ALL SELECT 'outbox', lane FROM into_whatsapp
    UNION ALL SELECT 'inbox', conversation FROM after_all
"""
# It goes on at once, and sees for itself that all of it went and what is still to be shown; what was given up needs no more.
TOLD = """
    WITH item AS (
        UPDATE outbox SET due_at = now(), verdict = NULL, state = CASE WHEN state = 'failed' THEN 'done' ELSE state END,
                          problem = CASE WHEN state = 'failed' THEN NULL ELSE problem END
        WHERE event_id = $1 AND (state IN ('waiting', 'aside') OR (state = 'failed' AND $2 = 1))
          AND EXISTS (SELECT FROM portal WHERE portal.room_id = outbox.room_id AND portal.number_id = $3) RETURNING room_id
    )
    SELECT portal.number_id, outbox.room_id, EXISTS (SELECT FROM item) AS goes_on
    FROM outbox JOIN portal USING (room_id) WHERE event_id = $1 AND portal.number_id = $3
"""
PARTS = """
    SELECT part, message_id FROM carried WHERE event_id = $1 AND NOT EXISTS (
        SELECT FROM delivery WHERE delivery.number_id = carried.number_id AND delivery.message_id = carried.message_id
                               AND delivery.state = 'failed')
"""
WHOLE = f"SELECT coalesce(count(*) >= max(parts), false) FROM ({PARTS.replace('part,', 'parts,')}) AS gone"  # noqa: S608
RELEASE = """
    UPDATE outbox SET state = 'waiting', attempts = 0, due_at = now(), waits_since = NULL, finished_at = NULL, problem = NULL
    WHERE room_id = $1 AND state = 'held' AND sealed IS NOT NULL RETURNING lane
"""
RETRY = """
    UPDATE {table} SET state = 'waiting', attempts = 0, due_at = now(), waits_since = NULL, finished_at = NULL, verdict = NULL
    WHERE id = ANY($1) AND state IN ('failed', 'kept') AND problem IS NOT NULL AND sealed IS NOT NULL RETURNING {lane}
"""
# What is only of use for a while. What a room was told counts on its day. That a message was deleted counts as long as it may yet
# go; that it failed, as long as it may be sent again; and how far it got is asked after when it is deleted (KEPT_DELIVERY).
KEPT_DELIVERY = timedelta(days=365)
OUTDATED = (
    "DELETE FROM key_taken WHERE taken_at < now() - interval '30 days'",
    "DELETE FROM noticed WHERE day < current_date - 7",
    """
    DELETE FROM withdrawn WHERE at < now() - interval '30 days' AND NOT EXISTS (
        SELECT FROM outbox WHERE outbox.event_id = withdrawn.event_id AND state <> 'done' AND sealed IS NOT NULL)
    """,
    f"""
    DELETE FROM delivery WHERE at < now() - interval '{KEPT_DELIVERY.days} days' AND NOT (state = 'failed' AND EXISTS (
        SELECT FROM carried JOIN outbox USING (event_id)
        WHERE carried.number_id = delivery.number_id AND carried.message_id = delivery.message_id AND outbox.sealed IS NOT NULL))
    """,  # noqa: S608 - our own constant
)
FORGET = """
    UPDATE {table} SET sealed = NULL WHERE id IN (
        SELECT id FROM {table} WHERE state = 'done' AND sealed IS NOT NULL AND finished_at < now() - make_interval(days => $1)
        ORDER BY finished_at LIMIT 1000)
"""

KEEP_REACTION = """
    INSERT INTO reaction (number_id, target, sender, event_id) VALUES ($1, $2, $3, $4)
    ON CONFLICT (number_id, target, sender) DO UPDATE SET event_id = excluded.event_id
"""
COUNTS = f"""
    SELECT (SELECT count(*) FROM inbox WHERE state IN ('waiting', 'aside')) AS in_waiting,
           (SELECT count(*) FROM inbox WHERE {failed.IN} AND state = 'kept') AS in_not_understood,
           (SELECT count(*) FROM inbox WHERE {failed.IN} AND state = 'failed') AS in_failed,
           (SELECT count(*) FROM outbox WHERE state IN ('waiting', 'aside')) AS out_waiting,
           (SELECT count(*) FROM outbox WHERE {failed.OUT}) AS out_failed,
           (SELECT count(*) FROM rejected WHERE {failed.REJECTED}) AS deliveries_rejected
"""  # noqa: S608 - our own constants


async def untold(event: dict[str, Any]) -> None:
    """Nobody to be told of what may arrive twice."""


def unheard(room_id: str) -> None:
    """Nobody who has to know where people talk."""


async def quiet(alarm: SetAside) -> None:
    """Nobody to be told of alarms: they are counted at /healthz all the same."""


# The database as a whole fails, and not this statement.
AWAY = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InsufficientResourcesError)


@dataclass(frozen=True, slots=True)
class Pace:
    """How much goes on at once, and how long things are waited for and kept."""

    at_once: int = 8  # conversations in each direction
    settle: float = 30.0  # seconds that WhatsApp's word is waited for, on a message that it may have
    silence: float = 3600.0  # seconds without a webhook for its number after which it is sent again all the same
    keep: int = 30  # days that what an item held is kept once it is done


class Relay:
    """The two queues in the bridge's database."""

    def __init__(self, pool: asyncpg.Pool, seal: Seal, pace: Pace = Pace()) -> None:
        self.alarm: Callable[[SetAside], Awaitable[None]] = quiet
        self.twice: Callable[[dict[str, Any]], Awaitable[None]] = untold
        self.stirred: Callable[[str], None] = unheard  # told of each room in which something was carried over
        self._heard: dict[str, float] = {}  # when each number's webhook was last heard, on the loop's clock
        self._pool = pool
        self._seal = seal
        self._pace = pace
        self._lanes: dict[str, Lanes] = {}

    async def take_in(self, changes: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
        """Commit changes of a webhook delivery; on return they are safe."""
        rows = [(column(key), column(conversation), self._close(change, key)) for key, conversation, change in changes]
        new = await self._pool.fetch(ADD_IN, *columns(rows))
        for _, conversation, _ in changes:
            self._heard[conversation.removeprefix(HISTORY).partition("|")[0]] = time.monotonic()
        self._put(INBOX, [row["conversation"] for row in new])

    async def reject(self, raw: bytes, reason: str, signers: Iterable[str]) -> None:
        """Keep a delivery that is signed but can't be taken as it is, with the accounts with whose secret it is signed."""
        digest = hashlib.sha256(raw).digest()
        await self._pool.execute(REJECT, reason, self._seal.close(raw, "rejected"), digest, sorted(signers))

    async def take_out(self, events: Sequence[dict[str, Any]]) -> None:
        """Commit Matrix events that must go to WhatsApp; on return they are safe."""
        rows = [(column(event["event_id"]), column(event["room_id"]), self._close(event, event["event_id"])) for event in events]
        new = await self._pool.fetch(ADD_OUT, *columns(rows))
        self._put(OUTBOX, [row["lane"] for row in new])

    async def carried(
        self, number_id: str, message_id: str, room_id: str, event_id: str, place: tuple[int, int] = (1, 1)
    ) -> None:
        """Remember which WhatsApp message is which Matrix event, or which part of how many of it.

        It has been carried over, which nobody else knows: while the database is away, this waits for it.
        """
        while True:
            try:
                woken = await self._pool.fetch(CARRY, number_id, column(message_id), column(room_id), column(event_id), *place)
                break
            except (*AWAY, asyncpg.InterfaceError, OSError) as error:
                log.warning("What was carried over can't be noted (%s); trying again.", type(error).__name__)
                await asyncio.sleep(0.3)
        self.stirred(room_id)
        for queue in (INBOX, OUTBOX):
            self._put(queue, [lane for table, lane in woken if table == queue.table])

    async def told(self, key: str, message_id: str, number_id: str) -> bool:
        """WhatsApp tells, in a status of this number, that it has the message of this event under this id.

        Returns whether the event is of this number: what is said of another's is not believed.

        When we were ended between giving it to WhatsApp and noting its answer, it is this that keeps it from being sent twice.
        `key`: the event's id; for one of several messages followed by which it is of how many: "$… 2/3".
        """
        event_id, place = _place(key)
        row = await self._pool.fetchrow(TOLD, column(event_id), place[1], column(number_id))
        if row is None:
            return False
        self._heard[row["number_id"]] = time.monotonic()
        await self.carried(row["number_id"], message_id, row["room_id"], event_id, place)
        if row["goes_on"]:
            self._put(OUTBOX, [row["room_id"]])
        return True

    async def event_of(self, number_id: str, message_id: str) -> str | None:
        """The Matrix event of a WhatsApp message."""
        query = "SELECT coalesce(shown, event_id) FROM carried WHERE number_id = $1 AND message_id = $2"
        found: str | None = await self._pool.fetchval(query, number_id, column(message_id))
        return found

    async def place_of(self, number_id: str, message_id: str) -> tuple[str, str] | None:
        """The room and the Matrix event of a WhatsApp message."""
        query = "SELECT room_id, event_id FROM carried WHERE number_id = $1 AND message_id = $2"
        row = await self._pool.fetchrow(query, number_id, column(message_id))
        return (row["room_id"], row["event_id"]) if row else None

    async def message_of(self, event_id: str) -> str | None:
        """The WhatsApp message of a Matrix event."""
        query = "SELECT message_id FROM carried WHERE event_id = $1 OR shown = $1 ORDER BY part, carried_at DESC LIMIT 1"
        found: str | None = await self._pool.fetchval(query, column(event_id))
        return found

    async def parts_of(self, event_id: str) -> dict[int, str]:
        """The WhatsApp messages that an event became, by their place; without those that WhatsApp could not deliver."""
        return {row["part"]: row["message_id"] for row in await self._pool.fetch(PARTS, column(event_id))}

    async def whole(self, event_id: str) -> bool:
        """Whether everything that an event became is at WhatsApp."""
        return bool(await self._pool.fetchval(WHOLE, column(event_id)))

    async def hold(self, event_id: str) -> None:
        """Keep an event that was sent and then refused, to be sent again when its room is released."""
        await self._pool.execute("UPDATE outbox SET state = 'held' WHERE event_id = $1 AND sealed IS NOT NULL", column(event_id))

    async def release(self, room_id: str) -> int:
        """Send what was held in a room, in its own order; returns how much that is."""
        rows = await self._pool.fetch(RELEASE, column(room_id))
        self._put(OUTBOX, [row["lane"] for row in rows])
        return len(rows)

    async def held(self, room_id: str) -> int:
        """How much is held in a room."""
        query = "SELECT count(*) FROM outbox WHERE room_id = $1 AND state = 'held'"
        return int(await self._pool.fetchval(query, column(room_id)))

    async def reaction_of(self, number_id: str, target: str, sender: str) -> str | None:
        """The event of somebody's present reaction to a WhatsApp message: there is at most one of each person."""
        query = "SELECT event_id FROM reaction WHERE number_id = $1 AND target = $2 AND sender = $3"
        found: str | None = await self._pool.fetchval(query, number_id, column(target), column(sender))
        return found

    async def keep_reaction(self, number_id: str, target: str, sender: str, event_id: str | None) -> None:
        """Remember somebody's present reaction; None when it was withdrawn."""
        place = number_id, column(target), column(sender)
        if event_id is None:
            await self._pool.execute("DELETE FROM reaction WHERE number_id = $1 AND target = $2 AND sender = $3", *place)
        else:
            await self._pool.execute(KEEP_REACTION, *place, event_id)

    async def counts(self) -> dict[str, int]:
        """How many things wait, could not be understood, or failed."""
        row = await self._pool.fetchrow(COUNTS)
        return dict(row) if row else {}

    async def retry(self, queue: Queue, ids: Sequence[int]) -> int:
        """Try items again that were set aside; returns how many. Raises when the database is away."""
        rows = await self._pool.fetch(RETRY.format(table=queue.table, lane=queue.lane), list(ids))
        self._put(queue, [row[0] for row in rows])
        return len(rows)

    async def run(self, queue: Queue, work: Work, give_up: GiveUp, stop: asyncio.Event) -> None:
        """Carry over, conversations side by side, until told to stop. `work` returns the state to leave: done or kept."""
        word = Word(self._pace.settle, self._pace.silence, self._since, self._perhaps_twice)
        lanes = Lanes(self._pool, self._seal, queue, self._pace.at_once, word, self._ring)
        self._lanes[queue.table] = lanes
        try:
            await lanes.run(work, give_up, stop)
        finally:
            del self._lanes[queue.table]

    async def forget(self, stop: asyncio.Event) -> None:
        """Delete what was in items that are done for `keep` days, and what is outdated, every hour, until told to stop."""
        while not stop.is_set():
            try:
                for statement in OUTDATED:
                    await self._pool.execute(statement)
                for queue in (INBOX, OUTBOX):
                    while not stop.is_set() and await self._forget(queue):
                        pass
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
                log.warning("What is done could not be forgotten (%s); trying again in an hour.", type(error).__name__)
            await stopped(stop, 3600)

    async def _forget(self, queue: Queue) -> bool:
        done: str = await self._pool.execute(FORGET.format(table=queue.table), self._pace.keep)
        return done != "UPDATE 0"

    def _put(self, queue: Queue, lanes: Iterable[str]) -> None:
        if (running := self._lanes.get(queue.table)) is not None:
            running.put(lanes)

    def _since(self, number: str) -> float:
        """Seconds since a number's webhook was last heard."""
        return time.monotonic() - self._heard.get(number, -math.inf)

    async def _perhaps_twice(self, event: dict[str, Any]) -> None:
        await self.twice(event)

    async def _ring(self, alarm: SetAside) -> None:
        await self.alarm(alarm)

    def _close(self, value: dict[str, Any], key: str) -> bytes:
        return self._seal.close(json.dumps(value).encode(), column(key))


def _place(key: str) -> tuple[str, tuple[int, int]]:
    """The event that a key names, and which of how many messages of it."""
    event_id, _, place = key.partition(" ")
    number, _, of = place.partition("/")
    if number.isdecimal() and of.isdecimal() and len(place) < 12 and 0 < int(number) <= int(of) < 32_768:
        return event_id, (int(number), int(of))
    return event_id, (1, 1)


def columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """Rows of three as the columns that `unnest` takes."""
    return [[row[place] for row in rows] for place in range(3)]
