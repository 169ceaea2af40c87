"""The reading view kept up to date: each row of `message` worked out wholly from the ledger, in any order, at any time."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from archiver.db import UNHURRIED, Connection, Pool, tenant_tx
from archiver.ledger.record import COLUMNS, Record, unseal
from archiver.ledger.sealing import Vault
from archiver.reading import reports
from archiver.reading.facts import facts
from archiver.reading.message import Message, compose, is_message
from archiver.reading.progress import again_if_others_are_believed, begin, went_on
from archiver.reading.words import BlindIndex
from archiver.stopping import pause

log = logging.getLogger(__name__)

BATCH = 500
FEW = 50  # records that the view shows at once, whatever else is going on: what people have just said
REST = 3.0  # as long as history is being fetched, capture goes first: the view rests so many times as long as it works
FETCHING = "SELECT EXISTS (SELECT FROM stretch WHERE org = $1 AND failed IS NULL AND due_at <= now())"
# One projector per organisation at a time: another could read before a deletion comes and write after who read it, and its row
# would stay. What comes while this one works is `unread` again afterwards, and makes the row anew.
LOCK = "hashtextextended('griffier view|' || $1::integer, 0)"
TRY_LOCK = f"SELECT pg_try_advisory_xact_lock({LOCK})"
WAIT_LOCK = f"SELECT pg_advisory_xact_lock({LOCK})"
# Taken out in the transaction that writes the rows: a crash puts them back. What people say now goes before what is made anew.
TAKE = f"""
    DELETE FROM unread WHERE (org, room_id, event_id) IN (
        SELECT org, room_id, event_id FROM unread WHERE org = $1 ORDER BY late LIMIT {BATCH} FOR UPDATE SKIP LOCKED)
    RETURNING room_id, event_id, late
"""  # noqa: S608 - a constant only
# Each record is looked up by its key: left to itself, the planner reads all of a young archive for each batch.
BY_ID = f"""
    SELECT {COLUMNS} FROM unnest($2::text[], $3::text[]) AS wanted (room, event),
           LATERAL (SELECT * FROM record WHERE org = $1 AND room_id = room AND event_id = event OFFSET 0) AS record
"""  # noqa: S608
BY_RELATION = f"""
    SELECT {COLUMNS} FROM record
    WHERE org = $1 AND (room_id, relates_to) IN (SELECT * FROM unnest($2::text[], $3::text[]))
      AND rel_type IN ('m.replace', 'm.annotation', 'm.redaction', 'm.reference')
"""  # noqa: S608
SAVE = """
    INSERT INTO message (org, room_id, event_id, sender, kind, sent_at, depth, network, edits, reactions, reply_to, thread,
                         deleted_at, deleted_by, pruned, unreadable, words, facts)
    SELECT $1, room_id, event_id, sender, kind, sent_at, depth, network, edits, reactions, reply_to, thread,
           deleted_at, deleted_by, pruned, unreadable, words::tsvector, facts::tsvector
    FROM unnest($2::composed[])
    ON CONFLICT (org, room_id, event_id) DO UPDATE SET
        sender = excluded.sender, kind = excluded.kind, sent_at = excluded.sent_at, depth = excluded.depth,
        network = excluded.network, edits = excluded.edits, reactions = excluded.reactions, reply_to = excluded.reply_to,
        thread = excluded.thread, deleted_at = excluded.deleted_at, deleted_by = excluded.deleted_by, pruned = excluded.pruned,
        unreadable = excluded.unreadable, words = excluded.words, facts = excluded.facts, sequence = excluded.sequence
