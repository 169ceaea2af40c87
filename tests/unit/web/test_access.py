"""Who may open what: every route, for every role and for nobody."""

from __future__ import annotations

import re
import secrets

import pytest
from aiohttp import web

from archiver.db import tenant_tx
from archiver.settings import Settings
from archiver.web import access
from archiver.web.access import ROUTES, Whoever
from archiver.web.roles import Role, RoleError, assigned, conflict, grant, history, revoke
from tests.unit.web.signed_in import browsing, served, session_of, use

pytestmark = pytest.mark.postgres

OFFICIALS = "/admin/officials"
OFFICE = {
    OFFICIALS, "/admin/officials.csv", "/admin/organisation", "/admin/bridge", "/admin/bridge/accounts", "/admin/bridge/retry",
    "/admin/bridge/accounts/{account}/forget", "/admin/bridge/numbers", "/admin/bridge/numbers/{number}",
    "/admin/bridge/numbers/{number}/remove", f"{OFFICIALS}/new", f"{OFFICIALS}/example.csv", f"{OFFICIALS}/import",
    f"{OFFICIALS}/import/{{import_id}}", f"{OFFICIALS}/import/{{import_id}}/undo", f"{OFFICIALS}/{{official}}",
    f"{OFFICIALS}/{{official}}/withdraw", f"{OFFICIALS}/{{official}}/{{kind}}/new",
    f"{OFFICIALS}/{{official}}/{{kind}}/{{entry}}",
    f"{OFFICIALS}/{{official}}/{{kind}}/{{entry}}/withdraw",
}  # fmt: skip
TOKENS = {"/tokens", "/tokens/{token_id}/revoke"}
API_ROOMS = "/api/v1/rooms/{room_id}"
API_OWN = {"/api/v1/rooms", "/api/v1/search", API_ROOMS, f"{API_ROOMS}/messages"}
API_OWN |= {f"{API_ROOMS}/messages/{{event_id}}{more}" for more in ("", "/proof", "/file")}
API_EXPORTS = {f"/api/v1/exports{more}" for more in ("", "/{export_id}", "/{export_id}/file")}
API_PEOPLE = {"/api/v1/roles", "/api/v1/roles/{person}/{role}", "/api/v1/sessions", "/api/v1/sessions/{session_id}"}
OWN = {
    "/", "/rooms/{room_id}", "/rooms/{room_id}/files/{event_id}", "/rooms/{room_id}/messages/{event_id}",
    "/rooms/{room_id}/messages/{event_id}/proof", "/rooms/{room_id}/messages/{event_id}/proof.json",
    "/rooms/{room_id}/threads/{event_id}", "/search",
    "/searches", "/searches/{search_id}/rename", "/searches/{search_id}/remove",
} | API_OWN | TOKENS  # fmt: skip
EXPORTS = {"/exports", "/exports/{job_id}/state", "/exports/{job_id}/cancel", "/exports/{job_id}/download"}
READ = OWN | EXPORTS | API_EXPORTS | {f"{API_ROOMS}/changes", "/channels", "/api/v1/channels", "/purpose", "/purpose/end"}
# Written out once more, by hand: a slip in the table must not also be one in the test.
MAY = {
    Role.RECORDS_OFFICER: READ,
    Role.ADVISOR: READ,
    Role.INSPECTOR: READ,
    Role.OFFICIAL: OWN | {"/own"},
    Role.ADMIN: {"/channels", "/health", "/people", "/people/roles", "/people/sessions", "/purpose/policy"}
    | {"/api/v1/channels", "/api/v1/health"}
    | API_PEOPLE
    | TOKENS
    | OFFICE,
    Role.AUDITOR: {"/audit", "/audit.csv", "/audit/chain", "/api/v1/audit"} | TOKENS,
}
OPEN = {
    "/healthz", "/readyz", "/metrics", "/static/{file}", "/signin", "/signin/start", "/signin/callback", "/signedout",
    "/oidc/backchannel-logout", "/api/v1/", "/api/v1/openapi.json",
}  # fmt: skip


def routes_of(app: web.Application) -> list[tuple[str, str]]:
    """Every (method, path) that the application answers."""
    return sorted({(route.method, route.resource.canonical) for route in app.router.routes() if route.method != "HEAD"})


