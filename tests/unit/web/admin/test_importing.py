"""Officials from a file: seen first, all or nothing, and back again."""

from __future__ import annotations

import re
import secrets

import pytest

from archiver.db import tenant_tx
from archiver.reading.officials import officials
from tests.unit.conftest import dump
from tests.unit.web.admin.desk import at_work, somebody, term
from tests.unit.web.admin.test_officials import trail

pytestmark = pytest.mark.postgres

HEAD = "naam;matrix-account;functie;organisatieonderdeel;vanaf;tot en met;telefoonnummer\n"


def row(name: str, until: str = "", number: str = "", **fields: str) -> str:
    told = term(name) | fields
    return f"{name};{told['matrix_id']};{told['function']};{told['unit']};{told['from_day']};{until};{number}\n"


def number() -> str:
    return f"+3164{secrets.randbelow(10**7):07d}"


async def named(archive, *names: str) -> dict:
    async with tenant_tx(archive.pool, 1) as tx:
        return {each.name: each for each in await officials(tx, 1) if each.name in names}


def plan_of(page: str) -> str:
    return page.partition('name="plan" value="')[2].partition('"')[0]


def states(page: str) -> list[tuple[str, str]]:
    """(line, state) of each row of a preview."""
    return re.findall(r'<th scope="row">(\d+)</th><td><span[^>]*>(\w+)</span>', page)


async def test_a_file_is_seen_first_and_then_imported_as_a_whole(archive, tmp_path):
    new, old, same = somebody(), somebody(), somebody()
    phone = number()
    async with at_work(archive, tmp_path) as desk:
        await desk.official(old)
        await desk.official(same)
        raw = HEAD + row(new, number=phone) + row(old, until="31-3-2026") + row(same)
        there = await desk.upload(raw.encode("windows-1252"), name="straat.csv")
        page = await desk.open(there)
        assert states(page) == [("3", "gewijzigd"), ("2", "nieuw"), ("4", "ongewijzigd")]
        assert "Er is nog niets opgeslagen." in page
        assert await named(archive, new) == {}
        await desk.send(there, do="import", plan=plan_of(page))
        found = await named(archive, new, old, same)
        assert [each.number for each in found[new].channels] == [phone]
        assert str(found[old].terms[0].until_day) == "2026-03-31"
        assert found[same].terms[0].until_day is None
        await desk.send(there, 404, do="import", plan=plan_of(page))  # once
        await desk.open(there, 404)
        # The same file again says nothing new.
        page = await desk.open(await desk.upload(raw.encode()))
        assert {state for _, state in states(page)} == {"ongewijzigd"}
        assert "niets te importeren" in page
        assert 'value="import"' not in page
        actions = [action for action, _ in await trail(archive, desk.person)]
        assert actions.count("import officials") == 1
        assert (
            actions.index("upload officials") < actions.index("preview import of officials") < actions.index("import officials")
        )
        text = await desk.open("/admin/officials/import")
        assert "straat.csv" in text


async def test_one_row_that_can_t_be_used_holds_up_the_whole_file_with_its_reason(archive, tmp_path):
    good, known, other = somebody(), somebody(), somebody()
    phone = number()
    async with at_work(archive, tmp_path) as desk:
        page = await desk.official(known)
        await desk.send(page + "/channel/new", number=phone, from_day="2026-01-01")
        rows = [
            row(good),
            row("", matrix_id="geen", function="x"),
            row(good),
            row(other, matrix_id=term(known)["matrix_id"]),
            row(other, matrix_id=term(known)["matrix_id"], function=term(known)["function"]),
            row(somebody(), number=phone),
        ]
        there = await desk.upload((HEAD + "".join(rows)).encode())
        page = await desk.open(there)
        assert states(page) == [("3", "fout"), ("4", "fout"), ("5", "fout"), ("6", "fout"), ("7", "fout"), ("2", "nieuw")]
        for words in (
            "Vul de naam in.",
            "geen Matrix-account",
            "meer dan eens",
            "van iemand anders",
            "onder een andere naam",
            "al in gebruik",
        ):
            assert words in page, words
        assert 'value="import"' not in page
        assert "niets geïmporteerd" in await desk.send(there, 409, do="import", plan=plan_of(page))
        assert await named(archive, good, other) == {}
        await desk.send(there, do="cancel")
        await desk.open(there, 404)


