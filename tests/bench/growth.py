"""What a message costs in a large archive against a small one."""

from __future__ import annotations

import os
from pathlib import Path

from tests.bench import table
from tests.bench.archive import Archive, archive
from tests.bench.events import ROOMS, SERVER, made
from tests.bench.ledger import ingest

SMALL, MEASURED = 10_000, 10_000
LARGE = int(os.environ.get("GRIFFIER_BENCH_LARGE", "1000000"))
# Rows with everything that ingest reads or that its indexes hold; of what is sealed, a part: disk is not what is measured.
RECORDS = """
    INSERT INTO record (org, room_id, event_id, type, sender, sent_at, depth, id_matches, content_matches, signed_by, unsigned_by,
                        session_id, sealed_event, commitment, sealed_payload, payload_type, message_index)
    SELECT 1, '!zaal' || lpad((n % $2)::text, 3, '0') || ':' || $3,
           '$' || translate(encode(sha256(n::text::bytea), 'base64'), '+/=', '-_'),
           'm.room.encrypted', '@ambtenaar' || n % 50 || ':' || $3, timestamptz '2024-01-01' + n * interval '10 seconds', n / $2,
           true, true, ARRAY[$3], '{}', lpad((n / 2000)::text, 43, 'x'), sha256(n::text::bytea) || sha256('x'), sha256('y'),
           sha256('z'), 'm.room.message', n % 100
    FROM generate_series(1, $1::integer) AS n
"""
EDGES = """
    INSERT INTO edge (org, room_id, event_id, prev_event_id)
    SELECT 1, room_id, event_id, '$' || translate(encode(sha256(event_id::bytea), 'base64'), '+/=', '-_') FROM record
"""


async def run(folder: Path) -> None:
    """Print the ratio."""
    async with archive(folder) as kept:
        await fill(kept, SMALL)
        small = await ingest(kept, list(made(MEASURED)), {})
    async with archive(folder / "large") as kept:
        await fill(kept, LARGE)
        large = await ingest(kept, list(made(MEASURED)), {})
    table.title(f"Cost of a message in the ledger as the archive grows, {MEASURED:,} events each")
    table.rate(f"baseline: an archive of {SMALL:,} messages", small)
    table.rate(f"an archive of {LARGE:,} messages", large, small)
    table.amount("cost per message against the baseline", small / large, "×", 1.2)


async def fill(kept: Archive, count: int) -> None:
    """An archive of `count` messages."""
    async with kept.pool.acquire() as connection:
        await connection.execute(RECORDS, count, ROOMS, SERVER, timeout=600)
        await connection.execute(EDGES, timeout=600)
        await connection.execute("VACUUM ANALYZE record, edge", timeout=600)
        await connection.execute("CHECKPOINT", timeout=600)
