"""What bridges tell the archive beside messages: times not covered, alarms, timers by which messages disappear.

Kept up to date by whoever projects: it sees every record once it can be read, in any order, and again on a rebuild.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import timedelta

from archiver.db import Connection
from archiver.ledger import alarm
from archiver.ledger.canonical import column, usable
from archiver.ledger.claims import ALARM, BRIDGE_STATE, CLAIMED_SOURCE, INTERRUPTION
from archiver.ledger.record import COLUMNS, Record, moment, unseal
from archiver.ledger.sealing import Vault
from archiver.reading import conversations, identity, interruption
from archiver.reading.bridges import bridges as find_bridges
from archiver.reading.origin import TIMER, timer

TABLES = ("identity", "interruption", "bridge_alarm")  # made again by a rebuild
DISAPPEARING = "disappearing-messages"  # the subject is the room
FROM_BRIDGE = "bridge:"  # before the bridge's own name for what is the matter

KEEP_ALARM = """
    INSERT INTO bridge_alarm AS known (org, told_by, alarm_id, kind, subject, cleared, told_at, room_id, event_id)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    ON CONFLICT (org, told_by, alarm_id) DO UPDATE SET
        kind = excluded.kind, subject = excluded.subject, cleared = excluded.cleared, told_at = excluded.told_at,
        room_id = excluded.room_id, event_id = excluded.event_id
    WHERE (excluded.told_at, excluded.event_id) > (known.told_at, known.event_id)
    RETURNING kind
"""
LAST_TIMER = f"""
    SELECT DISTINCT ON (room_id) {COLUMNS} FROM record
    WHERE org = $1 AND type = '{TIMER}' AND state_key = '' AND room_id = ANY($2) ORDER BY room_id, depth DESC, event_id
"""  # noqa: S608 - constants only
BRIDGED = """
    SELECT DISTINCT room_id, sender FROM record
    WHERE org = $1 AND type = ANY($2) AND state_key IS NOT NULL AND room_id = ANY($3)
"""


async def keep(tx: Connection, vault: Vault, records: Sequence[Record]) -> None:
    """Take in what these records tell, in the caller's transaction."""
    bridges = await find_bridges(tx, vault.org)
    await identity.keep(tx, vault, records, bridges)
    await conversations.keep(tx, vault, records, bridges)
    told = [
        record for record in records
        if record.state_key is None and CLAIMED_SOURCE not in record.doubts and record.sender in bridges
    ]  # fmt: skip
    await interruption.keep(tx, vault.org, [record for record in told if INTERRUPTION in record.content])
    for record in told:
        await _keep_alarm(tx, vault.org, record)
    timed = sorted({record.room_id for record in records if record.type == TIMER or record.type in BRIDGE_STATE})
    if timed:
        rows = await tx.fetch(BRIDGED, vault.org, list(BRIDGE_STATE), timed)
        await _keep_timers(tx, vault, {row["room_id"] for row in rows if row["sender"] in bridges})


async def _keep_alarm(tx: Connection, org: int, record: Record) -> None:
    told = record.content.get(ALARM)
    if not isinstance(told, dict) or not usable(told.get("id")):
        return
    kind, about, count = told.get("kind"), told.get("subject"), told.get("count")
    kind = kind if isinstance(kind, str) and re.fullmatch(r"[a-z][a-z0-9-]{0,40}", kind) else "other"
    about, cleared = column(about, 255) if isinstance(about, str) else "", told.get("cleared") is True
    place = org, record.sender, told["id"]
    was = await tx.fetchval("SELECT kind FROM bridge_alarm WHERE org = $1 AND told_by = $2 AND alarm_id = $3", *place)
    row = *place, kind, about, cleared, record.sent_at, record.room_id, record.event_id
    if await tx.fetchval(KEEP_ALARM, *row) is None:
        return  # an earlier word than the one that is known
    subject = f"{record.sender} {told['id']}"
    if cleared or was not in (None, kind):
        await alarm.clear(tx, org, subject, FROM_BRIDGE + kind, FROM_BRIDGE + (was or kind))
    if not cleared:
        times = f", {count} times" if isinstance(count, int) and not isinstance(count, bool) else ""
        since = f", since {moment(told['since']):%Y-%m-%d %H:%M %Z}" if isinstance(told.get("since"), int) else ""
        await alarm.sound(tx, org, FROM_BRIDGE + kind, subject, f"{about or 'the bridge says no more'}{times}{since}")


async def _keep_timers(tx: Connection, vault: Vault, rooms: Iterable[str]) -> None:
    """An alarm while messages disappear from a conversation: the archive keeps them, people's phones do not."""
    for record in await unseal(tx, vault, await tx.fetch(LAST_TIMER, vault.org, sorted(rooms))):
        seconds = timer(record.content)
        if seconds is None:
            await alarm.clear(tx, vault.org, record.room_id, DISAPPEARING)
        else:
            after = timedelta(seconds=seconds)
            told = f"messages disappear from it {after} after they are sent, since {record.sent_at:%Y-%m-%d %H:%M %Z}"
            await alarm.sound(tx, vault.org, DISAPPEARING, record.room_id, f"{told}, set by {record.sender}")
