"""`griffier official`: the same officials as on the pages, with the same rules."""

from __future__ import annotations

import argparse
import json

import pytest

from archiver.cli import parser
from archiver.web.admin import commands
from archiver.web.admin.commands import OfficialError
from tests.unit.web.admin.desk import somebody, term
from tests.unit.web.admin.test_importing import HEAD, named, row
from tests.unit.web.admin.test_officials import trail

pytestmark = pytest.mark.postgres


async def run(archive, *words: str, by: str = "cli:test") -> tuple[dict, str]:
    args = parser().parse_args(["official", *words], argparse.Namespace(config=None, json=False, verbose=False))
    told, text = await commands.official(archive.pool, archive.vault, by, args)
    return json.loads(json.dumps(told)), text


def options(name: str) -> list[str]:
    told = term(name)
    return [
        "--name",
        name,
        "--matrix-id",
        told["matrix_id"],
        "--function",
        told["function"],
        "--unit",
        "Water",
        "--from",
        "1-1-2026",
    ]


async def test_an_official_is_added_listed_and_ended(archive):
    name = somebody()
    told, text = await run(archive, "add", *options(name), "--reason", "benoemd", by=f"cli:{name}")
    assert told["term"] in text
    found, text = await run(archive, "list")
    [mine] = [each for each in found["officials"] if each["name"] == name]
    assert mine["terms"][0] | {"id": told["term"], "from": "2026-01-01", "until": None, "sole": False} == mine["terms"][0]
    assert name in text
    with pytest.raises(OfficialError, match="before the first day"):
        await run(archive, "end", told["term"], "--until", "2025-12-31")
    await run(archive, "end", told["term"], "--until", "2026-06-30")
    assert str((await named(archive, name))[name].terms[0].until_day) == "2026-06-30"
    assert [action for action, _ in await trail(archive, f"cli:{name}")] == ["add official", "add official"]
    for which in ("geen-id", "0198f1a2-0000-7000-8000-000000000000"):
        with pytest.raises(OfficialError, match="no such function"):
            await run(archive, "end", which)
    with pytest.raises(OfficialError, match=r"--from: Fill in.*--matrix-id: Fill in"):
        await run(archive, "add", "--name", name)
    with pytest.raises(OfficialError, match="somebody else's"):
        await run(archive, "add", *options(name), "--name", "Een ander")


async def test_a_file_is_looked_at_first_and_imported_when_that_is_said(archive, tmp_path):
    name = somebody()
    file = tmp_path / "lijst.csv"
    file.write_text(HEAD + row(name))
    told, text = await run(archive, "import", str(file))
    assert (told["imported"], told["new"], "--confirm" in text) == (False, 1, True)
    assert await named(archive, name) == {}
    told, _ = await run(archive, "import", str(file), "--confirm")
    assert told["imported"]
    assert set(await named(archive, name)) == {name}
    file.write_text(HEAD + row("") + row(somebody()))
    with pytest.raises(OfficialError, match="line 2: error; name: Fill in the name"):
        await run(archive, "import", str(file), "--confirm")
    file.write_text("naam\n")
    with pytest.raises(OfficialError, match=r"headings.*matrix_id"):
        await run(archive, "import", str(file))
    with pytest.raises(OfficialError, match="can't be read"):
        await run(archive, "import", str(tmp_path / "weg.csv"))
