"""Signing in, against the demo's provider and against one that lies."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from joserfc import jws
from joserfc.jwk import ECKey
from yarl import URL

from archiver.db import tenant_tx
from archiver.demo import people
from archiver.demo.identity import IdentityProvider
from archiver.ledger.files import FileStore
from archiver.settings import Settings
from archiver.web.app import application
from archiver.web.context import Archive
from archiver.web.limit import Limit, address
from archiver.web.roles import Role, grant
from archiver.web.sign_in import PROVIDER
from tests.conftest import free_port_base

pytestmark = pytest.mark.postgres


class Liar(IdentityProvider):
    """The demo's provider, with a chance to change what it says."""

    change: Callable[[dict[str, Any]], dict[str, Any]] = staticmethod(dict)
    answer: Callable[[dict[str, str]], dict[str, str]] = staticmethod(dict)
    key_asked = 0

    def _signed(self, claims: dict[str, Any], typ: str = "JWT") -> str:
        return super()._signed(self.change(claims), typ)

    async def _jwks(self, request: web.Request) -> web.Response:
        self.key_asked += 1
        return await super()._jwks(request)

    def rotate(self) -> None:
        self._key = ECKey.generate_key("P-256", {"kid": secrets.token_hex(8), "alg": "ES256", "use": "sig"})


@dataclass
class Site:
    """The application and its provider."""

    url: str
    provider: Liar
    archive: Archive
    app: web.Application
    browsers: list[aiohttp.ClientSession] = field(default_factory=list)

    def browser(self) -> aiohttp.ClientSession:
        made = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), headers={"Accept": "text/html"})
        self.browsers.append(made)
        return made

    async def to_callback(self, http: aiohttp.ClientSession, person: str, **query: str) -> str:
        """The way to the provider and a click there; returns where it sends the browser back to."""
        asked = await http.get(URL(f"{self.url}/signin/start").with_query(query), allow_redirects=False)
        assert asked.status == 303, await asked.text()
        there = asked.headers["Location"]
        assert (await http.get(there)).status == 200
        back = await http.post(there, data={"person": person}, allow_redirects=False)
        return back.headers["Location"]

    async def sign_in(self, http: aiohttp.ClientSession, person: str, **query: str) -> aiohttp.ClientResponse:
        return await http.get(await self.to_callback(http, person, **query))

    async def refusals(self) -> list[str]:
        async with tenant_tx(self.archive.pool, 1) as tx:
            rows = await tx.fetch("SELECT detail->>'why' AS why FROM audit WHERE action = 'sign-in refused' ORDER BY audit_id")
        return [row["why"] for row in rows]


@pytest.fixture
async def site(archive, tmp_path) -> AsyncIterator[Site]:
    async with serving(archive, tmp_path) as made:
        yield made


class serving:
    def __init__(self, archive: Any, folder: Any, **oidc: Any) -> None:
        base = free_port_base()
        url = f"http://127.0.0.1:{base}"
        self.provider = Liar(base + 1, "griffier", "geheim", url)
        whole = {
            "issuer": self.provider.issuer, "client_id": "griffier", "client_secret": "geheim", "public_url": url,
            "roles_claim": "groups", "roles": people.ROLES, "user_claim": "matrix_id",
        } | oidc  # fmt: skip
        settings = Settings(web={"port": base, "oidc": whole})
        opened = Archive(settings, archive.pool, archive.vault, FileStore(folder))
        app = application(opened)
        self.site = Site(url, self.provider, opened, app)
        self.server = TestServer(app, port=base)

    async def __aenter__(self) -> Site:
        await self.provider.__aenter__()
        await self.server.start_server()
        return self.site

    async def __aexit__(self, *_: object) -> None:
        for http in self.site.browsers:
            await http.close()
        await self.server.close()
        await self.provider.__aexit__()


