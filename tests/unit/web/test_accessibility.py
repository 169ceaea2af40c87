"""Every page for everybody: WCAG 2.2 AA by axe in Chromium, in both languages, on a desk and on a phone, light and dark."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

from archiver.web import chat
from archiver.web.access import ROUTES
from tests.unit.web.browser import COLOURS, PHONE, needs_browser, overflow, problems, violations

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
    ("records-officer", "/search?q=kademuur+OF+uur&sender=vermeer&has=edit&from=2025-01-01&sort=relevance"),
    ("records-officer", "/search?q=uur&around={edited}"),
    ("records-officer", "/search?q=x&sender=bestaatniet"),
    ("records-officer", "/searches"),
    ("records-officer", "/search?q=-kademuur"),
    ("records-officer", "/searches"),
    ("records-officer", "/searches/{search}/remove"),
    ("records-officer", "/channels"),
    ("records-officer", "/geen-pagina"),
    ("records-officer", "/purpose"),
    ("records-officer", "/exports"),
    ("records-officer", "/health"),
    ("official", "/"),
    ("official", "/own"),
    ("official", "/rooms/{room}"),
    ("admin", "/health"),
    ("admin", "/people"),
    ("admin", "/admin/officials"),
    ("admin", "/admin/officials?q=niemand"),
    ("admin", "/admin/officials/new"),
    ("admin", "/admin/officials/{official}?done=changed"),
    ("admin", "/admin/officials/{official}/term/{term}"),
    ("admin", "/admin/officials/{official}/term/{term}/withdraw"),
    ("admin", "/admin/officials/{official}/device/new"),
    ("admin", "/admin/officials/{official}/channel/new"),
    ("admin", "/admin/officials/import"),
    ("admin", "/admin/officials/import/{upload}"),
    ("admin", "/admin/officials/{official}/withdraw"),
    ("admin", "/admin/organisation"),
    ("admin", "/admin/bridge"),
    ("", "/api/v1/"),
    ("records-officer", "/tokens"),
    ("admin", "/tokens"),
    ("inspector", "/tokens/{token}/revoke"),
    ("auditor", "/audit"),
    ("auditor", "/audit/chain"),
    ("auditor", "/audit?person=niemand"),
    ("auditor", "/audit?purpose=Archiefbeheer&room=%21beraad%3Ax"),
    ("records-officer", "/purpose?next=/search"),
    ("inspector", "/exports?room={room}"),
    ("admin", "/purpose/policy"),
    ("admin", "/purpose/policy?kept=1"),
)
# What is answered with something else than a page of ours.
NO_PAGES = {
    "/healthz", "/readyz", "/metrics", "/static/{file}", "/signin/start", "/rooms/{room_id}/files/{event_id}", "/audit.csv",
    "/rooms/{room_id}/messages/{event_id}/proof.json",
    "/exports/{job_id}/download", "/exports/{job_id}/state", "/admin/officials.csv", "/admin/officials/example.csv",
}  # fmt: skip
# What the office can't show: these need a bridge that answers, and an import that was carried out.
NOT_SEEN = {
    "/admin/bridge/numbers/{number}", "/admin/bridge/numbers/{number}/remove", "/admin/officials/import/{import_id}/undo",
}  # fmt: skip


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


def test_no_page_is_forgotten():
    addresses = [path.partition("?")[0] for _, path in PAGES]
    for method, route in ROUTES:
        if method == "GET" and route not in NO_PAGES | NOT_SEEN and not route.startswith("/api/"):
            pattern = re.sub(r"\\{[^/]+?\\}", "[^/]+", re.escape(route))
            assert any(re.fullmatch(pattern, address) for address in addresses), f"{route} is missing in PAGES"


FOCUSABLE = """() => [...document.querySelectorAll('a[href], button, input:not([type=hidden]), select, textarea, summary')]
    .filter(each => each.checkVisibility({visibilityProperty: true}) && !each.disabled).length"""
FOCUSED = """() => {
    const at = document.activeElement, style = getComputedStyle(at);
    const all = [...document.querySelectorAll('*')];
    return {place: all.indexOf(at), tag: at.tagName, seen: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2};
}"""


@pytest.mark.parametrize(
    ("role", "path"),
    [
        ("records-officer", "/rooms/{room}"),
        ("records-officer", "/search?q=kademuur"),
        ("admin", "/people"),
        ("auditor", "/audit"),
    ],
)
async def test_the_keyboard_reaches_everything_in_order_and_shows_where_it_is(office, role, path):
    async with office.browsing(role) as page:
        await page.goto(office.address(path))
        wanted, reached = await page.evaluate(FOCUSABLE), []
        for _ in range(wanted + 40):  # date fields have parts of their own
            await page.keyboard.press("Tab")
            at = await page.evaluate(FOCUSED)
            if at["tag"] == "BODY" or (reached and at["place"] == reached[0]):
                break
            assert at["seen"], at
            reached.append(at["place"])
        assert reached == sorted(reached)
        assert len(set(reached)) >= wanted


async def test_the_first_key_offers_to_skip_to_the_content(office):
    async with office.browsing("records-officer") as page:
        await page.goto("/")
        skip = page.get_by_role("link", name="Naar de inhoud")
        await expect(skip).not_to_be_in_viewport()
        await page.keyboard.press("Tab")
        await expect(skip).to_be_focused()
        await expect(skip).to_be_in_viewport()
        await page.keyboard.press("Enter")
        await expect(page.locator("main")).to_be_focused()
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.querySelector('main').contains(document.activeElement)")


@pytest.mark.parametrize(("role", "path"), [("records-officer", "/rooms/{room}"), ("admin", "/people"), ("auditor", "/audit")])
async def test_it_reads_without_scripts_on_a_phone_too(office, role, path):
    async with office.browsing(role, size=PHONE, script=False) as page:
        await page.goto(office.address(path))
        await expect(page.locator("h1")).to_be_visible()
        box = await page.locator("main").bounding_box()
        assert box["width"] <= PHONE[0]
        await page.get_by_role("navigation", name="Hoofdmenu").get_by_role("link").last.click()
        await expect(page.locator("h1")).to_be_visible()


async def test_the_other_language_is_the_same_page(office):
    async with office.browsing("records-officer") as page:
        await page.goto("/search?q=kademuur")
        await page.get_by_role("link", name="English").click()
        assert "q=kademuur" in page.url
        await expect(page.locator("h1")).to_have_text("Search")
        await page.goto("/channels")
        await expect(page.locator("h1")).to_have_text("Channels")


async def test_a_print_has_what_was_said_and_not_what_was_for_the_screen(office):
    async with office.browsing("records-officer", dark=True) as page:
        await page.goto(office.address("/rooms/{room}"))
        await page.emulate_media(media="print", color_scheme="dark")
        for gone in ("nav", ".who", ".nl-skip-link", "footer"):
            for each in await page.locator(gone).all():
                await expect(each).to_be_hidden()
        said = page.locator(".message").first
        await expect(said).to_be_visible()
        assert await said.evaluate("each => getComputedStyle(each).breakInside") == "avoid"
        assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert (await page.pdf()).startswith(b"%PDF")


async def test_nothing_moves_for_who_wants_no_motion_and_forced_colours_keep_the_marks(office):
    async with office.browsing("records-officer") as page:
        await page.goto("/")
        button = page.locator("button").first
        assert await button.evaluate("each => getComputedStyle(each).transitionDuration") == "0s"
        await page.emulate_media(forced_colors="active")
        current = page.locator("nav [aria-current]")
        assert await current.evaluate("each => getComputedStyle(each).borderBottomStyle") == "solid"
        assert await violations(page) == []


async def test_earlier_messages_are_put_above_those_on_the_page_and_without_scripts_are_a_page(office, monkeypatch):
    monkeypatch.setattr(chat, "PAGE", 4)
    for script in (True, False):
        async with office.browsing("records-officer", script=script) as page:
            await page.goto(office.address("/rooms/{room}"))
            shown = await page.locator(".chat article").count()
            newest = page.locator(".chat article").last
            name = await newest.get_attribute("id")
            await page.locator("#grow a[rel=prev]").click()
            if script:
                await expect(page.locator(".chat article")).not_to_have_count(shown)
                assert await page.locator(".chat article").last.get_attribute("id") == name
                assert "before" not in page.url
                days = await page.locator(".chat .day").all_inner_texts()
                assert days == list(dict.fromkeys(days))
                while await page.locator("#grow a[rel=prev]").count():
                    before = await page.locator(".chat article").count()
                    await page.locator("#grow a[rel=prev]").click()
                    await expect(page.locator(".chat article")).not_to_have_count(before)
                assert await violations(page) == []
                assert problems(page) == []
            else:
                await page.wait_for_url("**before=**")
                await expect(page.locator(f"[id='{name}']")).to_have_count(0)
