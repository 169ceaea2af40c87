"""Personal access tokens: made once, kept as a hash, never more than their owner's present roles."""

from __future__ import annotations

import re
import secrets
from datetime import timedelta

import pytest

from archiver.db import tenant_tx
from archiver.settings import Settings
from archiver.web.api import tokens
from archiver.web.api.scopes import ABOUT, FOR, Scope, open_to
from archiver.web.roles import Role, grant, revoke
from archiver.web.sessions import SignedIn
from tests.unit.conftest import dump
from tests.unit.web.api.conftest import Program, token_of
from tests.unit.web.signed_in import browsing, served, session_of, use

pytestmark = pytest.mark.postgres

SHOWN = re.compile(r"griffier_pat_[0-9A-Za-z]{49}")


def test_a_token_is_known_by_its_prefix_and_checksum():
    made = tokens.new()
    assert SHOWN.fullmatch(made)
    assert tokens.well_formed(made)
    for wrong in (
        made[:-1],
        made + "x",
        made[:20] + ("a" if made[20] != "a" else "b") + made[21:],
        made.upper(),
        "",
        "griffier_pat_",
    ):
        assert not tokens.well_formed(wrong)
    assert len({tokens.new() for _ in range(100)}) == 100


def test_every_scope_is_somebody_s_and_told_in_words():
    assert set(FOR) == set(ABOUT) == set(Scope)
    assert {scope for role in Role for scope in open_to(frozenset({role}))} == set(Scope)
    assert open_to(frozenset()) == []


async def make(client, form: str, **more: object) -> tuple[int, str]:
    data = {"form_token": form, "label": "rapportage", "days": "30", "scope": "read:rooms"} | more
    answer = await client.post("/tokens", data=data, allow_redirects=False)
    return answer.status, await answer.text()


async def test_a_token_is_shown_once_and_kept_as_a_hash_only(archive, tmp_path):
    person = f"p-{secrets.token_hex(4)}"
    async with browsing(archive, tmp_path, "records-officer", person=person) as client:
        form = use(client, await session_of(archive, "records-officer", person=person))
        status, page = await make(client, form)
        assert status == 200
        (token,) = SHOWN.findall(page)
        again = await (await client.get("/tokens")).text()
        assert "rapportage" in again
        assert not SHOWN.search(again)
        assert (await Program(client, token).ask("/me"))[1] == {
            "person": person, "name": person, "roles": ["records-officer"], "scopes": ["read:rooms"],
        }  # fmt: skip
    assert token.encode() not in dump(archive.url)
    async with tenant_tx(archive.pool, 1) as tx:
        acts = await tx.fetch("SELECT detail::text AS detail FROM audit WHERE actor = $1 AND action = 'make token'", person)
        assert len(acts) == 1
        assert token not in acts[0]["detail"]
        assert await tx.fetchval("SELECT used_at IS NOT NULL FROM personal_token WHERE person = $1", person)


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({"label": ""}, "waarvoor het token is"),
        ({"label": "x" * 101}, "waarvoor het token is"),
        ({"scope": "admin:people"}, "Kies ten minste"),  # not within their role
        ({"scope": "verzonnen"}, "Kies ten minste"),
        ({"days": "366"}, "Kies hoelang"),
        ({"days": "niets"}, "Kies hoelang"),
    ],
)
async def test_a_form_that_can_t_be_is_shown_again_with_what_was_typed(archive, tmp_path, form, told):
    person = f"p-{secrets.token_hex(4)}"
    async with browsing(archive, tmp_path, "records-officer", person=person) as client:
        token = use(client, await session_of(archive, "records-officer", person=person))
        status, page = await make(client, token, **form)
        assert status == 400
        assert told in page
        assert f'value="{form.get("label", "rapportage")}"' in page
        assert not SHOWN.search(page)
    async with tenant_tx(archive.pool, 1) as tx:
        assert not await tokens.tokens(tx, 1, person)


async def test_a_token_is_revoked_by_its_owner_after_a_question_and_by_an_admin_but_by_nobody_else(archive, tmp_path, api):
    one, other = f"p-{secrets.token_hex(4)}", f"p-{secrets.token_hex(4)}"
    for by, role, may in ((one, "inspector", True), (other, "inspector", False), ("beheer", "admin", True)):
        token = await token_of(archive, "inspector", person=one)
        async with tenant_tx(archive.pool, 1) as tx:
            token_id = (await tokens.find(tx, 1, token)).token_id
        async with browsing(archive, tmp_path, role, person=by) as client:
            form = use(client, await session_of(archive, role, person=by))
            listed = await (await client.get("/tokens")).text()
            asked = await client.get(f"/tokens/{token_id}/revoke")
            assert (str(token_id) in listed, asked.status) == (may, 200 if may else 404)
            assert (await Program(api, token).ask("/me"))[0] == 200
            done = await client.post(f"/tokens/{token_id}/revoke", data={"form_token": form}, allow_redirects=False)
            assert done.status == (303 if may else 404)
        assert (await Program(api, token).ask("/me"))[0] == (401 if may else 200)
    async with tenant_tx(archive.pool, 1) as tx:
        told = await tx.fetch("SELECT actor FROM audit WHERE action = 'revoke token' AND detail->>'person' = $1", one)
    assert sorted(row["actor"] for row in told) == ["beheer", one]


