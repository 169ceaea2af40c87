"""Who reads what others said says why first; it shows on every page, stands beside every act, and holds for a while only."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from archiver.db import tenant_tx
from archiver.ledger import audit
from archiver.ledger.audit import note
from archiver.ledger.files import FileStore
from archiver.settings import Settings, SettingsError
from archiver.web import access, jobs, purpose
from archiver.web.access import ROUTES, shows_content
from archiver.web.app import application
from archiver.web.context import Archive
from archiver.web.exporting import export
from archiver.web.purpose import Policy, answer, fits, judged
from archiver.web.roles import READERS, Role
from archiver.web.workshop import Workshop
from tests.unit.web.signed_in import served, session_of, use
from tests.unit.web.test_files import keep
from tests.unit.web.test_membership import Room

pytestmark = pytest.mark.postgres

POLICY = Policy(True, ("Woo-verzoek", "Toezicht"), True, "optional", "", 60)
TOLD = "SELECT action, purpose, case_number FROM audit WHERE org = 1 AND actor = $1 ORDER BY audit_id"
CONTENT = sorted(path for method, path in ROUTES if method == "GET" and shows_content(method, path) and "/api/" not in path)


NOT_WRITTEN = "INSERT INTO nowhere VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"


@pytest.fixture
def person() -> str:
    return f"p-{secrets.token_hex(5)}"


@pytest.fixture
async def policies(archive) -> Any:
    """What is asked of readers may be changed; it is as before after the test."""
    yield
    async with archive.pool.acquire() as connection:
        await connection.execute("ALTER TABLE purpose_policy DISABLE TRIGGER ALL; DELETE FROM purpose_policy")
        await connection.execute("ALTER TABLE purpose_policy ENABLE TRIGGER ALL")


async def told(archive, person: str) -> list[tuple[str, str | None, str | None]]:
    async with tenant_tx(archive.pool, 1) as tx:
        return [tuple(row) for row in await tx.fetch(TOLD, person)]


@pytest.mark.parametrize("role", sorted(READERS))
async def test_no_content_opens_before_a_purpose_is_stated(archive, room, tmp_path, person, role):
    conversation = Room(archive, room)
    word = f"w{secrets.token_hex(5)}"
    conversation.say(f"zegt {word}")
    await conversation.keep()
    async with served(archive, tmp_path) as client:
        form = use(client, await session_of(archive, role, person=person, why=None))
        answer = await client.get(conversation.page, allow_redirects=False)
        assert (answer.status, answer.headers["Location"].startswith("/purpose?next=/rooms/")) == (303, True)
        page = await (await client.get(conversation.page)).text()
        assert "Waarvoor gaat u lezen?" in page
        assert word not in page
        data = {"form_token": form, "purpose": "Woo-verzoek", "case_number": "W-2026-12", "next": conversation.page}
        answer = await client.post("/purpose", data=data)
        page = await answer.text()
        assert answer.url.path == f"/rooms/{room}"
        assert word in page
        for shown in (page, await (await client.get("/")).text()):
            assert re.search(
                r"Leesdoel: <strong><bdi>Woo-verzoek</bdi></strong> · zaaknummer <strong><bdi>W-2026-12</bdi>", shown
            )
        await client.post("/purpose/end", data={"form_token": form})
        answer = await client.get(conversation.page, allow_redirects=False)
        assert answer.status == 303
    acts = await told(archive, person)
    assert ("state purpose", "Woo-verzoek", "W-2026-12") in acts
    assert ("read", "Woo-verzoek", "W-2026-12") in acts
    assert "end purpose" in {action for action, *_ in acts}
    assert all(why for action, why, _ in acts if action == "read")


def test_every_page_that_readers_open_shows_content_unless_it_is_said_not_to():
    for (method, path), rule in ROUTES.items():
        readers = isinstance(rule, frozenset) and bool(rule & READERS)
        assert shows_content(method, path) == (readers and (method, path) not in access.WITHOUT_CONTENT)
    assert set(ROUTES) >= access.WITHOUT_CONTENT
    assert {"/rooms/{room_id}", "/search", "/rooms/{room_id}/files/{event_id}", "/exports/{job_id}/download"} <= set(CONTENT)


@pytest.mark.parametrize("path", CONTENT)
async def test_no_page_of_content_opens_without_a_purpose_whatever_its_address(archive, tmp_path, person, path):
    async with served(archive, tmp_path) as client:
        use(client, await session_of(archive, Role.INSPECTOR, person=person, why=None))
        answer = await client.get(re.sub(r"{\w+}", "x", path), allow_redirects=False)
        assert (answer.status, answer.headers["Location"].startswith("/purpose?next=")) == (303, True)
        answer = await client.get(re.sub(r"{\w+}", "x", path), headers={"HX-Request": "true"}, allow_redirects=False)
        assert (answer.status, answer.headers["HX-Redirect"].startswith("/purpose?next=")) == (403, True)


def newest() -> int:
    """A beginning after that of every other conversation of the tests: it is on the first page of a list."""
    return int(time.time() * 1000)


async def address_of(archive, path: str, room: str, folder: Path, person: str, word: str) -> str:
    """Where there is something to see on a page of content: a conversation with a thread, a file, or an export of it."""
    if path.endswith("/files/{event_id}"):
        return (await keep(archive, room, FileStore(folder), "clean"))[1]
    told = Room(archive, room, newest())
    told.add("m.room.name", {"name": "Overleg over de kade"}, state_key="")
    root = told.say(f"{word} als eerste")
    told.say(f"{word} in een draad", **{"m.relates_to": {"rel_type": "m.thread", "event_id": root}})
    await told.keep()
    known = {"room_id": room, "event_id": root}
    if "{job_id}" in path:
        arguments = {"rooms": [room], "format": "jsonl", "start": None, "end": None, "language": "nl"}
        async with tenant_tx(archive.pool, 1) as tx:
            known["job_id"] = str(await jobs.start(tx, archive.vault, person, "export", arguments))
        opened = Archive(Settings(), archive.pool, archive.vault, FileStore(folder))
        while await Workshop(opened, {"export": export}).do_next(asyncio.Event()):
            pass
    for name, value in known.items():
        path = path.replace(f"{{{name}}}", quote(value, safe=""))
    return f"/search?q={word}" if path == "/search" else path


@pytest.mark.parametrize("path", CONTENT)
async def test_content_is_in_the_trail_before_it_is_read_and_what_can_not_be_written_there_is_not_shown(
    archive, room, tmp_path, person, path, monkeypatch
):
    word = f"w{secrets.token_hex(5)}"
    address = await address_of(archive, path, room, tmp_path, person, word)
    async with served(archive, tmp_path) as client:
        use(client, await session_of(archive, "records-officer", person=person))
        before = len(await told(archive, person))
        answer = await client.get(address)
        assert answer.status == 200, f"{path}: nothing to look at; give it something in address_of"
        whole = await answer.read()
        acts = (await told(archive, person))[before:]
        assert acts, f"{path} is not in the trail"
        assert {(why, case) for _, why, case in acts} == {("Archiefbeheer", "2026-0017")}
        assert "open page" not in {action for action, *_ in acts}, f"{path} writes nothing down before it reads"
        marks = [part for part in (b"kwaad", b" als eerste", b" in een draad", b"over de kade") if part in whole]
        assert marks, f"{path} does not show what was to be shown"
        monkeypatch.setattr(audit, "ADD", NOT_WRITTEN)
        answer = await client.get(address)
        assert answer.status == 500
        refused = await answer.read()
        assert not any(part in refused for part in (b"kwaad", b"als eerste", b"in een draad", b"over de kade"))


async def test_a_page_that_forgets_to_write_down_what_it_shows_is_written_down_for_it(archive, tmp_path, person):
    async def forgets(request: web.Request) -> web.Response:
        return web.Response(text="wat er gezegd is")

    app = application(Archive(Settings(), archive.pool, archive.vault, FileStore(tmp_path)))
    app.router.add_get("/vergeten", forgets)
    access.ROUTES["GET", "/vergeten"] = READERS
    try:
        async with TestClient(TestServer(app)) as client:
            use(client, await session_of(archive, "records-officer", person=person))
            assert (await client.get("/vergeten")).status == 200
            use(client, await session_of(archive, "records-officer", person=person, why=None))
            assert (await client.get("/vergeten", allow_redirects=False)).status == 303
    finally:
        del access.ROUTES["GET", "/vergeten"]
    assert await told(archive, person) == [("open page", "Archiefbeheer", "2026-0017")]


async def test_officials_who_read_their_own_are_not_asked(archive, room, tmp_path):
    me = f"@m{secrets.token_hex(4)}:x"
    conversation = Room(archive, room)
    conversation.member(me, "join")
    conversation.say("van mij")
    await conversation.keep()
    async with served(archive, tmp_path) as client:
        use(client, await session_of(archive, "official", person=me, matrix_id=me, why=None))
        answer = await client.get(conversation.page, allow_redirects=False)
        assert (answer.status, "van mij" in await answer.text()) == (200, True)
        assert (await client.get("/purpose")).status == 403


async def test_a_purpose_holds_for_a_while_and_of_one_session_only(archive, tmp_path, person):
    async with served(archive, tmp_path) as client:
        token = await session_of(archive, "records-officer", person=person)
        use(client, token)
        assert (await client.get("/search", allow_redirects=False)).status == 200
        use(client, await session_of(archive, "records-officer", person=person, why=None))
        assert (await client.get("/search", allow_redirects=False)).status == 303
        use(client, token)
        async with archive.pool.acquire() as connection:
            await connection.execute("UPDATE web_session SET purpose_until = now() WHERE person = $1", person)
        assert (await client.get("/search", allow_redirects=False)).status == 303
        assert "Archiefbeheer" not in await (await client.get("/channels")).text()


async def test_an_admin_changes_what_is_asked_and_a_case_number_can_be_required(archive, tmp_path, person, policies):
    async with served(archive, tmp_path) as client:
        form = use(client, await session_of(archive, "admin", person=person + "-beheer"))
        assert "Woo-verzoek" in await (await client.get("/purpose/policy")).text()
        wish = {
            "form_token": form, "required": "1", "purposes": "Dossier\n\nDossier\nToezicht ", "case_number": "required",
            "case_pattern": "####-@*", "minutes": "5",
        }  # fmt: skip
        for wrong in (
            {"purposes": ""},
            {"case_number": "soms"},
            {"case_pattern": "*-#"},
            {"minutes": "0"},
            {"minutes": "veel"},
            {"minutes": "nan"},
            {"purposes": "x" * 201},
        ):
            answer = await client.post("/purpose/policy", data=wish | wrong)
            assert answer.status == 400, wrong
            assert 'aria-invalid="true"' in await answer.text(), wrong
        answer = await client.post("/purpose/policy", data=wish)
        assert "opgeslagen" in await answer.text()
        form = use(client, await session_of(archive, "records-officer", person=person, why=None))
        page = await (await client.get("/purpose?next=/search")).text()
        assert "####-@*" in page
        assert "Archiefbeheer" not in page
        for data in (
            {},
            {"purpose": "Dossier"},
            {"purpose": "Dossier", "case_number": "2026"},
            {"purpose": "Woo-verzoek", "case_number": "2026-A"},
            {"purpose": "", "other": "eigen doel", "case_number": "2026-A"},
        ):
            answer = await client.post("/purpose", data={"form_token": form, "next": "/search", **data})
            assert answer.status == 400, data
            assert (await client.get("/search", allow_redirects=False)).status == 303
        answer = await client.post(
            "/purpose", data={"form_token": form, "next": "/search", "purpose": "Dossier", "case_number": "2026-Awoo"}
        )
        assert answer.url.path == "/search"
        async with archive.pool.acquire() as connection:
            left = await connection.fetchval(
                "SELECT extract(epoch FROM purpose_until - now()) FROM web_session WHERE person = $1 AND purpose IS NOT NULL",
                person,
            )
        assert 240 < left <= 300
        form = use(client, await session_of(archive, "admin", person=person + "-beheer"))
        await client.post("/purpose/policy", data=wish | {"form_token": form, "required": ""})
        use(client, await session_of(archive, "records-officer", person=person, why=None))
        assert (await client.get("/search", allow_redirects=False)).status == 200
    assert [action for action, *_ in await told(archive, person + "-beheer")].count("change purpose policy") == 2


async def test_hostile_answers_are_refused_or_shown_as_they_are(archive, tmp_path, person):
    async with served(archive, tmp_path) as client:
        form = use(client, await session_of(archive, "records-officer", person=person, why=None))
        for data in (
            {"other": "x" * 201}, {"other": "a\0b"}, {"other": "·"}, {"other": " "}, {"other": "wit\u202eregel"},
            {"purpose": "Toezicht", "case_number": "9" * 65}, {"purpose": "Toezicht", "case_number": "1\x1b[2J"},
        ):  # fmt: skip
            answer = await client.post("/purpose", data={"form_token": form, **data})
            assert answer.status == 400, data
        for elsewhere in ("https://kwaad.example", "//kwaad.example", "/\\kwaad.example", "javascript:alert(1)"):
            answer = await client.post(
                "/purpose", data={"form_token": form, "purpose": "Toezicht", "next": elsewhere}, allow_redirects=False
            )
            assert answer.headers["Location"] == "/"
        evil = "<script>alert(1)</script>"
        await client.post("/purpose", data={"form_token": form, "other": evil, "case_number": evil})
        page = await (await client.get("/")).text()
        assert evil not in page
        assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize("path", ["/", "/exports", "/api/v1/rooms?limit=200"])
async def test_what_conversations_are_called_is_content_too(archive, room, tmp_path, person, path):
    conversation, name = Room(archive, room, newest()), f"Kamer {secrets.token_hex(5)}"
    conversation.add("m.room.name", {"name": name}, state_key="")
    conversation.say("iets")
    await conversation.keep()
    async with served(archive, tmp_path) as client:
        use(client, await session_of(archive, "records-officer", person=person, why=None))
        assert name not in await (await client.get(path)).text()
        use(client, await session_of(archive, "records-officer", person=person))
        assert name in await (await client.get(path)).text()


async def test_a_form_that_was_sent_after_the_purpose_ended_comes_back_as_it_was_filled_in(archive, room, tmp_path, person):
    conversation = Room(archive, room)
    conversation.say("iets")
    await conversation.keep()
    async with served(archive, tmp_path) as client:
        form = use(client, await session_of(archive, "records-officer", person=person, why=None))
        wish = {"form_token": form, "room": room, "from": "2026-03-01", "to": "", "format": "jsonl"}
        await client.post("/exports", data=wish)
        asking = await client.post("/exports", data=wish, allow_redirects=False)
        assert form not in asking.headers["Location"]
        back = re.search(r'name="next" value="([^"]+)"', await (await client.get(asking.headers["Location"])).text())[1]
        data = {"form_token": form, "purpose": "Toezicht", "next": back.replace("&amp;", "&")}
        page = await (await client.post("/purpose", data=data)).text()
    assert re.search(rf'value="{re.escape(room)}" checked', page)
    assert 'value="2026-03-01"' in page
    assert re.search(r'value="jsonl" selected', page)


async def test_purposes_and_case_numbers_are_in_no_log(archive, tmp_path, person, caplog, monkeypatch):
    word = f"geheimdoel{secrets.token_hex(4)}"
    caplog.set_level("DEBUG")
    async with served(archive, tmp_path) as client:
        form = use(client, await session_of(archive, "records-officer", person=person, why=None))
        await client.post("/purpose", data={"form_token": form, "other": word, "case_number": word})
        monkeypatch.setattr(audit, "ADD", NOT_WRITTEN)
        assert (await client.get("/")).status == 500
    assert "A page failed" in caplog.text
    assert word not in caplog.text
    assert word not in repr(purpose.Purpose(word, word))
    assert word not in repr(
        access.Visitor(None, "", "", frozenset(), None, "", purpose.Stated(purpose.Purpose(word, word), None))
    )


def test_an_answer_is_judged_by_the_policy():
    assert answer(POLICY, "Toezicht", "", " W  1 ").purpose == purpose.Purpose("Toezicht", "W 1")
    assert answer(POLICY, "", " eigen  doel ", "").purpose == purpose.Purpose("eigen doel", None)
    listed = Policy(True, ("Toezicht",), False, "no", "", 60)
    assert answer(listed, "Toezicht", "", "weg ermee").purpose == purpose.Purpose("Toezicht", None)
    assert answer(listed, "eigen doel", "", "").problems == {"purpose": "choose"}
    assert answer(listed, "", "eigen doel", "").problems == {"purpose": "choose"}


def test_what_a_case_number_looks_like_is_no_regular_expression():
    for pattern, case, good in (
        ("", "wat dan ook", True), ("####-##", "2026-01", True), ("####-##", "2026-1", False), ("####-##", "२०२६-०१", False),
        ("@@.#", "Ab.1", True), ("@@.#", "Abx1", False), ("W-*", "W-", True), ("W-*", "W-12-x", True), ("W-*", "V-12", False),
        ("(a+)+#", "(a+)+1", True), ("(a+)+#", "a" * 64, False), ("??", "xy", True), ("??", "x", False),
    ):  # fmt: skip
        assert fits(pattern, case) == good, (pattern, case)
    assert judged(Policy(True, (), False, "no", "", 60)) == {"purposes": "none"}
    with pytest.raises(SettingsError, match="case_pattern"):
        Settings.load(web={"purpose": {"case_pattern": "*#"}})


async def test_another_organisation_has_a_policy_of_its_own(archive, policies):
    async with tenant_tx(archive.pool, 2) as tx:
        await purpose.change(tx, 2, "beheer", Policy(False, ("Anders",), False, "no", "", 7))
    async with tenant_tx(archive.pool, 1) as tx:
        assert await purpose.policy_of(tx, 1, Settings().web.purpose) == purpose.of_settings(Settings().web.purpose)
        assert await purpose.policy_of(tx, 2, Settings().web.purpose) == purpose.of_settings(Settings().web.purpose)
        await note(tx, 1, "beheer", "read")
