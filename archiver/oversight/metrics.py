"""The state of the archive as numbers for a monitoring system, in the Prometheus text format: `/metrics`.

Never content, and no account but the archiver's own. Each number comes from a small table or a partial index, or is counted up to
a bound, so that a look costs as much in an archive of ten million records as in one of a hundred thousand.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from archiver.capture.standing import standings
from archiver.db import Connection
from archiver.oversight import rounds
from archiver.oversight.rounds import Summary
from archiver.reading.origin import LACKS
from archiver.settings import Settings

CONTENT_TYPE = CONTENT_TYPE_LATEST
EXACT = 10_000  # rows: up to here the size of a table is counted, beyond it is estimated
BOUND = 100_000  # rows: no further does any other count go
# Every count has an index that begins with the organisation. Left to itself the planner may read past millions of others' rows.
BOUNDS = "SET LOCAL statement_timeout = '5s'; SET LOCAL enable_seqscan = off"

# Row-level security keeps each count to the organisation.
RECORDS = "SELECT count(*) FROM (SELECT FROM record LIMIT $1) AS counted"
MESSAGES = "SELECT count(*) FROM (SELECT FROM message LIMIT $1) AS counted"
# Rows per page at the last vacuum or analyse, times the pages of now.
ESTIMATE = """
    SELECT (reltuples / nullif(relpages, 0) * (pg_relation_size(oid) / current_setting('block_size')::integer))::bigint
    FROM pg_class WHERE oid = $1::text::regclass AND reltuples >= 0
"""
UNREADABLE = f"""
    SELECT unreadable AS cause, count(*)
    FROM ((SELECT unreadable FROM record WHERE unreadable IS NOT NULL LIMIT {BOUND})
          UNION ALL (SELECT unreadable FROM message WHERE unreadable LIKE 'bridge:%' LIMIT {BOUND})) AS counted
    GROUP BY unreadable
"""  # noqa: S608 - constants only, as below
GAPS = f"""
    SELECT CASE WHEN cause = 'not-visible' THEN cause ELSE state END AS state, count(*)
    FROM (SELECT state, cause FROM gap WHERE state <> 'filled' LIMIT {BOUND}) AS counted GROUP BY 1
"""  # noqa: S608
STRETCHES = "SELECT CASE WHEN failed IS NULL THEN 'waiting' ELSE 'failed' END AS state, count(*) FROM stretch GROUP BY 1"
MEDIA = f"""
    SELECT state, count(*)
    FROM ((SELECT state FROM media WHERE state = 'waiting' LIMIT {BOUND})
          UNION ALL (SELECT state FROM media WHERE state = 'failed' LIMIT {BOUND})) AS counted GROUP BY state
"""  # noqa: S608
ODDITIES = f"SELECT count(*) FROM (SELECT FROM oddity LIMIT {BOUND}) AS counted"  # noqa: S608
ROOMS = """
    SELECT count(*) FILTER (WHERE membership = 'join') AS joined, count(*) FILTER (WHERE membership <> 'join') AS lost,
           count(*) FILTER (WHERE membership = 'join' AND notice_seen_at IS NULL) AS unnoticed FROM room
