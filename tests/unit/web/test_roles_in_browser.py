"""Each person of the demo in a real browser: they sign in by a click, see what is theirs and nothing else, and sign out."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from archiver.demo import people
from tests.unit.bridge.browser import CHROMIUM, Tab, browsed
from tests.unit.web.test_membership import Room
from tests.unit.web.test_sign_in import Site, serving

pytestmark = [pytest.mark.postgres, pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")]

READER = {"Gesprekken", "Kanalen", "Zoeken", "Exports"}
MENUS = {
    "archivaris": READER,
    "adviseur": READER,
    "inspecteur": READER,
    "minister": {"Gesprekken", "Mijn archief", "Zoeken"},
    "beheer": {"Toestand", "Kanalen", "Personen en rollen", "Leesdoelen"},
    "auditor": {"Auditspoor"},
}
TOO_WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


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


async def sign_in(tab: Tab, web: str, person: str) -> None:
    """As a person does: a click here, a click there."""
    await tab.until("document.querySelector('a.button')")
    await tab.run("document.querySelector('a.button').click()")
    await tab.until(f"document.querySelector('input[name=person][value=\"{person}\"]')")
    await tab.run(f"document.querySelector('input[name=person][value=\"{person}\"]').form.requestSubmit()")
    await tab.until(f"location.origin === '{web}' && document.readyState === 'complete' && document.querySelector('nav')")


async def go(tab: Tab, address: str) -> None:
    """To a page, and wait for it."""
    await tab.call("Page.navigate", url=address)
    await tab.until(f"location.href === '{address}' && document.readyState === 'complete'")


@pytest.mark.parametrize("person", MENUS)
async def test_somebody_signs_in_by_a_click_sees_what_is_theirs_and_signs_out(talk, person):
    web = talk.site.url
    async with browsed(f"{web}/search?q={talk.word}") as tab:
        await sign_in(tab, web, person)
        links = await tab.run("[...document.querySelectorAll('nav a')].map(a => [a.innerText, a.getAttribute('href')])")
        assert {name for name, _ in links} == MENUS[person]
        if person in ("archivaris", "adviseur", "inspecteur"):  # what others said opens once they say why
            assert talk.word not in await tab.run("document.querySelector('main').innerText")
            await tab.run("document.querySelector('#purpose').selectedIndex = 1")
            await tab.run("document.querySelector('main form').requestSubmit()")
            await tab.until("location.pathname === '/search' && document.readyState === 'complete'")
            assert "Leesdoel: Woo-verzoek" in await tab.run("document.body.innerText")
        text = await tab.run("document.querySelector('main').innerText")
        assert (f"{talk.word} voor @minister" in text) == (person in ("archivaris", "adviseur", "inspecteur", "minister"))
        assert (f"{talk.word} voor @ander" in text) == (person in ("archivaris", "adviseur", "inspecteur"))
        assert ("Uw rol geeft geen toegang" in text) == (person in ("beheer", "auditor"))
        for language in ("nl", "en"):
            for _, path in links:
                await go(tab, f"{web}{path}?lang={language}")
                assert await tab.run("document.querySelector('h1').innerText") not in (
                    "Geen toegang",
                    "No access",
                    "Niet gevonden",
                )
                for width in (1100, 360):
                    await tab.call(
                        "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 500
                    )
                    assert not await tab.run(TOO_WIDE), (path, language, width)
        await tab.run("document.querySelector('form[action=\"/signout\"] button').click()")
        await tab.until("location.pathname === '/signedout' && document.readyState === 'complete'")
        await tab.call("Page.navigate", url=f"{web}/")
        await tab.until("location.pathname === '/signin' && document.querySelector('h1')")
        assert tab.problems == []


async def test_an_admin_gives_a_role_in_the_page_and_takes_it_back(talk):
    newcomer = secrets.token_hex(6)
    async with browsed(f"{talk.site.url}/people") as tab:
        await sign_in(tab, talk.site.url, "beheer")
        await tab.run(f"document.querySelector('#person').value = '{newcomer}'")
        await tab.run("document.querySelector('#role').value = 'advisor'")
        await tab.run("document.querySelector('#reason').value = 'waarneming'")
        await tab.run("document.querySelector('form.stack').requestSubmit()")
        given = f"document.querySelector('button[aria-label=\"Intrekken: {newcomer}, adviseur\"]')"
        await tab.until(given)
        # What may not go together is refused in the page, with the reason.
        await tab.run(f"document.querySelector('#person').value = '{newcomer}'")
        await tab.run("document.querySelector('#role').value = 'auditor'")
        await tab.run("document.querySelector('form.stack').requestSubmit()")
        await tab.until("document.querySelector('[role=alert]')?.innerText.includes('audit trail')")
        await tab.run(f"{given}.click()")
        await tab.until(f"document.querySelector('main') && !{given}")
        history = await tab.run("document.querySelector('main').innerText")
        assert history.count(f"{newcomer} (door beheer)") == 2
