"""Whatever goes wrong is a page, in the reader's language, that says what to do."""

from __future__ import annotations

import pytest
from aiohttp import web

from archiver.export.catalogue import translations
from archiver.web.errors import TOLD
from archiver.web.roles import Role
from tests.unit.web.signed_in import browsing, served, session_of, use

pytestmark = pytest.mark.postgres


def raising(app: web.Application, error: Exception) -> None:
    """Let the sign-in page fail in this way."""

    async def fail(_: web.Request) -> web.Response:
        raise error

    [route] = [each for each in app.router.routes() if each.method == "GET" and each.resource.canonical == "/signin"]
    route._handler = fail


@pytest.mark.parametrize("language", ["nl", "en"])
@pytest.mark.parametrize("status", sorted(TOLD))
async def test_each_error_is_a_page_that_says_what_to_do(archive, tmp_path, status, language):
    kinds = {kind.status_code: kind for kind in vars(web).values() if isinstance(kind, type) and hasattr(kind, "status_code")}
    more = {405: ("POST", ["GET"]), 413: (1, 2)}
    async with served(archive, tmp_path) as client:
        raising(client.app, kinds[status](*more.get(status, ())))
        answer = await client.get(f"/signin?lang={language}")
        page = await answer.text()
    assert (answer.status, answer.content_type) == (status, "text/html")
    assert f'<html lang="{language}">' in page
    for text in TOLD[status]:
        assert translations(language).gettext(text).replace("'", "&#39;") in page
        assert language == "en" or translations("nl").gettext(text) != text
    assert (answer.headers.get("Allow") == "GET") == (status == 405)


async def test_a_mishap_tells_nobody_what_it_was_about(archive, tmp_path, caplog):
    async with served(archive, tmp_path) as client:
        raising(client.app, ValueError("geheim bericht"))
        answer = await client.get("/signin")
        page = await answer.text()
    assert answer.status == 500
    assert "Er ging iets mis" in page
    assert "geheim" not in page
    assert answer.headers["Content-Security-Policy"]


async def test_the_errors_that_the_server_finds_itself_are_pages_too(archive, tmp_path):
    async with browsing(archive, tmp_path, Role.ADMIN) as client:
        for method, path, body, status in (
            ("GET", "/nergens", None, 404),
            ("DELETE", "/people", None, 405),
            ("POST", "/people/roles", b"x" * 3_000_000, 413),
        ):
            answer = await client.request(method, path, data=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
            assert (answer.status, answer.content_type) == (status, "text/html"), path
            assert "<h1>" in await answer.text()
    async with served(archive, tmp_path) as client:
        answer = await client.post("/signout")
        assert (answer.status, answer.content_type) == (401, "text/html")
        use(client, await session_of(archive, Role.OFFICIAL, matrix_id="@m:x"))
        answer = await client.get("/people")
        assert (answer.status, answer.content_type) == (403, "text/html")