"""
UNCOVERED = "SELECT count(*) FROM interruption WHERE until_at IS NULL"
ALARMS = "SELECT kind, count(*) FROM alarm GROUP BY kind"

# Why an event can't be read: ours (archiver.capture.megolm) and the codes of m.room_key.withheld in the specification. Whatever
# else a sender's client writes as its code is no label.
# What a bridge could not give is counted with them.
CAUSES = frozenset({"redacted", "unknown-algorithm", "malformed", "no-key", "key-starts-later", "wrong-key", *LACKS})
WITHHELD = frozenset({"m.blacklisted", "m.unverified", "m.unauthorised", "m.unavailable", "m.no_olm"})

BOUNDED = f"Counted up to {BOUND}."
ESTIMATED = (
    f"Exact up to {EXACT}; beyond, an estimate by the planner's statistics, of all organisations in this database together."
)


@dataclass(frozen=True, slots=True)
class Collected(Collector):
    """Metrics that were collected, as the library asks for them."""

    families: list[Metric]

    def collect(self) -> Iterable[Metric]:
        return self.families


async def metrics(tx: Connection, settings: Settings) -> bytes:
    """Everything as text. Raises an error of the database when that takes longer than five seconds."""
    await tx.execute(BOUNDS)
    families = [family async for family in _archive(tx, settings)]
    summary = await rounds.summary(tx, settings.organisation.id)
    families += canary(summary, settings.canary.every, datetime.now(UTC))
    return bytes(generate_latest(Collected(families)))


async def _archive(tx: Connection, settings: Settings) -> AsyncIterator[Metric]:
    yield _gauge("records", f"Events in the ledger. {ESTIMATED}", [((), await _size(tx, "record", RECORDS))])
    yield _gauge("messages", f"Messages in the reading view. {ESTIMATED}", [((), await _size(tx, "message", MESSAGES))])
    causes = by_cause(await _counts(tx, UNREADABLE))
    yield _gauge("unreadable", f"Events that can't be read as yet, by cause. {BOUNDED}", causes, "cause")
    gaps = _each(await _counts(tx, GAPS), "open", "kept", "not-visible")
    about = (
        "Events that others point at and that are missing: open (being looked for), kept (can't be had), not-visible (of before "
    )
    yield _gauge("gaps", f"{about}the archiver's time in the room). {BOUNDED}", gaps, "state")
    stretches = _each(await _counts(tx, STRETCHES), "waiting", "failed")
    yield _gauge("stretches", "Stretches of history to be fetched, and those that the homeserver refuses.", stretches, "state")
    media = _each(await _counts(tx, MEDIA), "waiting", "failed")
    yield _gauge("media", f"Files to be fetched, and those that were given up. {BOUNDED}", media, "state")
    yield _gauge("oddities", f"What arrived and is no event. {BOUNDED}", [((), await tx.fetchval(ODDITIES))])
    joined, lost, unnoticed = await tx.fetchrow(ROOMS)
    rooms = [(("joined",), joined), (("left",), lost)]
    yield _gauge("rooms", "Rooms that the archiver is in, and those it is no longer in.", rooms, "membership")
    yield _gauge("rooms_without_notice", "Rooms in which the notice is not confirmed.", [((), unnoticed)])
    about = "Times, still lasting, in which a bridge does not cover a number; 'griffier status' tells which."
    yield _gauge("channels_not_covered", about, [((), await tx.fetchval(UNCOVERED))])
    alarms = [((kind,), count) for kind, count in sorted((await _counts(tx, ALARMS)).items())]
    yield _gauge("alarms", "What an admin must do something about; 'griffier status' tells what.", alarms, "kind")
    async for family in _seats(tx, settings):
        yield family


async def _seats(tx: Connection, settings: Settings) -> AsyncIterator[Metric]:
    seats, now = await standings(tx, settings), await tx.fetchval("SELECT now()")
    capturing = (
        "1 while the archiver's account captures: driven by a living process, signed, a sync committed in the last minute."
    )
    yield _gauge("capturing", capturing, [((seat.user_id,), seat.capturing) for seat in seats], "seat")
    signed = "1 when the homeserver shows the archiver's device as cross-signed."
    yield _gauge("signed", signed, [((seat.user_id,), seat.signed) for seat in seats], "seat")
    silent = [((seat.user_id,), (now - seat.seen_at).total_seconds()) for seat in seats if seat.seen_at is not None]
    yield _gauge("seconds_since_sync", "Seconds since the archiver's account last committed a sync.", silent, "seat")


def canary(summary: Summary | None, every: float, now: datetime) -> Iterator[Metric]:
    """The canary's rounds; nothing where there has never been one. `every` in minutes, 0 where it is off."""
    if summary is None:
        return
    last, day = summary.last, "of the last 24 hours"
    yield _gauge("canary_complete", "1 when all of the last round arrived in the archive.", [((), last.complete)])
    heard = [((), last.heard)]
    yield _gauge("canary_heard", "1 when the receiver of the last round could read its message: the chat itself works.", heard)
    since = (now - summary.ended_at).total_seconds()
    yield _gauge("canary_seconds_since_round", "Seconds since the last round ended.", [((), since)])
    overdue = [((), summary.overdue(every, now))]
    yield _gauge("canary_overdue", "1 when no round has come for three times as long as there should be between two.", overdue)
    yield _gauge(
        "canary_parts_expected", f"Parts {day}: message, edit, file and deletion of each round.", [((), summary.expected)]
    )
    yield _gauge("canary_parts_arrived", f"Parts {day} that arrived in time, readable and unaltered.", [((), summary.arrived)])
    if summary.expected:
        yield _gauge("canary_completeness_ratio", f"Parts arrived / parts expected, {day}.", [((), summary.completeness)])
    took = [
        ((part, name), milliseconds / 1000)
        for part, latency in summary.latency.items()
        for name, milliseconds in (("last", latency.last), ("p50", latency.p50), ("p95", latency.p95))
        if milliseconds is not None
    ]
    about = f"From when the homeserver took a part until the archive could read it: last round, median and 95th percentile {day}."
    yield _gauge("canary_latency_seconds", about, took, "part", "statistic")


def by_cause(counts: dict[str, int]) -> list[tuple[tuple[str, ...], int]]:
    """Counts by known cause: what a sender's client made up is 'other', so that nobody writes into the metrics."""
    told: dict[str, int] = {}
    for cause, count in counts.items():
        kind, _, code = cause.partition(":")
        withheld = f"withheld:{code}" if code in WITHHELD else "withheld:other"
        known = withheld if kind == "withheld" else cause if cause in CAUSES else "other"
        told[known] = told.get(known, 0) + count
    return [((cause,), count) for cause, count in sorted(told.items())]


async def _size(tx: Connection, table: str, count: str) -> int:
    exact: int = await tx.fetchval(count, EXACT + 1)
    return exact if exact <= EXACT else max(exact, await tx.fetchval(ESTIMATE, table) or 0)


async def _counts(tx: Connection, statement: str) -> dict[str, int]:
    return dict(map(tuple, await tx.fetch(statement)))


def _each(counts: dict[str, int], *states: str) -> list[tuple[tuple[str, ...], int]]:
    """A value for each of these states, 0 too."""
    return [((state,), counts.get(state, 0)) for state in states]


def _gauge(name: str, about: str, values: Iterable[tuple[tuple[str, ...], float]], *labels: str) -> Metric:
    family = GaugeMetricFamily(f"griffier_{name}", about, labels=labels)
    for where, value in values:
        family.add_metric(where, float(value))
    return family
