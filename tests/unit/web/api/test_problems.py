"""Errors of the API: one form for all of them, in the reader's language, and nothing of what was sent."""

from __future__ import annotations

import json
import secrets
from urllib.parse import quote

import pytest

from archiver.db import tenant_tx
from archiver.web import access, sessions
from archiver.web.api import cursor
from archiver.web.api.kinds import KINDS
from archiver.web.context import ARCHIVE
from archiver.web.roles import assigned
from tests.unit.web.api.conftest import Program, token_of
from tests.unit.web.signed_in import session_of, use

pytestmark = pytest.mark.postgres

ROLE = {"person": "iemand", "role": "inspector"}


@pytest.mark.parametrize(
    ("method", "path", "more", "status", "kind"),
    [
        ("GET", "/nergens", {}, 404, "not-found"),
        ("GET", "/rooms/!nergens:x", {}, 404, "not-found"),
        ("GET", "/rooms/%21nergens%3Ax/messages/$niets", {}, 404, "not-found"),
        ("PUT", "/rooms", {}, 405, "method"),
        ("HEAD", "/rooms", {}, 405, None),
        ("GET", "/rooms?limit=0", {}, 422, "invalid"),
        ("GET", "/rooms?limit=201", {}, 422, "invalid"),
        ("GET", "/rooms?limit=1_0", {}, 422, "invalid"),
        ("GET", "/rooms?limit=1&limit=2", {}, 422, "invalid"),
        ("GET", "/rooms?onbekend=1", {}, 422, "invalid"),
        ("GET", "/rooms?active_from=gisteren", {}, 422, "invalid"),
        ("GET", "/rooms?active_from=1764000000", {}, 422, "invalid"),
        ("GET", "/rooms?active_from=2026-01-01T00:00:00", {}, 422, "invalid"),
        ("GET", "/rooms?cursor=verzonnen", {}, 404, "cursor"),
        ("GET", "/rooms/!x:x/messages?cursor=AAAA", {}, 404, "cursor"),
        ("GET", "/rooms/geen-kamer", {}, 422, "invalid"),
        ("GET", "/rooms/!%00:x", {}, 422, "invalid"),
        ("GET", f"/rooms/!{'x' * 300}:x", {}, 422, "invalid"),
        ("GET", "/rooms/!x:x/messages/geen-bericht", {}, 422, "invalid"),
        ("GET", "/search", {}, 422, "query"),
        ("GET", f"/search?q={'x' * 301}", {}, 422, "invalid"),
        ("GET", "/search?q=%00", {}, 422, "query"),
        ("GET", "/search?q=OR", {}, 422, "query"),
        ("GET", "/search?q=%22open", {}, 422, "query"),
        ("GET", "/search?q=x&has=niets", {}, 422, "invalid"),
        ("GET", "/search?q=x&room_id=!nergens:x", {}, 404, "not-found"),
        ("GET", "/search?q=x&sender=niemand-van-hier", {}, 404, "not-found"),
        ("GET", "/search?q=x&cursor=AAAA", {}, 404, "cursor"),
    ],
)
async def test_what_can_t_be_asked_is_told_as_a_problem(officer, method, path, more, status, kind):
    answer = await officer.send(path, method, **more)
    assert answer.status == status
    assert answer.content_type == "application/problem+json"
    if kind is not None:
        problem = json.loads(await answer.read())
        assert problem["status"] == status
        assert problem["type"] == KINDS[kind].address
        assert problem["title"] == KINDS[kind].title
        assert bool(problem.get("errors")) == (kind in ("invalid", "query"))
    if status == 405:
        assert answer.headers["Allow"] == "GET"


@pytest.mark.parametrize(
    ("body", "headers", "status", "kind"),
    [
        ("{", {}, 400, "unreadable"),
        ("[" * 100_000, {}, 413, "too-large"),
        ("[" * 60_000, {}, 400, "unreadable"),
        ("\xff", {}, 400, "unreadable"),
        ("null", {}, 422, "invalid"),
        ("[]", {}, 422, "invalid"),
        ("{}", {}, 422, "invalid"),
        (json.dumps(ROLE | {"role": "koning"}), {}, 422, "invalid"),
        (json.dumps(ROLE | {"person": ["x"]}), {}, 422, "invalid"),
        (json.dumps(ROLE | {"person": "\ud800"}), {}, 422, "invalid"),
        (json.dumps(ROLE | {"person": "a\0b"}), {}, 422, "invalid"),
        (json.dumps(ROLE | {"person": " "}), {}, 422, "invalid"),
        (json.dumps(ROLE | {"meer": 1}), {}, 422, "invalid"),
        (json.dumps(ROLE | {"reason": "x" * 256}), {}, 422, "invalid"),
        (json.dumps(ROLE | {"reason": "x" * 70_000}), {}, 413, "too-large"),
        (json.dumps(ROLE | {"reason": "x" * 3_000_000}), {}, 413, "too-large"),
        (json.dumps(ROLE), {"Content-Type": "text/plain"}, 415, "media-type"),
        (json.dumps(ROLE | {"matrix_id": "@x:x"}), {}, 409, "conflict"),  # of officials only
    ],
)
async def test_a_body_that_can_t_be_is_refused_and_changes_nothing(admin, archive, body, headers, status, kind):
    sent = {"Content-Type": "application/json", **headers}
    got, problem = await admin.ask("/roles", "POST", data=body.encode("latin-1", "replace"), headers=sent)
    assert (got, problem["type"]) == (status, KINDS[kind].address)
    assert "koning" not in json.dumps(problem)
    async with tenant_tx(archive.pool, 1) as tx:
        assert not await assigned(tx, 1, "iemand")


