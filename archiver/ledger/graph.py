"""The event graph: each event commits to those before it, so what is missing shows by itself (DESIGN D6).

An edge to an event that is no record is a gap. Gaps are noted in the transaction that adds the edge, and closed in the one that
adds the event; nothing here trusts what a server says of its own completeness.
"""

from __future__ import annotations

from collections.abc import Sequence

from archiver.db import Connection
from archiver.ledger.canonical import JsonObject, column

# Why an event that others point at can't be had.
NOT_VISIBLE = "not-visible"  # of before our time in the room, and not to be shown to us: where the archive's knowledge begins
NOT_HELD = "not-held"  # the homeserver says it has no such event
WITHHELD = "withheld"  # the homeserver has it, and of a time when we were there, and does not give it

ADD_EDGES = """
    INSERT INTO edge (org, room_id, event_id, prev_event_id)
    SELECT $1, e.* FROM unnest($2::text[], $3::text[], $4::text[]) AS e ON CONFLICT DO NOTHING
"""
NOTE_GAPS = """
    INSERT INTO gap (org, room_id, event_id)
    SELECT DISTINCT $1::integer, e.room_id, e.prev FROM unnest($2::text[], $3::text[]) AS e (room_id, prev)
    WHERE NOT EXISTS (SELECT FROM record WHERE org = $1 AND record.room_id = e.room_id AND record.event_id = e.prev OFFSET 0)
    ON CONFLICT DO NOTHING
"""  # OFFSET keeps the planner from reading the whole ledger into a hash: each event is looked up by its key
GAPS_AMONG = """
    SELECT g.room_id, g.event_id FROM unnest($2::text[], $3::text[]) AS e (room_id, event_id),
           LATERAL (SELECT * FROM gap WHERE org = $1 AND gap.room_id = e.room_id AND gap.event_id = e.event_id OFFSET 0) AS g
    WHERE g.state <> 'filled'
"""
# A gap that history closed before anyone looked for it was never more than a page that had yet to come.
FORGET_GAPS = """
    DELETE FROM gap WHERE org = $1 AND attempts = 0 AND (room_id, event_id) IN (SELECT * FROM unnest($2::text[], $3::text[]))
"""
FILL_GAPS = """
    UPDATE gap SET state = 'filled', settled_at = now()
    WHERE org = $1 AND state <> 'filled' AND (room_id, event_id) IN (SELECT * FROM unnest($2::text[], $3::text[]))
"""


def previous(event: JsonObject) -> list[str]:
    """The ids in `prev_events`, whichever form the room version writes them in."""
    found = event.get("prev_events")
    ids = [ref[0] if isinstance(ref, list) and ref else ref for ref in found] if isinstance(found, list) else []
    return [column(ref) for ref in ids if isinstance(ref, str)]


async def link(tx: Connection, org: int, added: Sequence[tuple[str, str, JsonObject]]) -> None:
    """Add the edges of the (room id, event id, event) just appended, note what they lack and close what they fill."""
    if not added:
        return
    edges = [(room_id, event_id, prev) for room_id, event_id, event in added for prev in previous(event)]
    places = {(room_id, event_id) for room_id, event_id, _ in added}
    gaps = [tuple(row) for row in await tx.fetch(GAPS_AMONG, org, *zip(*places, strict=True))]
    if gaps:
        await tx.execute(FORGET_GAPS, org, *zip(*gaps, strict=True))
        await tx.execute(FILL_GAPS, org, *zip(*gaps, strict=True))
    if edges:
        await tx.execute(ADD_EDGES, org, *zip(*edges, strict=True))
    outside = {(room_id, prev) for room_id, _, prev in edges if (room_id, prev) not in places}
    if outside:
        await tx.execute(NOTE_GAPS, org, *zip(*outside, strict=True))