def url(path: str) -> str:
    some = "0198f1a2-0000-7000-8000-000000000000"
    known = {
        "{room_id}": "%21nergens%3Ax", "{event_id}": "%24niets", "{file}": "niets.css", "{search_id}": some, "{job_id}": some,
        "{export_id}": some, "{token_id}": some, "{session_id}": some, "{role}": "inspector",
    }  # fmt: skip
    return re.sub(r"\{\w+\}", lambda name: known.get(name[0], "niets"), path)


async def test_every_route_has_a_rule_and_every_rule_a_route(archive, tmp_path):
    async with served(archive, tmp_path) as client:
        assert routes_of(client.app) == sorted(ROUTES)


async def test_nobody_opens_anything_but_the_way_in_and_the_states_that_machines_watch(archive, tmp_path):
    async with served(archive, tmp_path) as client:
        for method, path in routes_of(client.app):
            for cookie in (None, "verzonnen", secrets.token_urlsafe(32)):
                if cookie:
                    use(client, cookie)
                answer = await client.request(method, url(path), allow_redirects=False)
                assert (answer.status == 401) == (path not in OPEN), (method, path, answer.status)
        answer = await client.get("/geen-pagina")
        assert answer.status == 401
        answer = await client.get("/search?q=x", headers={"Accept": "text/html"}, allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (303, "/signin?next=/search?q%3Dx")


@pytest.mark.parametrize("role", list(Role))
async def test_each_role_opens_its_own_pages_and_no_other(archive, tmp_path, role):
    async with browsing(archive, tmp_path, role, person=f"p-{role}", matrix_id="@iemand:x") as client:
        form = use(client, await session_of(archive, role, person=f"p-{role}", matrix_id="@iemand:x"))
        for method, path in routes_of(client.app):
            if path in OPEN or path in ("/signout", "/api/v1/me"):
                continue
            data = {"form_token": form, "role": "niets", "session": "niets"} if method == "POST" else None
            headers = {access.FORM_TOKEN: form} if path.startswith("/api/") else {}
            answer = await client.request(method, url(path), data=data, headers=headers, allow_redirects=False)
            may = path in MAY[role]
            if may:
                fine = {"GET": (200, 404, 422), "DELETE": (404, 409)}.get(method, (303, 400, 404, 409, 415, 422, 502))
                assert answer.status in fine, (path, answer.status)
            elif path == "/":  # the first page leads everybody to what is theirs
                assert (answer.status, answer.headers["Location"]) == (303, {"admin": "/health", "auditor": "/audit"}[role])
            else:
                assert answer.status == 403, (path, answer.status)
        assert (await client.get("/geen-pagina")).status == 404
    async with tenant_tx(archive.pool, 1) as tx:
        refused = {
            row["page"]
            for row in await tx.fetch(
                "SELECT detail->>'page' AS page FROM audit WHERE actor = $1 AND action = 'refused'", f"p-{role}"
            )
        }
    expected = {path for (_, path), rule in ROUTES.items() if not isinstance(rule, Whoever)} - MAY[role] - {"/"}
    assert refused == expected


async def test_what_is_not_in_the_table_is_closed_to_everybody():
    assert not any(access.allows(access.rule("GET", "/nieuw"), frozenset({role})) for role in Role)


async def test_a_form_that_is_not_ours_does_nothing(archive, tmp_path):
    async with browsing(archive, tmp_path, Role.ADMIN, person="b") as client:
        form = use(client, await session_of(archive, Role.ADMIN, person="b"))
        wish = {"person": "indringer", "role": "auditor"}
        other = use(client, await session_of(archive, Role.ADMIN, person="c"))
        for data, headers in (
            (wish, {}),
            ({**wish, "form_token": "verzonnen"}, {}),
            ({**wish, "form_token": form}, {}),  # of the session before
            ({**wish, "form_token": other}, {"Sec-Fetch-Site": "cross-site"}),
        ):
            answer = await client.post("/people/roles", data=data, headers=headers, allow_redirects=False)
            assert answer.status == 403
        async with tenant_tx(archive.pool, 1) as tx:
            assert not await assigned(tx, 1, "indringer")
        answer = await client.post("/people/roles", data={**wish, "form_token": other}, allow_redirects=False)
        assert answer.status == 303
        async with tenant_tx(archive.pool, 1) as tx:
            assert [change.role for change in await assigned(tx, 1, "indringer")] == ["auditor"]


@pytest.mark.parametrize("path", ["/signin", "/people", "/geen-pagina", "/healthz", "/signin/callback", "/audit"])
async def test_every_answer_is_protected_the_same(archive, tmp_path, path):
    async with browsing(archive, tmp_path, Role.ADMIN, person="kop") as client:
        answer = await client.get(path, allow_redirects=False)
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"


async def test_over_https_the_cookie_is_bound_to_this_host_and_the_browser_told_to_stay(archive, tmp_path):
    settings = Settings(web={"oidc": {"public_url": "https://archief.x"}})
    async with served(archive, tmp_path, settings) as client:
        assert access.cookie_name(client.app[access.ARCHIVE]).startswith("__Host-")
        assert "max-age" in (await client.get("/signin")).headers["Strict-Transport-Security"]


async def test_roles_that_may_not_go_together_are_refused_with_the_reason(archive):
    person = secrets.token_hex(4)
    async with tenant_tx(archive.pool, 1) as tx:
        await grant(tx, 1, "beheer", person, Role.RECORDS_OFFICER)
        for role, why in ((Role.AUDITOR, "audit trail"), (Role.ADMIN, "does not read"), (Role.INSPECTOR, "does not do it")):
            with pytest.raises(RoleError, match=why):
                await grant(tx, 1, "beheer", person, role)
        with pytest.raises(RoleError, match="audit trail"):
            await grant(tx, 1, "beheer", person + "-2", Role.AUDITOR, beside={Role.OFFICIAL})
        await grant(tx, 1, "beheer", person, Role.ADVISOR)
        with pytest.raises(RoleError, match="themselves"):
            await grant(tx, 1, "zelf", "zelf", Role.ADMIN)
        with pytest.raises(RoleError, match="identity provider"):
            await revoke(tx, 1, "beheer", person, Role.ADMIN)
        assert [change.granted for change in await history(tx, 1, person)] == [True, True]


def test_exactly_these_pairs_may_not_go_together():
    apart = {frozenset({one, other}) for one in Role for other in Role if one < other and conflict({one, other})}
    readers = (Role.RECORDS_OFFICER, Role.ADVISOR, Role.INSPECTOR)
    expected = {frozenset({Role.AUDITOR, role}) for role in Role if role is not Role.AUDITOR}
    expected |= {frozenset({Role.ADMIN, role}) for role in readers}
    expected |= {frozenset({Role.INSPECTOR, role}) for role in readers if role is not Role.INSPECTOR}
    assert apart == expected


async def test_a_role_given_or_taken_holds_at_the_next_request(archive, tmp_path):
    person = secrets.token_hex(4)
    async with browsing(archive, tmp_path, person=person) as client:
        assert (await client.get("/health")).status == 403
        async with tenant_tx(archive.pool, 1) as tx:
            await grant(tx, 1, "beheer", person, Role.ADMIN, reason="nieuw in dienst")
        assert (await client.get("/health")).status == 200
        async with tenant_tx(archive.pool, 1) as tx:
            await grant(tx, 1, "beheer", person, Role.OFFICIAL, matrix_id="@p:x")
            await tx.execute(
                "INSERT INTO role_change (org, made_by, person, role, granted) VALUES (1, 'buitenom', $1, 'auditor', true)",
                person,
            )
        # Whatever way two roles came together that may not: neither works, and the page says why.
        answer = await client.get("/health")
        assert answer.status == 403
        assert "auditspoor" in await answer.text()
        async with tenant_tx(archive.pool, 1) as tx:
            await revoke(tx, 1, "beheer", person, Role.AUDITOR)
        assert (await client.get("/health")).status == 200


async def test_the_history_of_roles_can_only_grow(archive):
    person = secrets.token_hex(4)
    async with tenant_tx(archive.pool, 1) as tx:
        await grant(tx, 1, "beheer", person, Role.AUDITOR)
    async with archive.pool.acquire() as connection:
        for statement in ("UPDATE role_change SET role = 'admin'", "DELETE FROM role_change", "TRUNCATE role_change"):
            with pytest.raises(Exception, match="append-only"):
                await connection.execute(statement)


async def test_another_organisation_sees_no_session_and_no_role(archive):
    person = secrets.token_hex(4)
    token = await session_of(archive, Role.ADMIN, person=person)
    async with tenant_tx(archive.pool, 1) as tx:
        await grant(tx, 1, "beheer", person, Role.OFFICIAL)
    from archiver.web import sessions

    async with tenant_tx(archive.pool, 2) as tx:
        assert await sessions.find(tx, 2, token, Settings().web) is None
        assert await sessions.find(tx, 1, token, Settings().web) is None
        assert not await assigned(tx, 1, person)