async def test_a_problem_says_which_parameter_and_why_and_never_what_was_sent(officer):
    _, problem = await officer.ask("/rooms?limit=geheim&onbekend=geheim&active_from=geheim")
    assert {(each["place"], each["name"]) for each in problem["errors"]} == {
        ("query", "limit"), ("query", "onbekend"), ("query", "active_from"),
    }  # fmt: skip
    assert "geheim" not in json.dumps(problem)


@pytest.mark.parametrize(
    ("header", "title"),
    [
        ("nl", "Niet gevonden"), ("en", "Not found"), ("en-GB,en;q=0.9", "Not found"),
        ("de, en;q=0.5, nl;q=0.8", "Niet gevonden"),
        ("fr", "Niet gevonden"), ("", "Niet gevonden"), ("en;q=0, nl", "Niet gevonden"), ("en;q=x", "Niet gevonden"),
        (",;,;q=1;en" * 50, "Niet gevonden"),
    ],
)  # fmt: skip
async def test_a_problem_is_told_in_the_reader_s_language(officer, header, title):
    answer = await officer.send("/nergens", headers={"Accept-Language": header})
    assert (await answer.json(content_type=None))["title"] == title
    assert answer.headers["Content-Language"] == ("nl" if title.startswith("Niet") else "en")


async def test_what_goes_wrong_inside_is_told_without_what_it_was(officer, monkeypatch, caplog):
    async def broken(*_: object) -> None:
        raise RuntimeError("geheime inhoud")

    monkeypatch.setattr("archiver.web.api.rooms.room_list.rooms", broken)
    answer = await officer.send("/rooms")
    text = await answer.text()
    assert (answer.status, answer.content_type) == (500, "application/problem+json")
    assert "geheim" not in text
    assert any("An operation failed" in record.message for record in caplog.records)
    assert "geheim" not in caplog.text
    assert "RuntimeError" in caplog.text


@pytest.mark.parametrize(
    "path",
    [
        "/search?q=x&sent_from=0001-01-01T00:00:00%2B14:00",
        "/search?q=x&sent_until=9999-12-31T23:59:59-12:00",
        "/rooms?active_from=0001-01-01T00:00:00%2B14:00",
    ],
)
async def test_a_moment_at_the_edge_of_the_calendar_is_refused(officer, path):
    status, problem = await officer.ask(path)
    assert (status, problem["type"]) == (422, KINDS["invalid"].address)


async def test_an_unreachable_database_is_told_as_such(officer, monkeypatch):
    async def gone(*_: object) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr("archiver.web.api.rooms.room_list.rooms", gone)
    status, problem = await officer.ask("/rooms")
    assert (status, problem["type"]) == (503, KINDS["unavailable"].address)


async def test_a_cursor_holds_only_for_the_list_that_gave_it_and_can_t_be_made_up(officer, archive, talk):
    room = quote(talk.room, safe="")
    _, page = await officer.ask(f"/rooms/{room}/messages?limit=1")
    good = page["next"]
    flipped = good[:30] + ("A" if good[30] != "A" else "B") + good[31:]
    foreign = cursor.write(archive.other, f"messages {talk.room}", "2026-01-01T00:00:00+00:00", 0, "$x")
    own = cursor.write(archive.vault, "messages !other:x", "2026-01-01T00:00:00+00:00", 0, "$x")
    for wrong in (flipped, good[:-3], good + "A", foreign, own, "A" * 1000, "A"):
        status, problem = await officer.ask(f"/rooms/{room}/messages?cursor={quote(wrong)}")
        assert (status, problem["type"]) == (404, KINDS["cursor"].address), wrong
    for wrong in ("é", "=", "%00", "", "A" * 1001):
        assert (await officer.ask(f"/rooms/{room}/messages?cursor={quote(wrong)}"))[0] == 422, wrong
    assert (await officer.ask(f"/rooms/{room}/changes?cursor={good}"))[0] == 404
    assert (await officer.ask(f"/rooms/{room}/messages?cursor={good}"))[0] == 200


