"""Officials: terms, devices and numbers with their periods, and a history that nothing escapes."""

from __future__ import annotations

import asyncio
import json
import secrets
from datetime import UTC, datetime
from uuid import UUID

import pytest

from archiver.db import tenant_tx
from archiver.reading.membership import reader_tx
from archiver.reading.officials import official, official_of, official_with, officials
from archiver.web.admin import registry
from archiver.web.admin.registry import CHANNEL, TERM, Refused
from tests.unit.web.admin.desk import at_work, somebody, term

pytestmark = pytest.mark.postgres


def on(day: str) -> datetime:
    return datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=UTC)


def id_of(page: str) -> UUID:
    return UUID(page.rpartition("/")[2])


async def trail(archive, actor: str) -> list[tuple[str, dict]]:
    async with tenant_tx(archive.pool, 1) as tx:
        rows = await tx.fetch("SELECT action, detail FROM audit WHERE actor = $1 ORDER BY audit_id", actor)
    return [(row["action"], json.loads(row["detail"])) for row in rows]


async def test_an_official_is_added_found_changed_and_ended(archive, tmp_path):
    name = somebody()
    async with at_work(archive, tmp_path) as desk:
        page = await desk.official(name, sole="1")
        text = await desk.open(f"{page}?done=added")
        for words in (name, f"directeur {name}", "Water", "Het is toegevoegd.", "1 januari 2026", "één tegelijk"):
            assert words in text
        assert f"<bdi>{name}</bdi>" in await desk.open("/admin/officials?q=" + name.casefold())
        assert f"<bdi>{name}</bdi>" not in await desk.open(f"/admin/officials?when=not&q={name}")
        assert "Geen ambtsdrager" in await desk.open("/admin/officials?q=niemand-zo")
        await desk.send(
            page + "/channel/new", number="06 1234 " + f"{secrets.randbelow(10**4):04d}", label="pers", from_day="2026-01-01"
        )
        await desk.send(page + "/device/new", label="Pixel 9", kind="phone", owner="official", from_day="1-2-2026")
        async with tenant_tx(archive.pool, 1) as tx:
            person = await official(tx, 1, id_of(page))
        [held], [device], [channel] = person.terms, person.devices, person.channels
        assert (device.kind, device.owner, str(device.from_day)) == ("phone", "official", "2026-02-01")
        assert channel.number.startswith("+3161234")
        edit = f"{page}/term/{held.entry_id}"
        form = await desk.open(edit)
        assert f'value="directeur {name}"' in form
        seen = form.partition('name="seen" value="')[2].partition('"')[0]
        await desk.send(edit, **term(name) | {"until_day": "2026-03-31", "sole": "1", "seen": seen, "reason": "nieuw kabinet"})
        text = await desk.open(page)
        assert "31 maart 2026" in text
        assert "nieuw kabinet" in text
        assert "beëindigd" in text
        assert f"<bdi>{name}</bdi>" in await desk.open(f"/admin/officials?when=not&q={name}")
        changed = [detail for action, detail in await trail(archive, desk.person) if action == "change official"]
        assert [json.loads(changed[-1][part]) for part in ("before", "after")] == [
            {"until_day": None},
            {"until_day": "2026-03-31"},
        ]
        await desk.send(page, name=name + " van Dijk", reason="getrouwd")
        text = await desk.open(page)
        assert f"{name} van Dijk" in text
        assert "getrouwd" in text