async def test_an_expired_token_opens_nothing(archive, api):
    token = await token_of(archive, "inspector")
    async with tenant_tx(archive.pool, 1) as tx:
        found = await tokens.find(tx, 1, token)
        await tx.execute(
            "UPDATE personal_token SET made_at = now() - interval '9 days', expires_at = now() WHERE token_id = $1",
            found.token_id,
        )
    assert (await Program(api, token).ask("/me"))[0] == 401
    async with tenant_tx(archive.pool, 1) as tx:
        with pytest.raises(Exception, match="personal_token_check"):  # and none can be made to last longer than a year
            await tx.execute("UPDATE personal_token SET expires_at = now() + interval '2 years'")


async def test_a_token_does_what_it_was_made_for_and_no_more(archive, api):
    token = await token_of(archive, "records-officer", scopes={Scope.ROOMS})
    program = Program(api, token)
    assert (await program.ask("/rooms"))[0] == 200
    for path in ("/search?q=x", "/channels", "/rooms/!x:x/messages", "/rooms/!x:x/messages/$x/file"):
        status, problem = await program.ask(path)
        assert (status, problem["type"]) == (403, "/api/v1/#problem-scope")
    for path in ("/audit", "/roles", "/health"):
        assert (await program.ask(path))[1]["type"] == "/api/v1/#problem-not-yours"


async def test_a_token_loses_a_role_when_its_owner_does(archive, api):
    person = f"p-{secrets.token_hex(4)}"
    async with tenant_tx(archive.pool, 1) as tx:
        await grant(tx, 1, "beheer", person, Role.ADMIN)
    token = await token_of(archive, person=person, scopes={Scope.HEALTH})
    assert (await Program(api, token).ask("/health"))[0] == 200
    async with tenant_tx(archive.pool, 1) as tx:
        await revoke(tx, 1, "beheer", person, Role.ADMIN)
    assert (await Program(api, token).ask("/health"))[1]["type"] == "/api/v1/#problem-not-yours"


async def test_the_identity_provider_s_roles_are_those_of_the_last_sign_in_and_not_for_ever(archive, api):
    person = f"p-{secrets.token_hex(4)}"
    token = await token_of(archive, "inspector", person=person)
    program = Program(api, token)
    assert (await program.ask("/rooms"))[0] == 200
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute("UPDATE personal_token SET claimed_at = now() - interval '31 days' WHERE person = $1", person)
    assert (await program.ask("/rooms"))[0] == 403
    who = {"issuer": "https://sso.x", "subject": person, "sid": None, "person": person, "name": person, "matrix_id": None}
    async with tenant_tx(archive.pool, 1) as tx:
        await tokens.signed_in(tx, 1, SignedIn(roles=frozenset({Role.INSPECTOR}), **who))
    assert (await program.ask("/rooms"))[0] == 200
    async with tenant_tx(archive.pool, 1) as tx:
        await tokens.signed_in(tx, 1, SignedIn(roles=frozenset({Role.ADMIN}), **who))
    assert (await program.ask("/rooms"))[0] == 403


async def test_roles_that_exclude_each_other_open_nothing_by_a_token_either(archive, api):
    person = f"p-{secrets.token_hex(4)}"
    token = await token_of(archive, "inspector", person=person)
    async with tenant_tx(archive.pool, 1) as tx:
        await tx.execute(
            "INSERT INTO role_change (org, made_by, person, role, granted) VALUES (1, 'x', $1, 'auditor', true)", person
        )
    status, problem = await Program(api, token).ask("/rooms")
    assert (status, problem["type"]) == (403, "/api/v1/#problem-apart")


async def test_another_organisation_s_token_is_none(archive):
    token = await token_of(archive, "inspector")
    async with tenant_tx(archive.pool, 2) as tx:
        assert await tokens.find(tx, 2, token) is None
        assert await tokens.find(tx, 1, token) is None
        assert await tokens.tokens(tx, 1) == []


async def test_one_person_has_no_more_than_fifty_tokens(archive, tmp_path):
    person = f"p-{secrets.token_hex(4)}"
    token = await token_of(archive, "inspector", person=person)
    async with tenant_tx(archive.pool, 1) as tx:
        first = await tokens.find(tx, 1, token)
        await tx.execute(
            """INSERT INTO personal_token (org, token_id, token_hash, issuer, subject, person, name, roles, label, scopes,
                                           expires_at)
               SELECT 1, gen_random_uuid(), decode(md5(n::text || $1), 'hex'), 'i', 's', $1, 'n', '{}', 'l', '{}', now() + $2
               FROM generate_series(1, 49) AS n""",
            person,
            timedelta(days=1),
        )
    assert first is not None
    async with browsing(archive, tmp_path, "inspector", person=person) as client:
        form = use(client, await session_of(archive, "inspector", person=person))
        status, page = await make(client, form)
        assert status == 400
        assert "zoveel tokens" in page


async def test_a_token_may_ask_so_often_and_is_told_when_it_may_again(archive, tmp_path):
    async with served(archive, tmp_path, Settings(web={"api_limit": 3})) as client:
        one, other = [Program(client, await token_of(archive, "inspector")) for _ in range(2)]
        left = []
        for _ in range(3):
            answer = await one.send("/me")
            assert answer.status == 200
            left.append(answer.headers["RateLimit"])
        assert left == ['"token";r=2;t=20', '"token";r=1;t=20', '"token";r=0;t=20']
        answer = await one.send("/me")
        assert (answer.status, answer.content_type) == (429, "application/problem+json")
        assert 0 < int(answer.headers["Retry-After"]) <= 20
        assert answer.headers["RateLimit-Policy"] == '"token";q=3;w=60'
        assert (await other.send("/me")).status == 200
        statuses = [(await client.get("/api/v1/me")).status for _ in range(12)]  # nobody: by address, four times as often
        assert statuses == [401] * 7 + [429] * 5
        assert (await client.get("/signin")).status == 200  # the pages have their own limits