HOME = {
    "archivaris": "/purpose", "adviseur": "/purpose", "inspecteur": "/purpose", "beheer": "/health", "auditor": "/audit",
    "minister": "/own", "staatssecretaris": "/own",
}  # fmt: skip


@pytest.mark.parametrize("each", people.SIGN_INS, ids=lambda each: each.person.localpart)
async def test_each_person_of_the_demo_comes_in_where_their_work_is(site, each):
    answer = await site.sign_in(site.browser(), each.person.localpart)
    assert (answer.status, answer.url.path) == (200, HOME[each.person.localpart])
    assert each.person.name in await answer.text()


async def test_they_go_on_to_the_page_they_wanted_and_never_to_another_site(site):
    assert (await site.sign_in(site.browser(), "archivaris", next="/channels?q=x")).url.path_qs == "/channels?q=x"
    for elsewhere in ("https://kwaad.example/", "//kwaad.example", "/\\kwaad.example", "javascript:alert(1)", "/x\ny"):
        assert (await site.sign_in(site.browser(), "archivaris", next=elsewhere)).url.path_qs == "/purpose?next=/"


async def test_the_cookie_is_for_this_site_only_and_the_database_does_not_hold_it(site):
    http = site.browser()
    back = await site.to_callback(http, "archivaris")
    answer = await http.get(back, allow_redirects=False)
    [header] = [value for value in answer.headers.getall("Set-Cookie") if not value.startswith("griffier_language")]
    assert "HttpOnly" in header
    assert "SameSite=Lax" in header
    token = re.match(r"[^=]+=([^;]+)", header)[1]
    async with site.archive.pool.acquire() as connection:
        rows = await connection.fetch("SELECT * FROM web_session")
        attempts = await connection.fetch("SELECT * FROM sign_in_attempt")
    assert rows
    assert not any(token.encode() in str(dict(row)).encode() for row in [*rows, *attempts])


async def test_an_answer_counts_once_and_only_in_the_browser_that_asked(site):
    mine, theirs = site.browser(), site.browser()
    back = await site.to_callback(mine, "archivaris")
    other = await site.to_callback(theirs, "beheer")
    assert (await theirs.get(back)).status == 400  # login CSRF, and a stolen code
    stolen = URL(back).update_query(state=URL(other).query["state"])
    assert (await theirs.get(stolen)).status in (403, 502)  # another's code by one's own state: the verifier differs
    back = await site.to_callback(mine, "archivaris")
    assert (await mine.get(back)).status == 200
    assert (await mine.get(back)).status == 400
    assert (await mine.get(f"{site.url}/signin/callback?state=&code=x")).status == 400


