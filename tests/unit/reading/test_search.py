"""What a search finds is what the naive way finds, in the same order, page after page; and how Postgres goes about it."""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archiver.db import connect, migrate, tenant_tx
from archiver.ledger.record import append
from archiver.ledger.sealing import FileKey, Vault
from archiver.reading import facts, sweep
from archiver.reading.membership import reader_tx
from archiver.reading.project import project_batch, rebuild
from archiver.reading.query import read
from archiver.reading.search import NEWEST, OLDEST, RELEVANCE, Filters, search
from archiver.reading.snippet import SHOWN, plain, snippet
from archiver.reading.words import BlindIndex, words
from tests.bench import archive as bench
from tests.bench.filled import fill, sender_name
from tests.unit.reading.test_query import fits

TOKEN = secrets.token_hex(3)
SAID = [f"{word}{TOKEN}" for word in ("water", "dijk", "polder", "sluis", "gemaal")]
ROOMS = [f"!{TOKEN}{number}:x" for number in range(3)]
SENDERS = ("@een:x", "@twee:x")
TIMES = [
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2024, 6, 1, tzinfo=UTC),
    datetime(2025, 1, 1, tzinfo=UTC),
    datetime(9000, 1, 1, tzinfo=UTC),
]


@dataclass(frozen=True)
class Said:
    """A message as the naive way knows it."""

    room: str
    event_id: str
    sender: str
    at: datetime
    body: str

    @property
    def link(self) -> bool:
        return "https:" in self.body


