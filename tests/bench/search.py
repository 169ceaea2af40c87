"""Search in a large archive: the product's own function as its own role, beside the plain text search that anybody would make.

python -m tests.bench search                                  a million messages
GRIFFIER_BENCH_MESSAGES=10000000 python -m tests.bench search ten million
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from archiver.db import tenant_tx
from archiver.ledger.canonical import JsonObject
from archiver.reading.membership import reader_tx
from archiver.reading.query import read
from archiver.reading.search import OLDEST, RELEVANCE, Filters, search
from archiver.reading.words import STEMMERS
from tests.bench import table
from tests.bench.archive import Archive, archive
from tests.bench.filled import BEGIN, END, OLD_WORD, Language, fill, rare, room_name, sender_name

MESSAGES = int(os.environ.get("GRIFFIER_BENCH_MESSAGES", "1000000"))
BUDGET = 50.0  # milliseconds
ROUNDS = 8
# What anybody would write, without row-level security and without sealing: the newest first, and a capped count.
PLAIN = "SELECT room_id, event_id FROM bare WHERE words @@ $1::text::tsquery ORDER BY sent_at DESC LIMIT 25"
PLAIN_COUNT = "SELECT count(*) FROM (SELECT FROM bare WHERE words @@ $1::text::tsquery LIMIT 1001) AS few"


EVERYTHING = Filters()


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of search, and the queries of that kind."""

    name: str
    queries: tuple[str, ...]
    filters: Filters = EVERYTHING
    more: JsonObject | None = None


def kinds(count: int) -> list[Kind]:
    said = Language().words
    common, often, middling, seldom = said[:6], said[20:80:10], said[800:2400:250], said[8000:40000:5000]
    reference = tuple(rare(number, count) for number in range(5, count, count // 7))
    year = Filters(start=END - timedelta(days=500), end=END - timedelta(days=200))
    rooms, sender = frozenset({room_name(4), room_name(90)}), frozenset({sender_name(7)})
    phrases = tuple(f'"{a} {b}"' for a, b in zip(said[:6], said[6:12], strict=True))
    return [
        Kind("the commonest words", tuple(common)),
        Kind("common words", tuple(often)),
        Kind("middling words", tuple(middling)),
        Kind("seldom words", tuple(seldom)),
        Kind("reference numbers", reference),
        Kind("a word that only occurs long ago", (OLD_WORD,)),
        Kind("phrases of common words", phrases),
        Kind("OR", tuple(f"{a} OF {b}" for a, b in zip(middling, seldom, strict=False))),
        Kind("NOT", tuple(f"{a} -{b}" for a, b in zip(middling, common, strict=False))),
        Kind("brackets", tuple(f"({a} OF {b}) NIET {c}" for a, b, c in zip(often, middling, common, strict=False))),
        Kind("common words in two rooms", tuple(common), Filters(rooms=rooms)),
        Kind("common words by one sender", tuple(common), Filters(senders=sender)),
        Kind("common words in a period", tuple(common), year),
        Kind("middling words with a file", (*map(str, reference),), Filters(has=frozenset({"file"}))),
        Kind("common words, deleted", tuple(common), Filters(has=frozenset({"deletion"}))),
        Kind("no words, edited, one sender", ("",), Filters(senders=sender, has=frozenset({"edit"}))),
        Kind("common words, oldest first", tuple(common), more={"order": OLDEST}),
        Kind("middling words, most relevant first", tuple(middling), more={"order": RELEVANCE}),
    ]


async def run(folder: Path) -> None:
    """Print p50 and p95 of each kind, the baseline's beside it, and all of them together against the budget."""
    async with archive(folder) as kept:
        seconds = await fill(kept, MESSAGES, baseline=True)
        table.title(f"Search in {MESSAGES:,} messages (filled in {seconds:,.0f} s), whole function, as the service's role")
        await measure(kept, MESSAGES)


async def measure(kept: Archive, count: int) -> None:
    print(f"  load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; from {BEGIN:%Y-%m-%d} to {END:%Y-%m-%d}")
    print(f"  {'':<42} {'p50':>9} {'p95':>9} {'cpu p95':>9} {'plain p50':>10} {'plain p95':>10}   found")
    everything: list[float] = []
    processors: list[float] = []
    for kind in kinds(count):
        spent: list[float] = []
        ours, found = await _ours(kept, kind, spent)
        processors += spent
        plain = await _plain(kept, kind)
        everything += ours
        base = f"{statistics.median(plain):>7.1f} ms {p95(plain):>7.1f} ms" if plain else " " * 21
        print(
            f"  {kind.name:<42} {statistics.median(ours):>6.1f} ms {p95(ours):>6.1f} ms {p95(spent):>6.1f} ms {base}   {found}",
            flush=True,
        )
    table.amount("all of these together, p95", p95(everything), "ms", BUDGET)
    table.amount("processor time of these, both processes, p95", p95(processors), "ms")
    ours = await _official(kept, kinds(count)[0])
    table.amount("as an official, the commonest words in their conversations, p95", p95(ours), "ms", BUDGET)
    print(f"  load average {os.getloadavg()[0]:.1f}")


async def _ours(kept: Archive, kind: Kind, spent: list[float]) -> tuple[list[float], str]:
    totals: list[str] = []

    async def once(query: str) -> None:
        async with tenant_tx(kept.pool, kept.vault.org) as tx:
            began = busy(tx)
            found = await search(tx, kept.vault, query, kind.filters, **(kind.more or {}))
            spent.append(busy(tx) - began)
            totals.append(f"{found.total:,}{'+' if found.more_than else ''}{' (stopped)' if found.reached else ''}")

    return await _timed(once, kind.queries), ", ".join(dict.fromkeys(totals))[:60]


async def _official(kept: Archive, kind: Kind) -> list[float]:
    async def once(query: str) -> None:
        async with reader_tx(kept.pool, kept.vault, sender_name(0)) as tx:
            await search(tx, kept.vault, query, member=sender_name(0))

    return await _timed(once, kind.queries)


async def _plain(kept: Archive, kind: Kind) -> list[float]:
    if kind.filters != EVERYTHING or kind.more:
        return []  # the plain table has words and times only
    async with kept.pool.acquire() as connection:

        async def once(query: str) -> None:
            asked = tsquery(read(query))
            await connection.fetch(PLAIN, asked)
            await connection.fetchval(PLAIN_COUNT, asked)

        return await _timed(once, kind.queries[:3], rounds=2)


def busy(connection: Any) -> float:
    """Milliseconds on a processor of a connection's server process and this one: a busy machine does not change them much."""
    with open(f"/proc/{connection.get_server_pid()}/schedstat") as file:  # noqa: PTH123 - the kernel's own
        return int(file.read().split()[0]) / 1e6 + time.process_time() * 1000


async def _timed(once: Callable[[str], Awaitable[None]], queries: tuple[str, ...], rounds: int = ROUNDS) -> list[float]:
    """Milliseconds of each, the first round too: people search for something else each time."""
    taken = []
    for _ in range(rounds):
        for query in queries:
            began = time.perf_counter()
            await once(query)
            taken.append((time.perf_counter() - began) * 1000)
    return taken


def tsquery(query: Any) -> str:
    """The same query in plain stems."""
    from archiver.reading.query import tsquery as made

    class Plain:
        def lexemes(self, word: str) -> tuple[str, ...]:
            return tuple(sorted({stemmer.stemWord(word) for stemmer in STEMMERS.values()}))

    return made(query, Plain())  # type: ignore[arg-type]


def p95(values: list[float]) -> float:
    return sorted(values)[min(int(len(values) * 0.95), len(values) - 1)]