LIES = {
    "another nonce": ({"nonce": "x" * 43}, "nonce"),
    "another audience": ({"aud": "matrix"}, "aud"),
    "another issuer": ({"iss": "http://127.0.0.1:1"}, "iss"),
    "expired": ({"exp": 1_700_000_000, "iat": 1_699_999_000}, "exp"),
    "another access token": ({"at_hash": "x"}, "at_hash"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_provider_that_lies_lets_nobody_in_and_the_trail_says_why(site, lie):
    change, why = LIES[lie]
    site.provider.change = lambda claims: claims | change
    http = site.browser()
    answer = await site.sign_in(http, "archivaris")
    assert answer.status == 403
    assert "konden niet worden gecontroleerd" in await answer.text()
    assert why in (await site.refusals())[-1]
    assert (await http.get(f"{site.url}/", allow_redirects=False)).status == 303


async def test_an_answer_of_another_provider_or_a_refusal_is_told_in_words(site):
    for change, status, words in (
        ({"iss": "http://elders"}, 403, "konden niet worden gecontroleerd"),
        ({"error": "access_denied", "code": ""}, 403, "afgebroken of geweigerd"),
        ({"error": "<script>alert(1)</script>"}, 403, "meldt een fout"),
        ({"code": "verzonnen"}, 502, "afronding niet aan"),
    ):
        http = site.browser()
        answer = await http.get(URL(await site.to_callback(http, "archivaris")).update_query(change))
        page = await answer.text()
        assert answer.status == status
        assert words in page
        assert "<script>" not in page


async def test_new_keys_of_the_provider_are_fetched_when_a_token_needs_them_and_not_more_often(site):
    assert (await site.sign_in(site.browser(), "archivaris")).status == 200
    provider = site.provider
    site.app[PROVIDER]._keys_at -= 31
    provider.rotate()
    assert (await site.sign_in(site.browser(), "archivaris")).status == 200
    asked = provider.key_asked
    assert asked == 2
    provider.rotate()
    for _ in range(3):  # within half a minute: whoever sends unknown keys makes us ask nothing
        assert (await site.sign_in(site.browser(), "archivaris")).status == 403
    assert provider.key_asked == asked


async def test_two_roles_that_may_not_go_together_are_refused_at_the_door(site):
    async with tenant_tx(site.archive.pool, 1) as tx:
        await grant(tx, 1, "cli:x", "inspecteur-2", Role.AUDITOR)
    site.provider.change = lambda claims: claims | {"sub": "inspecteur-2"}
    answer = await site.sign_in(site.browser(), "inspecteur")
    assert answer.status == 403
    assert "auditspoor" in await answer.text()
    assert "inspector" in (await site.refusals())[-1]


async def test_who_has_no_role_gets_one_from_an_admin_and_comes_in(site):
    person = secrets.token_hex(6)
    site.provider.change = lambda claims: claims | {"sub": person, "groups": ["onbekend", 7, None]}
    answer = await site.sign_in(site.browser(), "archivaris")
    assert answer.status == 403
    assert person in await answer.text()
    async with tenant_tx(site.archive.pool, 1) as tx:
        await grant(tx, 1, "cli:x", person, Role.ADVISOR)
    assert (await site.sign_in(site.browser(), "archivaris")).status == 200


async def test_an_archive_of_one_organisation_is_closed_to_the_people_of_another(archive, tmp_path):
    async with serving(archive, tmp_path, organisation_claim="org.name") as site:
        site.provider.change = lambda claims: claims | {"org": {"name": "Ander ministerie"}}
        answer = await site.sign_in(site.browser(), "archivaris")
        assert answer.status == 403
        assert "andere organisatie" in await answer.text()
        site.provider.change = lambda claims: claims | {"org": {"name": ["Ander ministerie", "Ministerie"]}}
        assert (await site.sign_in(site.browser(), "archivaris")).status == 200


async def test_the_provider_ends_sessions_by_its_own_token_once(site):
    http, other = site.browser(), site.browser()
    await site.sign_in(http, "archivaris")
    await site.sign_in(other, "archivaris")
    kept: dict[str, Any] = {}
    signed = site.provider._signed

    def remember(claims: dict[str, Any], typ: str = "JWT") -> str:
        kept["token"] = signed(claims, typ)
        return kept["token"]

    site.provider._signed = remember
    page = await (await http.get(f"{site.url}/")).text()
    form = re.search(r'name="form_token" value="([^"]+)"', page)[1]
    left = await (await http.post(f"{site.url}/signout", data={"form_token": form})).text()
    onward = re.search(r'href="(http[^"]+)"', left)[1].replace("&amp;", "&")
    assert (await http.get(onward)).url.path == "/signedout"
    url = f"{site.url}/oidc/backchannel-logout"
    assert (await http.post(url, data={"logout_token": kept["token"]})).status == 400, "used already"
    assert (await other.get(f"{site.url}/channels")).url.path == "/channels"
    # By the person: every session of theirs.
    head = json.loads(jws.extract_compact(kept["token"].encode()).payload)
    told = {name: value for name, value in head.items() if name != "sid"}
    everywhere = signed(told | {"jti": "een-ander"}, "logout+jwt")
    assert (await http.post(url, data={"logout_token": everywhere})).status == 200
    assert (await other.get(f"{site.url}/")).url.path == "/signin"
    odd = {"Content-Type": "application/x-www-form-urlencoded; charset=bestaat-niet"}
    assert (await http.post(url, data=b"logout_token=x", headers=odd)).status == 400
    for body in ({}, {"logout_token": "x"}, {"logout_token": signed(head | {"nonce": "x", "jti": "3"}, "logout+jwt")}):
        assert (await http.post(url, data=body)).status == 400


async def test_sessions_end_by_rest_by_age_and_by_an_admin(site):
    http = site.browser()
    await site.sign_in(http, "archivaris")
    page = f"{site.url}/channels"
    assert (await http.get(page)).url.path == "/channels"
    for column, minutes in (("seen_at", 31), ("started_at", 481)):
        async with site.archive.pool.acquire() as connection:
            await connection.execute(
                f"UPDATE web_session SET {column} = now() - interval '{minutes} minutes' WHERE person = 'archivaris'"
            )
        assert (await http.get(page)).url.path == "/signin"
        await site.sign_in(http, "archivaris")
        assert (await http.get(page)).url.path == "/channels"
    async with site.archive.pool.acquire() as connection:
        await connection.execute("DELETE FROM web_session WHERE person = 'archivaris'")
    assert (await http.get(page)).url.path == "/signin"


async def test_a_new_sign_in_is_a_new_session(site):
    http = site.browser()
    tokens = set()
    for _ in range(2):
        await site.sign_in(http, "archivaris")
        tokens |= {cookie.value for cookie in http.cookie_jar if not cookie.key.endswith("_sign_in")}
    assert len(tokens) == 2


async def test_a_provider_that_is_down_or_not_itself_is_told_in_words(archive, tmp_path):
    async with serving(archive, tmp_path, issuer="http://127.0.0.1:9") as site:
        answer = await site.browser().get(f"{site.url}/signin/start")
        assert answer.status == 502
        assert "antwoordt niet" in await answer.text()
    async with serving(archive, tmp_path, issuer="http://sso.rijk.example") as site:
        assert (await site.browser().get(f"{site.url}/signin/start")).status == 502
        assert "https" in (await site.refusals())[-1]
    async with serving(archive, tmp_path, issuer="") as site:
        answer = await site.browser().get(f"{site.url}/signin/start")
        assert answer.status == 503
        assert "nog niet ingesteld" in await answer.text()


def test_an_address_signs_in_so_many_times_a_minute_and_others_are_not_hindered():
    now = [0.0]
    limit = Limit(3, lambda: now[0])
    assert [limit.allows("a") for _ in range(5)] == [True, True, True, False, False]
    assert limit.allows("b")
    now[0] = 20
    assert [limit.allows("a") for _ in range(2)] == [True, False]


async def test_too_many_sign_ins_are_told_to_wait(archive, tmp_path):
    made = serving(archive, tmp_path)
    made.site.archive.settings.web.__dict__["sign_in_limit"] = 2
    async with made as site:
        http = site.browser()
        statuses = [(await http.get(f"{site.url}/signin/start", allow_redirects=False)).status for _ in range(3)]
        assert statuses == [303, 303, 429]


def test_only_our_own_proxies_say_whose_address_it_is():
    headers = {"X-Forwarded-For": "1.1.1.1, 2.2.2.2, 10.0.0.2"}
    request = SimpleNamespace(remote="10.0.0.1", headers=headers)
    assert address(request, ()) == "10.0.0.1"
    assert address(request, ("10.0.0.1", "10.0.0.2")) == "2.2.2.2"


async def test_sign_ins_and_refusals_are_in_the_trail(site):
    await site.sign_in(site.browser(), "auditor")
    async with tenant_tx(site.archive.pool, 1) as tx:
        row = await tx.fetchrow("SELECT detail FROM audit WHERE action = 'sign in' AND actor = 'auditor' ORDER BY audit_id DESC")
    assert json.loads(row["detail"])["roles"] == "auditor"
