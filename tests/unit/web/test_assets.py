"""Style and scripts: kept by browsers under their hash, from a list, and what others made is unchanged."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from pathlib import Path

import pytest

from archiver.settings import Settings
from archiver.web.assets import COMPONENTS, HTMX, MADE_OF, address, assets
from tests.unit.web.signed_in import served

STATIC = Path(str(files("archiver.web"))) / "static"
ROW = re.compile(r"^\| (\S+) \| (\S+) \| (\S+) \| (\S+) \| (\S+) \| ([0-9a-f]{64}) \|$", re.MULTILINE)


def test_what_others_made_is_as_they_published_it_and_its_licence_lies_beside_it():
    told = ROW.findall((STATIC / "vendor" / "VENDORED.md").read_text())
    assert {f"vendor/{folder}/{file}" for folder, _, _, _, file, _ in told} == {COMPONENTS, HTMX}
    for folder, _, version, licence, file, known in told:
        assert hashlib.sha256((STATIC / "vendor" / folder / file).read_bytes()).hexdigest() == known
        assert folder.endswith(version)
        assert licence in ("EUPL-1.2", "0BSD")
        assert list((STATIC / "vendor" / folder).glob("LICENSE*"))
    assert {each.name for each in (STATIC / "vendor").iterdir() if each.is_dir()} == {row[0] for row in told}


def test_no_file_of_ours_asks_anything_elsewhere_or_bears_the_fonts_of_the_state():
    for name in ("tokens.css", "pages.css", "page.js"):
        text = (STATIC / name).read_text()
        assert "url(" not in text
        assert "http" not in text.replace('a[href^="http"]', "").replace("htmx", "")
    assert b"Rijksoverheid" not in b"".join(asset.body for asset in assets().values())


@pytest.mark.postgres
async def test_an_asset_is_kept_for_a_year_under_its_hash_and_nothing_else_is_found(archive, tmp_path):
    async with served(archive, tmp_path) as client:
        page = await (await client.get("/signin")).text()
        for name in MADE_OF:
            assert address(name) in page, name
            for encoding in ("gzip", "identity"):
                answer = await client.get(address(name), headers={"Accept-Encoding": encoding})
                assert (answer.status, await answer.read()) == (200, assets()[name].body)
                assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
        for other in ("style.css", "style.000000000000.css", "VENDORED.md", "..%2Fapp.py", "%2e%2e%2fapp.py"):
            assert (await client.get(f"/static/{other}")).status == 404, other


@pytest.mark.postgres
async def test_the_policy_lets_only_our_own_scripts_run(archive, tmp_path):
    async with served(archive, tmp_path) as client:
        answer = await client.get("/signin")
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        page = await answer.text()
    assert not re.search(r"<script(?![^>]*\ssrc=\"/static/)|\son[a-z]+=|\sstyle=", page)
    assert '"allowEval": false' in page
    assert '"includeIndicatorStyles": false' in page


@pytest.mark.postgres
async def test_an_organisation_s_own_tokens_are_loaded_last(archive, tmp_path):
    sheet = tmp_path / "huisstijl.css"
    sheet.write_text(":root { --bar: #007bc7; }")
    async with served(archive, tmp_path, Settings(web={"theme": sheet})) as client:
        page = await (await client.get("/signin")).text()
        *_, last = re.findall(r'<link rel="stylesheet" href="([^"]+)">', page)
        assert "theme" in last
        answer = await client.get(last)
        assert (answer.content_type, await answer.text()) == ("text/css", sheet.read_text())
