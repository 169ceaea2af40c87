"""The OpenAPI document is true of the running application: by its own schema, and by schemathesis with real data."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from archiver.db import tenant_tx
from archiver.ledger.files import FileStore
from archiver.settings import Settings
from archiver.web import sessions
from archiver.web.access import ROUTES, Whoever
from archiver.web.api.document import document, responses
from archiver.web.api.kinds import KINDS
from archiver.web.api.operation import OPERATIONS
from archiver.web.api.page import marked
from archiver.web.api.scopes import FOR, Scope
from archiver.web.roles import Role
from tests.unit.web.api.conftest import token_of
from tests.unit.web.signed_in import served, session_of
from tests.unit.web.test_files import keep

SEED, EXAMPLES = "20261124", "8"
# No schema says which texts are a query: `OR` is none.
QUERIES = """
[[operations]]
include-name = "GET /api/v1/search"
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 422]
"""
# Whose token tries which operations.
TRIED = {
    "records-officer": ["Conversations", "Messages", "Search", "Channels", "Exports", "You"],
    "admin": ["People and roles", "Health"],
    "auditor": ["Audit trail"],
}


def test_the_document_tells_every_route_of_the_api_and_no_other():
    told = {(each.method, f"/api/v1{each.path}") for each in OPERATIONS}
    ruled = {(method, path) for method, path in ROUTES if path.startswith("/api/")}
    assert ruled - told == {("GET", "/api/v1/"), ("GET", "/api/v1/openapi.json")}
    assert told <= ruled
    paths = document()["paths"]
    assert {(method.upper(), path) for path, methods in paths.items() for method in methods} == told


def test_a_scope_is_for_whom_the_route_is():
    for each in OPERATIONS:
        rule = ROUTES[each.method, f"/api/v1{each.path}"]
        if each.name == "list_changes":  # what was done after they left is not an official's
            assert rule == FOR[each.scope] - {Role.OFFICIAL}
            continue
        assert rule == (FOR[each.scope] if each.scope else Whoever.SIGNED_IN), each.name
    assert {each.scope for each in OPERATIONS} - {None} == set(Scope)


def test_everything_in_the_document_is_explained():
    assert {tag["name"] for tag in document()["tags"]} == {each.subject for each in OPERATIONS}
    for path, methods in document()["paths"].items():
        for method, each in methods.items():
            assert each["summary"]
            assert each["description"], path
            for parameter in each["parameters"]:
                assert parameter.get("description") or parameter["in"] == "path", (method, path, parameter["name"])
    used = {name for each in OPERATIONS for name in responses(each)}
    assert used | {"method", "purpose", "not-found"} == set(KINDS)
    text = json.dumps(document())
    assert "#/$defs" not in text
    for reference in set(text.split('"#/components/')[1:]):
        kind, name = reference.partition('"')[0].split("/")
        assert name in document()["components"][kind]


def test_words_of_the_document_are_no_markup_of_the_page():
    assert str(marked("<b> `a<b` **c**")) == "&lt;b&gt; <code>a&lt;b</code> <strong>c</strong>"


@pytest.mark.postgres
async def test_the_document_is_openapi_3_1(api):
    from jsonschema.validators import Draft202012Validator
    from jsonschema_specifications import REGISTRY  # noqa: F401 - the meta-schemas are there

    answer = await api.get("/api/v1/openapi.json")
    made = await answer.json()
    assert (answer.status, answer.content_type, made["openapi"]) == (200, "application/json", "3.1.1")
    for schema in made["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.postgres
async def test_developers_read_it_as_a_page(api):
    for language, heading in (("nl", "Beschrijving voor ontwikkelaars"), ("en", "Description for developers")):
        text = await (await api.get(f"/api/v1/?lang={language}")).text()
        assert f"<h1>{heading}</h1>" in text
        for each in OPERATIONS:
            assert f'id="{each.name}"' in text
        for kind in KINDS.values():
            assert f'id="problem-{kind.name}"' in text


@pytest.mark.postgres
@pytest.mark.parametrize("role", TRIED)
async def test_schemathesis_finds_nothing(archive, room, tmp_path, role):
    store = tmp_path / "files"
    _, file = await keep(archive, room, FileStore(store), "clean")
    event = unquote(file.partition("?")[0].rpartition("/")[2])
    cookie = await session_of(archive, "inspector", person="iemand")
    async with tenant_tx(archive.pool, 1) as tx:
        session = await sessions.find(tx, 1, cookie, Settings().web)
    (tmp_path / "made-up.toml").write_text(QUERIES)
    (tmp_path / "known.toml").write_text(
        f'[parameters]\n"path.room_id" = {json.dumps(room)}\n"path.event_id" = {json.dumps(event)}\n'
        f'"path.session_id" = "{session.session_id}"\n' + QUERIES
    )
    token = await token_of(archive, role)
    settings = Settings(web={"api_limit": 1_000_000})
    async with served(archive, store, settings) as client:
        for known in (True, False):  # what is there, and whatever it comes up with
            told, status = await schemathesis(str(client.make_url("/")).rstrip("/"), token, TRIED[role], tmp_path, known=known)
            assert status == 0, told


async def schemathesis(url: str, token: str, subjects: list[str], folder: Path, *, known: bool) -> tuple[str, int]:
    """What it says of the operations about these subjects, and how it ended."""
    config = ["--config-file", str(folder / ("known.toml" if known else "made-up.toml"))]
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "schemathesis"), *config, "run", f"{url}/api/v1/openapi.json", "--url", url,
        "--header", f"Authorization: Bearer {token}", "--header", "Griffier-Purpose: Archiefbeheer",
        "--header", "Griffier-Case-Number: 2026-0017", *(part for subject in subjects for part in ("--include-tag", subject)),
        "--checks", "all", "--mode", "all", "--phases", "examples,coverage,fuzzing" if known else "fuzzing",
        "--max-examples", EXAMPLES,
        "--seed", SEED, "--generation-deterministic", "--no-color", "--warnings", "off",
        "--continue-on-failure",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=folder,
    )  # fmt: skip
    out, _ = await process.communicate()
    return out.decode("utf-8", "replace"), process.returncode or 0
