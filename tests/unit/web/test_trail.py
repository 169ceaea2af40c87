"""The audit trail, as auditors read it and take it with them."""

from __future__ import annotations

import csv
import io
import json
import re
import secrets
from datetime import UTC, datetime, timedelta

import pytest

from archiver.db import tenant_tx
from archiver.export.language import ZONE
from archiver.ledger.audit import note
from archiver.ledger.trail import Selection, acts, every_act
from archiver.web.trail import line, selection
from tests.unit.web.signed_in import browsing

pytestmark = pytest.mark.postgres


@pytest.fixture
def somebody() -> str:
    return f"p-{secrets.token_hex(5)}"


async def keep(archive, actor: str, *actions: str, org: int = 1, **detail: str) -> None:
    for action in actions:
        async with tenant_tx(archive.pool, org) as tx:
            await note(tx, org, actor, action, room_id="!r:x", **detail)


async def test_an_auditor_filters_by_person_act_and_day(archive, tmp_path, somebody):
    await keep(archive, somebody, "read", "search", "read")
    await keep(archive, somebody + "-ander", "read")
    today = datetime.now(ZONE).date()
    async with browsing(archive, tmp_path, "auditor", person="auditor") as client:
        for query, lines in (
            ({"person": somebody}, 3),
            ({"person": somebody, "action": "read"}, 2),
            ({"person": somebody, "from": str(today), "to": str(today)}, 3),
            ({"person": somebody, "from": str(today + timedelta(days=1))}, 0),
            ({"person": somebody, "to": str(today - timedelta(days=1))}, 0),
            ({"person": "niemand"}, 0),
        ):
            page = await (await client.get("/audit", params=query)).text()
            assert page.count(f"<bdi>{somebody}</bdi>") == lines, query
            text = await (await client.get("/audit.csv", params=query)).text()
            assert [row[1] for row in csv.reader(io.StringIO(text))][1:] == [somebody] * lines, query
        assert (await client.get("/audit", params={"from": "gisteren"})).status == 400
        assert (await client.get("/audit", params={"before": "x"})).status == 400
        assert (await client.get("/audit.csv", params={"to": "9999-99-99"})).status == 400


async def test_reading_the_trail_is_in_the_trail_before_it_is_shown(archive, tmp_path, somebody):
    async with browsing(archive, tmp_path, "auditor", person=somebody) as client:
        page = await (await client.get("/audit", params={"person": somebody})).text()
        assert "auditspoor gelezen" in page
        rows = list(csv.reader(io.StringIO(await (await client.get("/audit.csv", params={"person": somebody})).text())))
    assert [row[2] for row in rows[1:]] == ["export audit trail", "read audit trail"]
    assert json.loads(rows[1][4]) == {"person": somebody}


async def test_page_after_page_shows_every_act_once(archive, tmp_path, somebody):
    async with tenant_tx(archive.pool, 1) as tx:
        for number in range(250):
            await note(tx, 1, somebody, "read", n=number)
    seen, address = [], f"/audit?person={somebody}&action=read"
    async with browsing(archive, tmp_path, "auditor", person="auditor") as client:
        while address:
            page = await (await client.get(address)).text()
            seen += [int(part.partition("<")[0]) for part in page.split("<bdi>n: ")[1:]]
            more = page.split('class="more" href="')
            address = "/audit" + more[1].partition('"')[0].replace("&amp;", "&") if len(more) > 1 else ""
    assert sorted(seen) == list(range(250))
    whole = [act.detail["n"] async for act in every_act(archive.pool, 1, Selection(actor=somebody))]
    assert sorted(whole) == list(range(250))


async def test_another_organisations_trail_is_not_in_it(archive, somebody):
    await keep(archive, somebody, "read", org=2)
    async with tenant_tx(archive.pool, 1) as tx:
        assert await acts(tx, 1, Selection(actor=somebody)) == []
        assert await acts(tx, 2, Selection(actor=somebody)) == []


async def test_nothing_in_it_becomes_a_formula_or_markup(archive, tmp_path, somebody):
    evil = '=HYPERLINK("http://kwaad")<script>'
    await keep(archive, evil, "read", why=evil)
    async with browsing(archive, tmp_path, "auditor", person="auditor") as client:
        assert "<script>" not in await (await client.get("/audit", params={"person": evil})).text()
        text = await (await client.get("/audit.csv", params={"person": evil})).text()
    [_, row] = csv.reader(io.StringIO(text))
    assert row[1] == "'" + evil
    for start in ("=", "+", "-", "@", "\t"):
        assert line((start + "1",)).startswith((b"'", b"\"'"))


async def test_days_are_those_of_the_netherlands():
    chosen = selection({"from": "2026-03-29", "to": "2026-03-29"})
    assert chosen.start == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert chosen.end == datetime(2026, 3, 29, 22, tzinfo=UTC)  # the day on which the clock goes forward


async def test_a_check_compares_the_link_that_the_auditor_kept_and_offers_the_newest(archive, tmp_path):
    async with browsing(archive, tmp_path, "auditor") as client:
        page = await (await client.get("/audit/chain")).text()
        kept = re.search(r'<code class="link">(\d+):([0-9a-f]{64})</code>', page)
        again = await client.get(f"/audit/chain?known={kept[1]}:{kept[2]}")
        assert f"waarvan u schakel {kept[1]} hebt bewaard" in await again.text()
        other = await client.get(f"/audit/chain?known={kept[1]}:{'0' * 64}")
        assert "afgekapt of opnieuw gemaakt" in await other.text()
        assert (await client.get("/audit/chain?known=zoiets")).status == 400
