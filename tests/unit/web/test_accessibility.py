"""Every page for everybody: WCAG 2.2 AA by axe in Chromium, in both languages, on a desk and on a phone, light and dark."""

from __future__ import annotations

import pytest

from tests.unit.web.browser import COLOURS, DESKTOP, PHONE, needs_browser, overflow, problems, violations

pytestmark = [pytest.mark.postgres, needs_browser]

# Every page: who opens it (nobody: ''), and its address. {room}, {portal} and the names of events are the office's.
PAGES: tuple[tuple[str, str], ...] = (
    ("", "/signin"),
    ("", "/signedout"),
    ("", "/signin/callback?state=x"),
    ("records-officer", "/"),
    ("records-officer", "/rooms/{room}"),
    ("records-officer", "/rooms/{portal}"),
    ("records-officer", "/?state=deleted&from=2025-01-01"),
    ("records-officer", "/?from=geen-dag&state=niets"),
    ("records-officer", "/?official=%40niemand:x"),
    ("records-officer", "/rooms/{room}?date=2030-01-01"),
    ("records-officer", "/rooms/{room}?date=geen-dag"),
    ("records-officer", "/rooms/{room}/messages/{edited}"),
    ("records-officer", "/rooms/{room}/messages/{edited}/proof"),
    ("records-officer", "/rooms/{room}/messages/{unreadable}/proof"),
    ("records-officer", "/rooms/{room}/threads/{root}"),
    ("records-officer", "/search"),
    ("records-officer", "/search?q=kademuur"),
    ("records-officer", "/search?q=nietsgevonden"),
    ("records-officer", "/search?q=-kademuur"),
    ("records-officer", "/channels"),
    ("records-officer", "/geen-pagina"),
    ("records-officer", "/health"),
    ("official", "/"),
    ("official", "/rooms/{room}"),
    ("official", "/own"),
    ("admin", "/health"),
    ("admin", "/people"),
    ("auditor", "/audit"),
    ("auditor", "/audit?person=niemand"),
)


@pytest.mark.parametrize("language", ["nl", "en"])
@pytest.mark.parametrize(("role", "path"), PAGES, ids=[f"{role or 'nobody'} {path}" for role, path in PAGES])
async def test_a_page_is_accessible(office, role, path, language):
    async with office.browsing(*([role] if role else []), language=language) as page:
        await page.goto(office.address(path))
        assert await page.locator("html").get_attribute("lang") == language
        assert await violations(page) == []
        assert await overflow(page) <= 0
        await page.emulate_media(color_scheme="dark")
        assert await violations(page, *COLOURS) == []
        await page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
        assert await violations(page, *COLOURS) == []
        await page.emulate_media(color_scheme="light")
        assert await violations(page) == []
        assert await overflow(page) <= 0
        assert problems(page) == []
        await page.set_viewport_size({"width": DESKTOP[0], "height": DESKTOP[1]})