"""
FORGET_NETWORKS = "UPDATE conversation SET network = 'matrix', official = NULL WHERE org = $1 AND network <> 'matrix'"
REMOVE = "DELETE FROM message WHERE org = $1 AND (room_id, event_id) IN (SELECT * FROM unnest($2::text[], $3::text[]))"

Ref = tuple[str, str]
"""(room id, event id)."""


async def fetch(tx: Connection, vault: Vault, refs: Iterable[Ref], statement: str = BY_ID) -> list[Record]:
    """The records with these ids, opened."""
    pairs = sorted(set(refs))
    if not pairs:
        return []
    rows = await tx.fetch(statement, vault.org, [room for room, _ in pairs], [event for _, event in pairs])
    return await unseal(tx, vault, rows)


async def messages(tx: Connection, vault: Vault, roots: Iterable[Record]) -> list[Message]:
    """The messages of these root records, composed with all that relates to them."""
    roots = list(roots)
    direct = await fetch(tx, vault, [(record.room_id, record.event_id) for record in roots], BY_RELATION)
    companions = [(record.room_id, record.event_id) for record in direct if record.rel_type != "m.redaction"]
    second = await fetch(tx, vault, companions, BY_RELATION)
    by_target: dict[Ref, list[Record]] = defaultdict(list)
    for record in [*direct, *second]:
        by_target[record.room_id, record.relates_to or ""].append(record)
    composed = []
    for root in roots:
        related = by_target[root.room_id, root.event_id]
        beyond = [other for record in related for other in by_target[root.room_id, record.event_id]]
        composed.append(compose(root, [*related, *beyond]))
    return composed


async def project_batch(tx: Connection, vault: Vault, index: BlindIndex) -> int | None:
    """Bring the messages of the next records up to date; return how many records were taken: None if another is at it."""
    if not await tx.fetchval(TRY_LOCK, vault.org):
        return None
    await again_if_others_are_believed(tx, vault.org)
    rows = await tx.fetch(TAKE, vault.org)
    await went_on(tx, vault.org, sum(row["late"] for row in rows), last=len(rows) < BATCH)
    taken = {(row["room_id"], row["event_id"]) for row in rows}
    if not taken:
        return 0
    changed = await fetch(tx, vault, taken)
    await reports.keep(tx, vault, changed)
    roots = {(record.room_id, record.event_id): record for record in changed if is_message(record)}
    # Two steps up: the deletion of an edit or of a reaction changes the message that it belongs to.
    targets = {(record.room_id, record.relates_to) for record in changed if record.relates_to}
    for _ in range(2):
        found = await fetch(tx, vault, {ref for ref in targets if ref not in roots})
        roots |= {(record.room_id, record.event_id): record for record in found if is_message(record)}
        targets = {(record.room_id, record.relates_to) for record in found if not is_message(record) and record.relates_to}
    ready = await messages(tx, vault, roots.values())
    if ready:
        await tx.execute(SAVE, vault.org, [_row(index, message) for message in ready])
    # What was taken for a message while it could not be read may turn out to be an edit or a reaction.
    companions = [(record.room_id, record.event_id) for record in changed if not is_message(record) and record.state_key is None]
    if companions:
        await tx.execute(REMOVE, vault.org, [room for room, _ in companions], [event for _, event in companions])
    return len(taken)


def _row(index: BlindIndex, message: Message) -> tuple[Any, ...]:
    record, deletion = message.record, message.deletion
    return (
        record.room_id, record.event_id, record.sender, message.kind, record.sent_at, record.depth, message.network,
        max(len(message.versions) - 1, 0), sum(not reaction.deleted for reaction in message.reactions), message.reply_to,
        message.thread, deletion.at if deletion else None, deletion.by if deletion else None, message.pruned,
        message.unreadable, index.vector(message.texts()), facts(message, index),
    )  # fmt: skip


async def run(pool: Pool, vault: Vault, stop: asyncio.Event) -> None:
    """Project until told to stop."""
    index = BlindIndex(vault.search_key)
    clock = asyncio.get_running_loop().time
    while not stop.is_set():
        began = clock()
        async with tenant_tx(pool, vault.org) as tx:
            taken = await project_batch(tx, vault, index)
            fetching = (taken or 0) > FEW and await tx.fetchval(FETCHING, vault.org)
        rest = 0.2 if not taken else (clock() - began) * REST if fetching else 0
        if rest:
            await pause(stop, rest)


async def rebuild(pool: Pool, vault: Vault, progress: Callable[[int, int], None]) -> int:
    """Make the whole reading view again from the ledger; `progress` is told (done, total). Returns the number of records."""
    index = BlindIndex(vault.search_key)
    async with tenant_tx(pool, vault.org) as tx:
        await tx.execute(WAIT_LOCK, vault.org, timeout=UNHURRIED)
        for made in ("message", *reports.TABLES):
            await tx.execute(f"DELETE FROM {made} WHERE org = $1", vault.org, timeout=UNHURRIED)  # noqa: S608 - constants only
        await tx.execute(FORGET_NETWORKS, vault.org, timeout=UNHURRIED)
        total = await begin(tx, vault.org)
    done = 0
    while True:
        async with tenant_tx(pool, vault.org) as tx:
            await tx.execute(WAIT_LOCK, vault.org)  # nothing left while another is at it is not the end
            taken = await project_batch(tx, vault, index)
        if not taken:
            return int(total)
        done += taken
        progress(done, total)