async def test_what_is_wrong_is_told_beside_its_field_and_what_was_typed_stays(archive, tmp_path):
    name = somebody()
    wrong = {
        "name": name,
        "matrix_id": "Minister",
        "function": "",
        "unit": "Wa\u202eter",
        "from_day": "31-2-2026",
        "until_day": "gisteren",
    }
    async with at_work(archive, tmp_path) as desk:
        page = await desk.send("/admin/officials", 422, **wrong)
        for words in ("geen Matrix-account", "Vul de functie in.", "tekens in die niet", "geen datum"):
            assert page.count(words) >= 2, words  # in the summary and beside the field
        assert f'value="{name}"' in page
        assert 'aria-describedby="matrix_id_hint matrix_id_error"' in page
        assert "vóór de eerste dag" in await desk.send(
            "/admin/officials", 422, **{"name": name, **term(name), "until_day": "2025-12-31"}
        )
        official_page = await desk.official(name)
        for kind, fields, words in (
            ("channel", {"number": "112", "from_day": "2026-01-01"}, "geen telefoonnummer"),
            ("device", {"label": "", "kind": "broodrooster", "owner": "official", "from_day": "2026-01-01"}, "Kies een van"),
            ("term", term(name) | {"matrix_id": "@x:x", "from_day": "0001-01-01"}, "kan niet kloppen"),
        ):
            assert words in await desk.send(f"{official_page}/{kind}/new", 422, **fields)
    async with tenant_tx(archive.pool, 1) as tx:
        assert await tx.fetchval("SELECT count(*) FROM official WHERE name = $1", name) == 1


async def test_periods_do_not_overlap(archive, tmp_path):
    one, two = somebody(), somebody()
    function = f"minister {secrets.token_hex(3)}"
    number = f"+3162{secrets.randbelow(10**7):07d}"
    async with at_work(archive, tmp_path) as desk:
        first = await desk.official(one, function=function, sole="1", until_day="2026-03-31")
        taken = {"name": two, **term(two), "function": function.upper()}
        assert "bekleedt iemand anders deze functie" in await desk.send("/admin/officials", 409, **taken)
        account = {"name": two, **term(two), "matrix_id": term(one)["matrix_id"], "from_day": "2026-03-31"}
        assert "van iemand anders" in await desk.send("/admin/officials", 409, **account)
        second = await desk.official(two, function=function, from_day="2026-04-01", sole="1")
        again = term(one) | {"function": function, "from_day": "2026-02-01", "until_day": "2026-02-02"}
        assert "bekleedt de ambtsdrager deze functie al" in await desk.send(first + "/term/new", 409, **again)
        await desk.send(first + "/channel/new", number=number, from_day="2026-01-01", until_day="2026-03-31")
        assert "al in gebruik" in await desk.send(second + "/channel/new", 409, number=number, from_day="2026-03-31")
        await desk.send(second + "/channel/new", number=number, from_day="2026-04-01")
        device = {"label": "iPhone", "kind": "phone", "owner": "official", "from_day": "2026-01-01"}
        await desk.send(first + "/device/new", **device)
        assert "dit apparaat al" in await desk.send(first + "/device/new", 409, **device | {"label": "IPHONE"})
        # The one who follows has the account from the day after; who reads by moment gets who had it then.
        await desk.official(two + " jr", matrix_id=term(one)["matrix_id"], from_day="2026-04-01")
    async with tenant_tx(archive.pool, 1) as tx:
        owners = [await official_of(tx, 1, term(one)["matrix_id"], on(day)) for day in ("2025-12-31", "2026-03-31", "2026-04-01")]
        users = [await official_with(tx, 1, number, on(day)) for day in ("2026-03-31", "2026-04-01")]
    assert [each and each.name for each in owners] == [None, one, two + " jr"]
    assert [each.name for each in users] == [one, two]


async def test_two_at_the_same_moment_do_not_slip_past_each_other(archive):
    number = f"+3163{secrets.randbelow(10**7):07d}"
    start = datetime(2026, 1, 1, tzinfo=UTC).date()

    async def give() -> str:
        try:
            async with registry.changing(archive.pool, 1, "beheer") as tx:
                person = await registry.add_official(tx, 1, "beheer", somebody())
                values = {"number": number, "label": "", "from_day": start, "until_day": None}
                await registry.add(tx, 1, "beheer", CHANNEL, person, values)
                await asyncio.sleep(0.05)
        except Refused:
            return "refused"
        return "done"

    assert sorted(await asyncio.gather(*(give() for _ in range(4)))) == ["done", "refused", "refused", "refused"]


