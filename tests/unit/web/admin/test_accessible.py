"""The bridge's pages with something in them, to everybody (the other pages: tests/unit/web/test_accessibility.py)."""

from __future__ import annotations

import pytest

from archiver.web import access
from tests.unit.bridge.conftest import sim  # noqa: F401 - a fixture
from tests.unit.bridge.simulated import NUMBER
from tests.unit.bridge.test_administration import OTHER, Bureau, bureau  # noqa: F401 - a fixture
from tests.unit.web.admin.desk import Desk
from tests.unit.web.admin.test_numbers import HERE, THERE, settings
from tests.unit.web.browser import COLOURS, PHONE, needs_browser, overflow, violations
from tests.unit.web.signed_in import served, session_of, use

pytestmark = [pytest.mark.postgres, needs_browser]


@pytest.mark.parametrize("language", ["nl", "en"])
async def test_the_bridge_s_pages_are_accessible(archive, tmp_path, bureau: Bureau, chromium, language):  # noqa: F811
    await bureau.relay.reject(b"{", "JSONDecodeError", [""])
    await bureau.watch.look()
    async with served(archive, tmp_path, settings(bureau.api)) as client:
        token = await session_of(archive, "admin", person="beheer")
        desk = Desk(client, use(client, token), "beheer")
        for fields in ({"do": "test"}, {"do": "pause"}, {"do": "add colleague", "user": OTHER}):
            await desk.send(THERE, **fields)
        url = str(client.make_url("")).rstrip("/")
        context = await chromium.new_context(base_url=url)
        cookies = {access.cookie_name(client.app[access.ARCHIVE]): token, "griffier_language": language}
        await context.add_cookies([{"name": name, "value": value, "url": url} for name, value in cookies.items()])
        page = await context.new_page()
        for path in (HERE, f"{THERE}?done=pause", f"{HERE}/numbers/{NUMBER}/remove"):
            for colours in ("light", "dark"):
                await page.emulate_media(color_scheme=colours)
                await page.goto(url + path)
                assert await violations(page, *(COLOURS if colours == "dark" else ())) == []
            await page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
            assert await violations(page) == []
            assert await overflow(page) <= 0
            await page.set_viewport_size({"width": 1280, "height": 900})
        # A refused form is told above it, and the focus is there.
        await page.goto(url + THERE)
        await page.fill("#colleague", "@x:elders")
        await page.locator("form", has=page.locator("#colleague")).get_by_role("button").click()
        assert await violations(page) == []
        assert await page.evaluate("document.activeElement.getAttribute('role')") == "alert"
        await context.close()