async def test_what_ends_makes_room_for_what_begins_whatever_their_order(archive, tmp_path):
    old, new = somebody(), somebody()
    account = f"@rol-{secrets.token_hex(4)}:x"
    async with at_work(archive, tmp_path) as desk:
        await desk.official(old, matrix_id=account)
        rows = row(new, matrix_id=account, from_day="2026-04-01") + row(old, until="2026-03-31", matrix_id=account)
        page = await desk.open(there := await desk.upload((HEAD + rows).encode()))
        assert states(page) == [("3", "gewijzigd"), ("2", "nieuw")]
        await desk.send(there, do="import", plan=plan_of(page))
    assert set(await named(archive, old, new)) == {old, new}


async def test_what_changed_since_it_was_seen_is_seen_again_first(archive, tmp_path):
    name = somebody()
    async with at_work(archive, tmp_path) as desk:
        page = await desk.open(there := await desk.upload((HEAD + row(name)).encode()))
        await desk.official(name)
        again = await desk.send(there, 409, do="import", plan=plan_of(page))
        assert "gewijzigd sinds u dit zag" in again
        assert states(again) == [("2", "ongewijzigd")]


async def test_an_import_is_undone_as_long_as_nothing_was_built_on_it(archive, tmp_path):
    new, old, built = somebody(), somebody(), somebody()
    async with at_work(archive, tmp_path) as desk:
        await desk.official(old)

        async def bring(raw: str) -> str:
            page = await desk.open(there := await desk.upload((HEAD + raw).encode()))
            await desk.send(there, do="import", plan=plan_of(page))
            return there + "/undo"

        undo = await bring(row(new, number=number()) + row(old, until="2026-05-31"))
        assert "ongedaan maken?" in await desk.open(undo)
        await desk.send(undo)
        found = await named(archive, new, old)
        assert set(found) == {old}
        assert found[old].terms[0].until_day is None
        await desk.send(undo, 404)
        await desk.open(undo, 404)
        undo = await bring(row(built))
        page = f"/admin/officials/{(await named(archive, built))[built].official_id}"
        await desk.send(page + "/device/new", label="iPad", kind="tablet", owner="organisation", from_day="2026-01-01")
        assert "daarna gewijzigd" in await desk.send(undo, 409)
        assert len((await named(archive, built))[built].devices) == 1
        assert "undo import of officials" in [action for action, _ in await trail(archive, desk.person)]


async def test_a_file_that_waits_is_sealed_is_its_admin_s_own_and_is_forgotten(archive, tmp_path):
    name = f"Geheimzinnig{secrets.token_hex(6)}"
    async with at_work(archive, tmp_path) as desk:
        there = await desk.upload((HEAD + row(name)).encode())
        assert name.encode() not in dump(archive.url)
        async with at_work(archive, tmp_path) as other:
            await other.open(there, 404)
            await other.send(there, 404, do="import", plan="x")
        await desk.open(there)
        async with tenant_tx(archive.pool, 1) as tx:
            await tx.execute("UPDATE official_import SET made_at = now() - interval '31 minutes' WHERE confirmed_at IS NULL")
        await desk.open(there, 404)
        await desk.upload((HEAD + row(somebody())).encode())
        async with tenant_tx(archive.pool, 1) as tx:
            old = "SELECT count(*) FROM official_import WHERE sealed IS NOT NULL AND made_at < now() - interval '30 minutes'"
            assert await tx.fetchval(old) == 0
        async with tenant_tx(archive.pool, 2) as tx:
            assert await tx.fetchval("SELECT count(*) FROM official_import") == 0


async def test_a_file_that_is_none_is_refused_with_what_to_do(archive, tmp_path):
    async with at_work(archive, tmp_path) as desk:
        assert "rekenblad" in await desk.upload(b"PK\x03\x04", 422, name="lijst.xlsx")
        assert "te groot" in await desk.upload(b"x" * 600_000, 422)
        assert "matrix-account" in (await desk.upload(b"naam;functie\n", 422)).casefold()
        assert "Kies een bestand." in await desk.upload(b"", 422, name="")
        await desk.upload(b"x" * 1_100_000, 413)


async def test_the_example_and_the_export_can_be_imported(archive, tmp_path):
    name = "=SOM(1)" + secrets.token_hex(4)
    async with at_work(archive, tmp_path) as desk:
        for path in ("/admin/officials/example.csv", "/admin/officials/example.csv?lang=en"):
            raw = await (await desk.client.get(path)).read()
            page = await desk.open(await desk.upload(raw))
            assert {state for _, state in states(page)} <= {"nieuw", "ongewijzigd", "new", "unchanged"}
        await desk.official(name, matrix_id=f"@som{secrets.token_hex(4)}:x")
        answer = await desk.client.get("/admin/officials.csv?lang=nl")
        raw = await answer.read()
        assert "'=SOM" in raw.decode()
        assert ",=SOM" not in raw.decode()
        page = await desk.open(await desk.upload(raw))
        assert {state for _, state in states(page)} == {"ongewijzigd"}