async def test_what_was_a_mistake_counts_no_more_and_stays_in_the_history(archive, tmp_path):
    name = somebody()
    async with at_work(archive, tmp_path) as desk:
        page = await desk.official(name)
        async with tenant_tx(archive.pool, 1) as tx:
            [held] = (await official(tx, 1, id_of(page))).terms
        there = f"{page}/term/{held.entry_id}/withdraw"
        assert f"directeur {name}" in await desk.open(there)
        await desk.send(there, reason="verkeerde persoon")
        text = await desk.open(page)
        assert "Er is geen functie ingevuld" in text
        assert "verkeerde persoon" in text
        assert f"directeur {name}" in text  # in the history
        await desk.open(f"{page}/term/{held.entry_id}", 404)
        await desk.send(there, 404)
        await desk.open(page + "/withdraw")
        assert (await desk.send(page + "/withdraw")).endswith("done=withdrawn")
        await desk.open(page, 404)
        await desk.send(page, 404, name="x")
        assert f"<bdi>{name}</bdi>" not in await desk.open(f"/admin/officials?q={name}")
    async with tenant_tx(archive.pool, 1) as tx:
        assert await official(tx, 1, id_of(page)) is None
        acts = [change.act for change in await registry.history(tx, 1, id_of(page))]
    assert acts == ["withdrawn", "withdrawn", "added", "added"]


async def test_who_was_not_first_is_told_that_it_changed(archive, tmp_path):
    name = somebody()
    async with at_work(archive, tmp_path) as desk:
        page = await desk.official(name)
        async with tenant_tx(archive.pool, 1) as tx:
            [held] = (await official(tx, 1, id_of(page))).terms
        edit = f"{page}/term/{held.entry_id}"
        seen = (await desk.open(edit)).partition('name="seen" value="')[2].partition('"')[0]
        await desk.send(edit, **term(name) | {"unit": "Bodem", "seen": seen})
        assert "gewijzigd terwijl u bezig was" in await desk.send(edit, 409, **term(name) | {"unit": "Lucht", "seen": seen})
        await desk.send(edit, 409, **term(name) | {"unit": "Lucht", "seen": "²"})


async def test_the_history_can_only_grow_and_nothing_is_changed_without_a_name(archive):
    async with registry.changing(archive.pool, 1, "beheer") as tx:
        person = await registry.add_official(tx, 1, "beheer", somebody())
    async with archive.pool.acquire() as connection:
        for statement in ("UPDATE official_change SET made_by = 'x'", "DELETE FROM official_change", "TRUNCATE official_change"):
            with pytest.raises(Exception, match="append-only"):
                await connection.execute(statement)
    for statement in ("UPDATE official SET name = 'x' WHERE official_id = $1", "DELETE FROM official WHERE official_id = $1"):
        with pytest.raises(Exception, match=r"nobody is named|permission denied"):
            async with tenant_tx(archive.pool, 1) as tx:
                await tx.execute(statement, person)


@pytest.mark.parametrize("role", ["records-officer", "official", "auditor", "inspector", "advisor"])
async def test_nobody_else_opens_or_changes_anything_here(archive, tmp_path, role):
    name = somebody()
    async with at_work(archive, tmp_path) as desk:
        page = await desk.official(name)
    async with at_work(archive, tmp_path, role=role) as other:
        for path in (
            "/admin/officials",
            "/admin/officials.csv",
            page,
            page + "/withdraw",
            "/admin/organisation",
            "/admin/bridge",
        ):
            assert name not in await other.open(path, 403)
        await other.send("/admin/officials", 403, name=name, **term(name))
        await other.send(page, 403, name="gekaapt")
        await other.send(page + "/withdraw", 403)
        await other.upload(b"naam\n", 403)
        assert {action for action, _ in await trail(archive, other.person)} == {"refused"}
    async with tenant_tx(archive.pool, 1) as tx:
        assert (await official(tx, 1, id_of(page))).name == name


