"""The ledger without network: ids, hashes, sealing, edges, then the reading view with its blind index, against bare COPY."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections.abc import Sequence
from pathlib import Path

from archiver.capture.commit import FEW
from archiver.capture.service import GARBAGE
from archiver.db import tenant_tx
from archiver.ledger.event import KeyRing, VerifyKey, examine, public_key
from archiver.ledger.record import Arrival, append
from archiver.reading.project import project_batch
from archiver.reading.words import BlindIndex
from tests.bench import table
from tests.bench.archive import Archive, archive
from tests.bench.events import KEY_ID, RULES, SERVER, Made, made, verifying

EVENTS, BATCH = 20_000, 500


async def run(folder: Path) -> None:
    """Print the ratios."""
    events = list(made(EVENTS))
    gc.freeze()  # as capture does; and what the measurement itself holds is no part of what is measured
    gc.set_threshold(GARBAGE)
    table.title(f"Ledger without network: {EVENTS:,} encrypted events with their payloads, against COPY of the same bytes")
    async with archive(folder) as kept:
        bare = await copy(kept, events, "", len(events))
        table.rate("baseline: COPY of the same bytes, no index, no check", bare)
        keyed = await copy(kept, events, ", PRIMARY KEY (room_id, event_id)", BATCH)
        table.rate(f"for comparison: the same with the ledger's key, in transactions of {BATCH}", keyed, bare)
        ledger = await ingest(kept, events, {})
        table.rate("ledger: ids, hashes, sealing, edges", ledger, bare, 0.2)
        table.rate("  against COPY with the ledger's key", ledger, keyed)
        reading = await index(kept)
        table.rate("reading view with the blind index, by itself", reading, bare)
        table.rate("both, one after the other", 1 / (1 / ledger + 1 / reading), bare, 0.2)
    async with archive(folder / "signed") as kept:
        signed = await ingest(kept, events, {(SERVER, KEY_ID): VerifyKey(public_key(verifying()), 2**53)})
        table.rate("ledger with every signature checked too", signed, bare)


async def copy(kept: Archive, events: Sequence[Made], key: str, batch: int) -> float:
    """What Postgres can take in: rows a second."""
    rows = [(each.room_id, each.event["event_id"], json.dumps(each.event).encode(), each.payload) for each in events]
    async with kept.pool.acquire() as connection:
        await connection.execute(f"CREATE TABLE bare (room_id text, event_id text, event bytea, payload bytea{key})")
        began = time.perf_counter()
        for start in range(0, len(rows), batch):
            await connection.copy_records_to_table("bare", records=rows[start : start + batch])
        seconds = time.perf_counter() - began
        await connection.execute("DROP TABLE bare")
        return len(rows) / seconds


async def ingest(kept: Archive, events: Sequence[Made], keys: KeyRing) -> float:
    """Events a second into the ledger; the next batch is checked while this one is written, as capture does."""
    began = time.perf_counter()
    batches = [events[start : start + BATCH] for start in range(0, len(events), BATCH)]
    ahead = asyncio.create_task(check(batches[0], keys))
    for following in [*batches[1:], []]:
        arrivals = await ahead
        ahead = asyncio.create_task(check(following, keys))
        async with tenant_tx(kept.pool, kept.vault.org) as tx:
            await append(tx, kept.vault, arrivals)
    await ahead
    return len(events) / (time.perf_counter() - began)


async def check(events: Sequence[Made], keys: KeyRing) -> list[Arrival]:
    """As capture checks them, but for the decryption."""
    arrivals = []
    for index, each in enumerate(events):
        if index % FEW == 0:
            await asyncio.sleep(0)
        seen = examine(each.event, RULES, keys)
        assert seen.checks.id_matches
        assert seen.checks.content_matches
        assert not keys or seen.checks.signed_by
        arrival = Arrival(
            each.room_id, seen.event_id, each.event, RULES, seen.checks, each.payload, message_index=index, written=seen.written
        )
        arrivals.append(arrival)
    return arrivals


async def index(kept: Archive) -> float:
    """Records a second into the reading view."""
    blind = BlindIndex(kept.vault.search_key)
    began, done = time.perf_counter(), 0
    while True:
        async with tenant_tx(kept.pool, kept.vault.org) as tx:
            taken = await project_batch(tx, kept.vault, blind)
        if not taken:
            return done / (time.perf_counter() - began)
        done += taken
