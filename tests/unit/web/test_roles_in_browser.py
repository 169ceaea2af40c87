"""Each person of the demo in a real browser: they sign in by a click, see what is theirs and nothing else, and sign out."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from playwright.async_api import Browser, Page, expect

from archiver.demo import people
from tests.unit.web.browser import needs_browser, overflow, problems, watch
from tests.unit.web.test_membership import Room
from tests.unit.web.test_sign_in import Site, serving

pytestmark = [pytest.mark.postgres, needs_browser]

PROGRAMS = "Toegang voor programma's"
READER = {"Gesprekken", "Kanalen", "Zoeken", "Exports", PROGRAMS}
MENUS = {
    "archivaris": READER,
    "adviseur": READER,
    "inspecteur": READER,
    "minister": {"Gesprekken", "Mijn archief", "Zoeken", PROGRAMS},
    "beheer": {
        "Toestand", "Kanalen", "Personen en rollen", "Ambtsdragers", "Overgebrachte nummers", "Organisatie", "Leesdoelen",
        PROGRAMS,
    },
    "auditor": {"Auditspoor", PROGRAMS},
}  # fmt: skip


@dataclass(frozen=True)
class Talk:
    """The application, and a word that was said in a conversation of the minister and in one of others."""

    site: Site
    word: str


@pytest.fixture
async def talk(archive, room, tmp_path) -> AsyncIterator[Talk]:
    word, minister = "w" + secrets.token_hex(5), people.user_id(people.MINISTER)
    for name, member in ((room, minister), (room + "2", "@ander:x")):
        told = Room(archive, name)
        told.member(member, "join")
        told.say(f"{word} voor {member}")
        await told.keep()
    async with serving(archive, tmp_path) as site:
        yield Talk(site, word)


@asynccontextmanager
async def browsing(chromium: Browser, site: Site) -> AsyncIterator[Page]:
    """A browser that has not signed in; the provider is another site, and no problem."""
    context = await chromium.new_context(base_url=site.url, reduced_motion="reduce")
    page = await context.new_page()
    watch(page, site.url, site.provider.issuer)
    try:
        yield page
    finally:
        await context.close()


async def sign_in(page: Page, site: Site, person: str) -> None:
    """As a person does: a click here, a click there."""
    await page.get_by_role("link", name="Inloggen met het account van uw organisatie").click()
    await page.locator(f"form:has(input[name=person][value='{person}']) button").first.click()
    await page.wait_for_url(f"{site.url}/**")


@pytest.mark.parametrize("person", MENUS)
async def test_somebody_signs_in_by_a_click_sees_what_is_theirs_and_signs_out(talk, chromium, person):
    async with browsing(chromium, talk.site) as page:
        await page.goto(f"/search?q={talk.word}")
        await sign_in(page, talk.site, person)
        links = page.get_by_role("navigation", name="Hoofdmenu").get_by_role("link")
        assert set(await links.all_inner_texts()) == MENUS[person]
        if MENUS[person] == READER:  # what others said opens once they say why
            assert talk.word not in await page.locator("main").inner_text()
            await page.locator("#purpose").select_option(index=1)
            await page.locator("main form button").click()
            await page.wait_for_url("**/search?*")
            await expect(page.locator(".standing")).to_contain_text("Leesdoel: Woo-verzoek")
        text = await page.locator("main").inner_text()
        assert (f"{talk.word} voor @minister" in text) == (person in ("archivaris", "adviseur", "inspecteur", "minister"))
        assert (f"{talk.word} voor @ander" in text) == (person in ("archivaris", "adviseur", "inspecteur"))
        assert ("Uw rol geeft geen toegang" in text) == (person in ("beheer", "auditor"))
        paths = [await link.get_attribute("href") for link in await links.all()]
        for language, refused in (("nl", "Geen toegang"), ("en", "No access")):
            for path in paths:
                answer = await page.goto(f"{path}?lang={language}")
                assert answer.status == 200, path
                assert await page.locator("h1").inner_text() != refused
                assert await page.locator("nav [aria-current=page]").get_attribute("href") == path
                for width in (1100, 360):
                    await page.set_viewport_size({"width": width, "height": 800})
                    assert await overflow(page) <= 0, (path, language, width)
        await page.locator("form[action='/signout'] button").click()
        await page.wait_for_url("**/signedout")
        await page.goto("/")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        assert problems(page) == []


async def test_an_admin_gives_a_role_in_the_page_and_takes_it_back(talk, chromium):
    newcomer = secrets.token_hex(6)
    async with browsing(chromium, talk.site) as page:
        await page.goto("/people")
        await sign_in(page, talk.site, "beheer")

        async def give(role: str) -> None:
            await page.get_by_label("Persoon", exact=True).fill(newcomer)
            await page.get_by_label("Rol", exact=True).select_option(role)
            await page.get_by_label("Reden").fill("waarneming")
            await page.get_by_role("button", name="Toekennen").click()

        await give("advisor")
        given = page.get_by_role("button", name=f"Intrekken: {newcomer}, adviseur")
        await expect(given).to_be_visible()
        # What may not go together is refused in the page, with the reason.
        await give("auditor")
        await expect(page.get_by_role("alert")).to_contain_text("auditspoor")
        await given.click()
        await expect(given).to_have_count(0)
        assert (await page.locator("main").inner_text()).count(f"{newcomer} (door beheer)") == 2