@pytest.fixture(scope="module")
async def talk(archive) -> list[Said]:
    """Four hundred messages: together in a day, spread over years, some of the same moment, and some of an odd clock."""
    chance, arrivals, told = random.Random(11), [], []
    for number in range(400):
        room, sender = chance.choice(ROOMS), chance.choice(SENDERS)
        step = chance.choice([timedelta(seconds=number // 4), timedelta(days=number), timedelta(hours=number % 7)])
        at = chance.choices(TIMES, [1, 20, 20, 1])[0] + step
        body = " ".join(chance.choices(SAID, [12, 6, 3, 2, 1], k=chance.randrange(1, 6))) + chance.choice(
            ["", "", " https://x.nl/y"]
        )
        content = {"msgtype": "m.text", "body": body}
        arrival = archive.arrival(content, room, sender=sender, origin_server_ts=int(at.timestamp() * 1000), depth=number)
        arrivals.append(arrival)
        told.append(Said(room, arrival.event_id, sender, at, body))
    async with tenant_tx(archive.pool, 1) as tx:
        await append(tx, archive.vault, arrivals)
        while await project_batch(tx, archive.vault, BlindIndex(archive.vault.search_key)):
            pass
    return told


QUERIES = st.recursive(
    st.lists(st.sampled_from(SAID), min_size=1, max_size=2).map(lambda said: f'"{" ".join(said)}"'),
    lambda part: st.one_of(
        st.tuples(part, part).map("(%s OF %s)".__mod__),
        st.tuples(part, part).map("(%s %s)".__mod__),
        st.tuples(part, part).map("%s -%s".__mod__),
    ),
    max_leaves=4,
)  # fmt: skip
DAYS = st.sampled_from([None, *(TIMES[1] + timedelta(days=days) for days in (0, 1, 90, 300))])
FILTERS = st.builds(
    Filters,
    rooms=st.one_of(st.none(), st.sets(st.sampled_from(ROOMS), min_size=1).map(frozenset)),
    senders=st.one_of(st.none(), st.just(frozenset({SENDERS[0]}))),
    start=DAYS, end=DAYS, has=st.sampled_from([frozenset(), frozenset({"link"}), frozenset({"edit"})]),
)  # fmt: skip


@pytest.mark.postgres
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(query=st.one_of(QUERIES, st.just("")), filters=FILTERS, oldest=st.booleans(), limit=st.integers(1, 60), few=st.booleans())
async def test_all_pages_together_are_what_the_naive_way_finds(archive, talk, monkeypatch, query, filters, oldest, limit, few):
    if not query and filters.rooms is None:
        return  # the other tests' messages would be among it
    monkeypatch.setattr(sweep, "FEW_ROOMS", 200 if few else 0)
    naive = [said for said in talk if matches(said, query, filters)]
    naive.sort(key=lambda said: (said.at, said.event_id, said.room), reverse=not oldest)
    seen, after, total = [], None, None
    while True:
        async with tenant_tx(archive.pool, 1) as tx:
            found = await search(tx, archive.vault, query, filters, order=OLDEST if oldest else NEWEST, after=after, limit=limit)
        if after is None:
            total = found.total
            assert found.more_than or total == len(naive)
        seen += [hit.message.record.event_id for hit in found.hits]
        assert found.reached is None
        if (after := found.following) is None:
            break
    assert seen == [said.event_id for said in naive]


def matches(said: Said, query: str, filters: Filters) -> bool:
    return (
        (not query or fits(read(query, alone=False), words(said.body)))
        and (filters.rooms is None or said.room in filters.rooms) and (filters.senders is None or said.sender in filters.senders)
        and (filters.start is None or said.at >= filters.start) and (filters.end is None or said.at < filters.end)
        and "edit" not in filters.has and ("link" not in filters.has or said.link)
    )  # fmt: skip


@pytest.mark.postgres
async def test_where_there_is_too_much_in_a_stretch_the_search_looks_within_it(archive, talk, monkeypatch):
    monkeypatch.setattr(sweep, "MOST", 0)  # more than a single block is always too much
    monkeypatch.setattr("archiver.reading.search.PATIENCE", 60.0)
    monkeypatch.setattr(sweep, "COUNTING", 60.0)
    for order in (NEWEST, OLDEST):
        async with tenant_tx(archive.pool, 1) as tx:
            found = await search(tx, archive.vault, SAID[0], order=order, limit=400)
        naive = sorted((said for said in talk if SAID[0] in said.body), key=lambda said: (said.at, said.event_id, said.room))
        assert [hit.message.record.event_id for hit in found.hits] == [said.event_id for said in naive][
            :: -1 if order == NEWEST else 1
        ]


@pytest.mark.postgres
async def test_when_time_is_up_it_says_how_far_it_came_and_goes_on_from_there(archive, talk, monkeypatch):
    monkeypatch.setattr("archiver.reading.search.PATIENCE", 0.0)
    seen, after, stops = [], None, 0
    while True:
        async with tenant_tx(archive.pool, 1) as tx:
            found = await search(tx, archive.vault, SAID[4], after=after, limit=400)
        seen += [hit.message.record.event_id for hit in found.hits]
        after = found.following or found.reached
        if after is None:
            break
        stops += 1
        if stops == 1:
            monkeypatch.setattr("archiver.reading.search.PATIENCE", 2.0)
    assert stops >= 1
    assert sorted(seen) == sorted(said.event_id for said in talk if SAID[4] in said.body)


@pytest.mark.postgres
async def test_what_says_it_more_often_is_more_relevant(archive, room):
    bodies = [f"eens {room[1:9]}", f"{room[1:9]} {room[1:9]} {room[1:9]}", f"{room[1:9]} en nog eens {room[1:9]}"]
    arrivals = [archive.arrival({"msgtype": "m.text", "body": body}, room, depth=at) for at, body in enumerate(bodies)]
    async with tenant_tx(archive.pool, 1) as tx:
        await append(tx, archive.vault, arrivals)
        while await project_batch(tx, archive.vault, BlindIndex(archive.vault.search_key)):
            pass
        found = await search(tx, archive.vault, room[1:9], order=RELEVANCE)
    assert [hit.message.body for hit in found.hits] == [bodies[1], bodies[2], bodies[0]]


@pytest.mark.postgres
async def test_another_organisation_finds_nothing_of_it(archive, talk):
    async with tenant_tx(archive.pool, 2) as tx:
        assert (await search(tx, archive.other, SAID[0])).total == 0
        assert (await search(tx, archive.vault, SAID[0])).total == 0  # not even with the other's key of the index


class Index:
    """Names facts by what they say."""

    def fact(self, what: str) -> str:
        return what


@given(st.integers(0, facts.LAST), st.integers(1, facts.LAST))
def test_the_blocks_of_a_period_are_that_period_and_few(first, length):
    end = min(first + length, facts.LAST + 1)
    told = [each.strip("'").split() for each in facts.period(Index(), first, end).strip("()").split(" | ")]
    spans = sorted(
        (int(number) * facts.STEP ** int(size), (int(number) + 1) * facts.STEP ** int(size)) for _, size, number in told
    )
    assert (spans[0][0], spans[-1][1]) == (first, end)
    assert all(one[1] == other[0] for one, other in pairwise(spans))
    assert len(spans) <= 154


class Message:
    def __init__(self, *texts: str) -> None:
        self._texts = list(texts)

    def texts(self) -> list[str]:
        return self._texts


@given(st.lists(st.text(st.characters(), max_size=600), max_size=3), st.lists(st.text(min_size=1, max_size=8), max_size=3))
def test_a_snippet_is_a_piece_of_what_was_said_with_only_what_was_asked_marked(texts, wanted):
    index = BlindIndex(b"k" * 32)
    asked = {word for text in wanted for word in words(text)}
    pieces = snippet(Message(*texts), asked, index)
    shown = plain(pieces).removeprefix("… ").removesuffix(" …")
    assert any(shown in text for text in texts) or not texts
    assert len(shown) <= SHOWN + 2
    lexemes = {lexeme for word in asked for lexeme in index.lexemes(word)}
    for piece in pieces:
        if piece.marked:
            assert lexemes & {lexeme for word in words(piece.text) for lexeme in index.lexemes(word)}


def test_a_snippet_is_of_the_newest_version_that_says_it():
    pieces = snippet(Message("een dijk van eerst", "een sluis van later"), {"dijken"}, BlindIndex(b"k" * 32))
    assert [(piece.text, piece.marked) for piece in pieces] == [("een ", False), ("dijk", True), (" van eerst", False)]


@pytest.fixture(scope="module")
async def filled(postgres_url, tmp_path_factory) -> AsyncIterator[bench.Archive]:
    """An archive of twenty thousand messages in a database of its own."""
    name, owner = f"f{secrets.token_hex(6)}", await asyncpg.connect(postgres_url)
    await owner.execute(f"CREATE DATABASE {name}")
    url = urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
    try:
        async with connect(url) as pool:
            await migrate(pool)
            key = FileKey.load(tmp_path_factory.mktemp("keys"), create=True)
            async with tenant_tx(pool, 1) as tx:
                await Vault.set_up(tx, 1, "x", key)
                kept = bench.Archive(url, pool, await Vault.open(tx, 1, key))
            await fill(kept, 20_000)
            yield kept
    finally:
        await owner.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await owner.close()


class Explained:
    """A transaction that also asks Postgres how it goes about each search of the index."""

    def __init__(self, tx: Any) -> None:
        self._tx, self.plans = tx, []

    async def fetch(self, statement: str, *values: Any) -> Any:
        return await self._explained("fetch", statement, values)

    async def fetchval(self, statement: str, *values: Any) -> Any:
        return await self._explained("fetchval", statement, values)

    async def _explained(self, how: str, statement: str, values: tuple[Any, ...]) -> Any:
        if "listed AS MATERIALIZED" in statement:
            self.plans.append(json.loads(await self._tx.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *values)))
        return await getattr(self._tx, how)(statement, *values)


def nodes(plan: Any) -> list[dict[str, Any]]:
    """Every step of a plan."""
    if isinstance(plan, list):
        return [node for each in plan for node in nodes(each)]
    if not isinstance(plan, dict):
        return []
    return ([plan] if "Node Type" in plan else []) + [node for value in plan.values() for node in nodes(value)]


ASKED = [
    ("kenmerk7", Filters()), ('"gewijzigd kenmerk7"', Filters()), ("nergensgezegd", Filters()),
    ("", Filters(has=frozenset({"link"}))),
    ("kenmerk7 -nota", Filters(senders=frozenset({sender_name(7)}))),
]  # fmt: skip


@pytest.mark.postgres
@pytest.mark.parametrize("role", ["griffier_service", "griffier_official"])
async def test_both_roles_search_by_the_index(filled, role):
    """Row-level security switches an index off unless its operator is leakproof (DESIGN D17)."""
    official = role == "griffier_official"
    opened = reader_tx(filled.pool, filled.vault, sender_name(0)) if official else tenant_tx(filled.pool, 1)
    async with opened as tx:
        assert await tx.fetchval("SELECT current_user") == role
        explained, member = Explained(tx), sender_name(0) if official else None
        for query, chosen in ASKED:
            found = await search(explained, filled.vault, query, chosen, member=member)
            assert found.total or official or query not in ("kenmerk7", "")
    assert len(explained.plans) >= 8
    for plan in explained.plans:
        told = nodes(plan)
        assert [node["Index Name"] for node in told if node["Node Type"] == "Bitmap Index Scan"] == ["message_words"]
        assert not [node for node in told if node["Node Type"] == "Seq Scan" and node["Relation Name"] == "message"]


@pytest.mark.postgres
async def test_the_large_archive_of_the_bench_is_what_the_product_itself_would_have(filled):
    before = await view(filled)
    await rebuild(filled.pool, filled.vault, lambda done, total: None)
    assert await view(filled) == before
    assert len(before) == 20_000


async def view(filled) -> list[dict[str, Any]]:
    """The reading view, but for the order in which it was written."""
    async with tenant_tx(filled.pool, 1) as tx:
        rows = await tx.fetch("SELECT * FROM message ORDER BY room_id, event_id")
    return [{name: value for name, value in row.items() if name != "sequence"} for row in rows]