async def test_another_organisation_s_officials_are_not_there(archive, tmp_path):
    name = somebody()
    async with registry.changing(archive.pool, 2, "elders") as tx:
        theirs = await registry.add_official(tx, 2, "elders", name)
        values = {"sole": False, **term(name), "from_day": on("2026-01-01").date(), "until_day": None}
        entry = await registry.add(tx, 2, "elders", TERM, theirs, values)
    async with at_work(archive, tmp_path) as desk:
        page = f"/admin/officials/{theirs}"
        for path in (page, page + "/withdraw", page + "/term/new", f"{page}/term/{entry}", f"{page}/term/{entry}/withdraw"):
            await desk.open(path, 404)
        await desk.send(page, 404, name="gekaapt")
        await desk.send(page + "/withdraw", 404)
        await desk.send(page + "/term/new", 404, **term(name))
        await desk.send(f"{page}/term/{entry}", 404, **term(name))
        await desk.send(f"{page}/term/{entry}/withdraw", 404)
        found = await desk.open(f"/admin/officials?q={name}")
        assert f"<bdi>{name}</bdi>" not in found
        assert name not in await desk.open("/admin/officials.csv")
        await desk.open("/admin/officials/geen-id", 404)
        await desk.official(name)  # the same account, here: no clash with theirs
    async with tenant_tx(archive.pool, 1) as tx:
        assert not await tx.fetch("SELECT 1 FROM official_change WHERE official_id = $1", theirs)
    async with tenant_tx(archive.pool, 2) as tx:
        assert (await official(tx, 2, theirs)).name == name


async def test_an_official_reads_of_themselves_only(archive, tmp_path):
    mine, other = somebody(), somebody()
    account = f"@rol-{secrets.token_hex(4)}:x"
    async with at_work(archive, tmp_path) as desk:
        await desk.official(other, matrix_id=account, from_day="2020-01-01", until_day="2025-12-31")
        page = await desk.official(mine, matrix_id=account)
        await desk.send(page + "/device/new", label="Pixel", kind="phone", owner="official", from_day="2026-01-01")
    async with reader_tx(archive.pool, archive.vault, account) as tx:
        found = await officials(tx, 1)
        assert [(each.name, len(each.devices)) for each in found] == [(mine, 1)]
        assert (await official_of(tx, 1, account, on("2026-06-01"))).name == mine
        assert await official_of(tx, 1, account, on("2021-06-01")) is None  # who had the account before is not theirs to see
    for table in ("official_change", "official_import"):
        with pytest.raises(Exception, match="permission denied"):
            async with reader_tx(archive.pool, archive.vault, account) as tx:
                await tx.fetch(f"SELECT * FROM {table}")
    async with reader_tx(archive.pool, archive.vault, "@onbekend:x") as tx:
        assert await officials(tx, 1) == []


async def test_every_look_is_in_the_trail(archive, tmp_path):
    name = somebody()
    async with at_work(archive, tmp_path) as desk:
        page = await desk.official(name)
        for path in ("/admin/officials", page, "/admin/officials.csv", "/admin/organisation", "/admin/bridge"):
            await desk.open(path)
        actions = [action for action, _ in await trail(archive, desk.person)]
    assert actions == [
        "add official", "add official", "list officials", "read official", "export officials", "read organisation",
        "list bridged numbers",
    ]  # fmt: skip


async def test_the_organisation_s_page_says_what_is_set_and_hides_secrets(archive, tmp_path):
    from archiver.settings import Settings

    settings = Settings(
        homeserver={"server_name": "rijk.x", "admin_token": "geheim-1"},
        archiver={"user_id": "@a:x", "password": "geheim-2", "bridges": ["@bot:x"]},
        web={"oidc": {"client_secret": "geheim-3", "roles": {"archief": "records-officer"}}, "bridge": {"token": "geheim-4"}},
    )
    async with at_work(archive, tmp_path, settings) as desk:
        text = await desk.open("/admin/organisation")
    for words in (
        "organisatie 1",
        "rijk.x",
        "@a:x",
        "Het is nooit gestart.",
        "@bot:x",
        "archief",
        "archivaris",
        "archiver.bridges",
    ):
        assert words in text
    assert "geheim" not in text
