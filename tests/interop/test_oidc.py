"""Signing in at a provider that others wrote and certified (panva's oidc-provider), and being signed out by it."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urljoin

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from yarl import URL

from archiver.db import tenant_tx
from archiver.ledger.files import FileStore
from archiver.settings import Settings
from archiver.web.app import application
from archiver.web.context import Archive
from tests.conftest import free_port_base
from tests.interop.client import FOLDER, require_node
from tests.unit.conftest import archive, postgres_folder, postgres_url  # noqa: F401 - fixtures

pytestmark = [pytest.mark.interop, pytest.mark.postgres]

ROLES = {"archiefmedewerker": "records-officer", "auditor": "auditor"}


@dataclass(frozen=True)
class Site:
    """The application and its provider."""

    url: str
    issuer: str
    archive: Archive


@pytest.fixture(scope="module")
async def site(archive, tmp_path_factory) -> AsyncIterator[Site]:  # noqa: F811
    require_node()
    base = free_port_base()
    url, issuer = f"http://127.0.0.1:{base}", f"http://127.0.0.1:{base + 1}"
    oidc = {
        "issuer": issuer, "client_id": "griffier", "client_secret": "geheim & met +tekens%", "public_url": url,
        "roles_claim": "realm_access.roles", "roles": ROLES, "user_claim": "matrix_id",
    }  # fmt: skip
    opened = Archive(
        Settings(web={"port": base, "oidc": oidc}), archive.pool, archive.vault, FileStore(tmp_path_factory.mktemp("f"))
    )
    process = await asyncio.create_subprocess_exec(
        "node", str(FOLDER / "provider.mjs"), str(base + 1), url, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert (await asyncio.wait_for(process.stdout.readline(), 30)).strip() == b"ready"
        async with TestServer(application(opened), port=base):
            yield Site(url, issuer, opened)
    finally:
        process.terminate()
        await process.wait()


async def clicks(http: aiohttp.ClientSession, url: str, login: str, stop_at: str) -> aiohttp.ClientResponse:
    """Go on from an address, filling in the provider's forms, until the application answers at `stop_at` without sending on."""
    answer = await http.get(url, allow_redirects=False)
    for _ in range(20):
        if answer.status in (302, 303):
            answer = await http.get(urljoin(str(answer.url), answer.headers["Location"]), allow_redirects=False)
            continue
        if str(answer.url).startswith(stop_at):
            return answer
        page = await answer.text()
        action = re.search(r'action="([^"]+)"', page)
        assert action, page[:500]
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
        if 'name="login"' in page:
            fields |= {"login": login, "password": "x"}
        if "logout" in page:
            fields["logout"] = "yes"
        answer = await http.post(urljoin(str(answer.url), action[1]), data=fields, allow_redirects=False)
    raise AssertionError(f"still at {answer.url}")


def browser() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True), headers={"Accept": "text/html"})


async def test_who_has_a_role_comes_in_by_the_code_flow_and_only_once(site):
    async with browser() as http:
        answer = await clicks(http, f"{site.url}/signin/start?next=/channels", "archiefmedewerker", site.url)
        page = await answer.text()
        assert (answer.status, answer.url.path) == (200, "/channels")
        assert "Naam van archiefmedewerker" in page
        callback = None
        trace = await http.get(f"{site.url}/signin/start", allow_redirects=False)
        for _ in range(10):
            target = urljoin(str(trace.url), trace.headers["Location"])
            if target.startswith(site.url + "/signin/callback"):
                callback = target
                break
            trace = await http.get(target, allow_redirects=False)
        assert callback, "the provider, which knows them by now, sends them straight back"
        async with browser() as stranger:  # the answer of one browser in another
            refused = await stranger.get(callback, allow_redirects=False)
            assert refused.status == 400
            assert "andere browser" in await refused.text()
        assert (await http.get(callback, allow_redirects=False)).status == 303
        assert (await http.get(callback, allow_redirects=False)).status == 400
        tampered = str(URL(callback).update_query(state="x" * 43))
        assert (await http.get(tampered, allow_redirects=False)).status == 400


async def test_who_has_no_role_is_told_what_to_do(site):
    async with browser() as http:
        answer = await clicks(http, f"{site.url}/signin/start", "voorbijganger", site.url)
        page = await answer.text()
    assert answer.status == 403
    assert "geen rol" in page
    assert "voorbijganger" in page


async def test_the_provider_ends_a_session_over_the_back_channel(site):
    async with browser() as here, browser() as elsewhere:
        for http in (here, elsewhere):
            assert (await clicks(http, f"{site.url}/signin/start", "archiefmedewerker", site.url)).status == 200
        await clicks(here, f"{site.issuer}/session/end", "", site.issuer + "/session/end/success")
        assert (await here.get(f"{site.url}/channels", allow_redirects=False)).status == 303
        assert (await elsewhere.get(f"{site.url}/channels", allow_redirects=False)).status == 200, (
            "another session of the same person"
        )
    async with tenant_tx(site.archive.pool, 1) as tx:
        assert await tx.fetchval("SELECT count(*) FROM audit WHERE action = 'signed out by provider'") == 1


async def test_signing_out_here_goes_on_to_the_provider_and_ends_there_too(site):
    async with browser() as http:
        page = await (await clicks(http, f"{site.url}/signin/start", "auditor", site.url)).text()
        form = re.search(r'name="form_token" value="([^"]+)"', page)
        left = await (await http.post(f"{site.url}/signout", data={"form_token": form[1]})).text()
        onward = re.search(r'href="(http[^"]+session/end[^"]+)"', left)[1].replace("&amp;", "&")
        answer = await clicks(http, onward, "", site.url)
        assert (answer.status, answer.url.path) == (200, "/signedout")
        again = await http.get(f"{site.url}/signin/start")
        assert str(again.url).startswith(site.issuer), "the provider asks who they are again"
        assert (await http.get(f"{site.url}/audit", allow_redirects=False)).status == 303