async def test_roles_are_given_and_taken_by_a_program_and_it_is_in_the_trail(admin, archive):
    person = f"p / {secrets.token_hex(4)}"
    status, given = await admin.ask("/roles", "POST", json={"person": person, "role": "inspector", "reason": "waarneming"})
    assert (status, given["person"], given["reason"]) == (201, person, "waarneming")
    assert (await admin.ask("/roles", "POST", json={"person": person, "role": "auditor"}))[0] == 409
    _, listed = await admin.ask("/roles")
    assert person in {each["person"] for each in listed["items"]}
    path = f"/roles/{quote(person, safe='')}/inspector"
    assert (await admin.ask(path, "DELETE"))[0] == 204
    assert (await admin.ask(path, "DELETE"))[0] == 409
    async with tenant_tx(archive.pool, 1) as tx:
        acts = await tx.fetch("SELECT action FROM audit WHERE detail->>'person' = $1 ORDER BY audit_id", person)
    assert [row["action"] for row in acts] == ["grant role", "revoke role"]


async def test_nobody_gives_themselves_a_role_by_a_program_either(api, archive):
    person = f"p-{secrets.token_hex(4)}"
    admin = Program(api, await token_of(archive, "admin", person=person))
    assert (await admin.ask("/roles", "POST", json={"person": person, "role": "official"}))[0] == 409


async def test_a_session_is_ended_by_a_program(admin, archive):
    cookie = await session_of(archive, "inspector", person="weg")
    async with tenant_tx(archive.pool, 1) as tx:
        found = await sessions.find(tx, 1, cookie, admin.client.app[ARCHIVE].settings.web)
    _, listed = await admin.ask("/sessions")
    assert str(found.session_id) in {each["session_id"] for each in listed["items"]}
    assert (await admin.ask(f"/sessions/{found.session_id}", "DELETE"))[0] == 204
    assert (await admin.ask(f"/sessions/{found.session_id}", "DELETE"))[0] == 404


async def test_a_session_reads_and_changes_only_with_its_form_token(api, archive):
    form = use(api, await session_of(archive, "admin", person="beheer-1"))
    assert (await api.get("/api/v1/roles")).status == 200
    wish = {"person": f"p-{secrets.token_hex(4)}", "role": "inspector"}
    for headers in ({}, {access.FORM_TOKEN: "verzonnen"}, {access.FORM_TOKEN: form, "Sec-Fetch-Site": "cross-site"}):
        answer = await api.post("/api/v1/roles", json=wish, headers=headers)
        assert (answer.status, (await answer.json(content_type=None))["type"]) == (403, KINDS["forged"].address)
    forged = await api.post("/api/v1/roles", data={**wish, "form_token": form})  # as a form of another site could
    assert forged.status == 403
    async with tenant_tx(archive.pool, 1) as tx:
        assert not await assigned(tx, 1, wish["person"])
    assert (await api.post("/api/v1/roles", json=wish, headers={access.FORM_TOKEN: form})).status == 201


async def test_who_gives_a_token_is_that_token_s_owner_whatever_cookie_came_along(api, archive):
    use(api, await session_of(archive, "admin", person="beheer-2"))
    assert (await Program(api, "griffier_pat_verzonnen").ask("/me"))[0] == 401
    assert (await Program(api, await token_of(archive, "inspector", person="ander")).ask("/me"))[1]["person"] == "ander"
    answer = await api.get("/api/v1/me", headers={"Authorization": "Basic eDp5"})
    assert answer.status == 401
    token = await token_of(archive, "inspector")
    page = await api.get("/rooms/x", headers={"Authorization": f"Bearer {token}"})  # a page knows sessions only
    assert page.status == 403


async def test_the_trail_is_read_by_a_program_in_pages(api, archive):
    auditor = Program(api, await token_of(archive, "auditor"))
    person = f"p-{secrets.token_hex(4)}"
    other = Program(api, await token_of(archive, "inspector", person=person))
    for _ in range(3):
        await other.ask("/rooms")
    found, path = [], f"/audit?person={person}&limit=2"
    while path:
        _, page = await auditor.ask(path)
        found += [each["action"] for each in page["items"]]
        path = f"/audit?person={person}&limit=2&cursor={page['next']}" if page["next"] else ""
    assert found == ["list rooms"] * 3 + ["make token"]
    _, none = await auditor.ask(f"/audit?person={person}&at_until=2020-01-01T00:00:00Z")
    assert none["items"] == []
    _, page = await auditor.ask(f"/audit?person={person}&purpose=Archiefbeheer&case_number=2026-0017")
    assert {(each["purpose"], each["case_number"]) for each in page["items"]} <= {("Archiefbeheer", "2026-0017")}
    _, none = await auditor.ask(f"/audit?person={person}&purpose=Iets%20anders")
    assert none["items"] == []
    assert (await auditor.ask("/audit?at_until=1784-01-01T00:00:00Z"))[1]["items"] == []
    status, _ = await auditor.ask("/audit?at_from=0001-01-01T00:00:00Z&at_until=9999-12-31T23:59:59%2B14:00")
    assert status == 200
