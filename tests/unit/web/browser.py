"""A real browser on the pages: a small office with conversations, somebody of each role, and what axe has against a page."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import pytest
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright

from archiver.capture import media
from archiver.db import connect, migrate, tenant_tx
from archiver.ledger.audit import note
from archiver.ledger.files import FileStore
from archiver.ledger.record import moment
from archiver.ledger.sealing import FileKey, Vault
from archiver.reading import saved
from archiver.settings import Settings
from archiver.web import access, jobs, sessions
from archiver.web.admin import importing, registry
from archiver.web.api import tokens
from archiver.web.api.scopes import Scope
from archiver.web.app import application
from archiver.web.context import Archive
from archiver.web.exporting import export
from archiver.web.roles import Role, grant
from archiver.web.workshop import Workshop
from tests.interop.client import FOLDER, require_node
from tests.unit import conftest
from tests.unit.bridge.browser import CHROMIUM
from tests.unit.reading.portals import BOT, OFFICIAL, Portal, source, text
from tests.unit.reading.test_bridged import interruption
from tests.unit.web.signed_in import session_of
from tests.unit.web.test_membership import START, Room

needs_browser = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
AXE = FOLDER / "node_modules" / "axe-core" / "axe.min.js"
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOURS = ["color-contrast", "link-in-text-block"]  # the rules that light or dark makes a difference for
DESKTOP, PHONE = (1280, 900), (390, 844)
SCAN = """async ([tags, rules]) => {
    const runOnly = rules.length ? {type: 'rule', values: rules} : {type: 'tag', values: tags};
    const told = await axe.run(document, {runOnly, resultTypes: ['violations']});
    const summary = each => each.nodes.map(node => `${each.id}: ${node.target.join(' ')}: ${node.failureSummary}`);
    return told.violations.flatMap(summary);
}"""
# 1 pixel, so that pages have a picture to show.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763e86f6c0000037c01bdc8d3e35b"
    "0000000049454e44ae426082"
)
MATRIX_ID = {Role.OFFICIAL: OFFICIAL}


@dataclass
class Office:
    """The web application on an archive of its own, in which a minister has a few conversations."""

    url: str
    archive: conftest.Archive
    opened: Archive
    chromium: Browser
    room: str = "!beraad:x"
    portal: str = "!whatsapp:x"
    events: dict[str, str] = field(default_factory=dict)  # event ids by what they are: said, edited, deleted, picture, …

    def address(self, path: str) -> str:
        """A path in which {room}, {portal} and the events' names are filled in."""
        known = {"room": self.room, "portal": self.portal, **self.events}
        return path.format(**{name: quote(value, safe="") for name, value in known.items()})

    @asynccontextmanager
    async def browsing(
        self, *roles: Role | str, language: str = "nl", size: tuple[int, int] = DESKTOP, dark: bool = False, script: bool = True
    ) -> AsyncIterator[Page]:
        """A page of somebody who has these roles (of nobody, without roles); `problems(page)` is what went wrong in it."""
        context = await self.chromium.new_context(
            base_url=self.url, viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light",
            java_script_enabled=script, reduced_motion="reduce",
        )  # fmt: skip
        cookies = {"griffier_language": language}
        if roles:
            first = Role(roles[0])
            token = await session_of(self.archive, *roles, person=first.value, matrix_id=MATRIX_ID.get(first))
            cookies[access.cookie_name(self.opened)] = token
        await context.add_cookies([{"name": name, "value": value, "url": self.url} for name, value in cookies.items()])
        page = await context.new_page()
        watch(page, self.url)
        try:
            yield page
        finally:
            await context.close()


_PROBLEMS: dict[Page, list[str]] = {}


def watch(page: Page, *sites: str) -> None:
    """Keep what the page asks of other hosts than these, what its policy stops, and errors of its scripts."""
    found = _PROBLEMS[page] = []

    def asked(request: Request) -> None:
        if not request.url.startswith((*sites, "data:", "blob:")):
            found.append(f"asked {request.url}")

    def told(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text or "Content-Security-Policy" in message.text:
            found.append(message.text)

    page.on("request", asked)
    page.on("console", told)
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("close", lambda _: _PROBLEMS.pop(page, None))


def problems(page: Page) -> list[str]:
    """Requests to another host, violations of the content security policy, and errors of scripts, since the page was opened."""
    return _PROBLEMS[page]


async def violations(page: Page, *rules: str) -> list[str]:
    """What axe has against the page as it stands (WCAG 2.2 AA and its best practices), or against these rules only."""
    if not await page.evaluate("typeof axe === 'object'"):
        require_node()
        # By the debugger, as policy lets no script of ours into the page.
        await page.evaluate(AXE.read_text() + "; undefined")
    return list(await page.evaluate(SCAN, [WCAG, list(rules)]))


async def overflow(page: Page) -> int:
    """By how many pixels the page is wider than the screen."""
    return int(await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """One browser for the whole run."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
async def office(chromium: Browser, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    """One office for the whole run, in a database of its own: read in it, but leave it as it is."""
    async with office_of(chromium, postgres_url, tmp_path_factory.mktemp("office")) as made:
        yield made


@asynccontextmanager
async def office_of(chromium: Browser, postgres_url: str, folder: Path) -> AsyncIterator[Office]:
    """An office of one's own, to change things in."""
    name, owner = f"o{secrets.token_hex(6)}", await asyncpg.connect(postgres_url)
    await owner.execute(f"CREATE DATABASE {name}")
    url = urlunsplit(urlsplit(postgres_url)._replace(path=f"/{name}"))
    try:
        async with connect(url) as pool:
            await migrate(pool)
            (folder / "keys").mkdir()
            key = FileKey.load(folder / "keys", create=True)
            vaults = []
            for org, called in ((1, "Ministerie van Voorbeelden"), (2, "Een ander ministerie")):
                async with tenant_tx(pool, org) as tx:
                    await Vault.set_up(tx, org, called, key)
                    vaults.append(await Vault.open(tx, org, key))
            archive = conftest.Archive(pool, *vaults, url, key)
            opened = Archive(Settings(), pool, archive.vault, FileStore(folder / "files"))
            server = TestServer(application(opened))
            await server.start_server()
            made = Office(str(server.make_url("")).rstrip("/"), archive, opened, chromium)
            try:
                await furnish(made)
                yield made
            finally:
                await server.close()
    finally:
        await owner.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await owner.close()


DEVICE = """
    INSERT INTO sender_device (org, user_id, curve25519, ed25519, device_id, cross_signed) VALUES (1, $1, $2, 'e', $2, $3)
"""


async def furnish(office: Office) -> None:
    """What the pages have to show: add to it what a new page needs."""
    await _deliberation(office)
    await _whatsapp(office)
    await _exports(office)
    await _officials(office)
    async with tenant_tx(office.archive.pool, 1) as tx:
        for person in ("records-officer", "official"):
            kept = await saved.keep(tx, office.archive.vault, person, "Kademuren", [("q", "kademuur")])
            office.events.setdefault("search", str(kept))
        await grant(tx, 1, "beheer", "adviseur-2", Role.ADVISOR, reason="waarneming")
        for device, signed in (("TELEFOON", True), ("LAPTOP", False)):
            await tx.execute(DEVICE, OFFICIAL, device, signed)
        await note(tx, 1, "archivaris", "read", room_id=office.room, role="records-officer")
    for role in (Role.RECORDS_OFFICER, Role.INSPECTOR):
        cookie = await session_of(office.archive, role, person=role.value)
        async with tenant_tx(office.archive.pool, 1) as tx:
            session = await sessions.find(tx, 1, cookie, office.opened.settings.web)
            assert session is not None
            _, made = await tokens.make(tx, 1, session.session_id, "Maandelijkse rapportage", {Scope.ROOMS, Scope.SEARCH}, 90)
            office.events["token"] = str(made.token_id)


async def _exports(office: Office) -> None:
    """An export of the records officer that is ready, one that failed, one that was cancelled and one that waits."""
    asked = {"rooms": [office.room, office.portal], "format": "html", "start": None, "end": None, "language": "nl"}
    pool, vault, officer = office.archive.pool, office.archive.vault, Role.RECORDS_OFFICER.value
    for arguments in (asked, asked | {"rooms": ["!weg:x"]}):
        async with tenant_tx(pool, 1) as tx:
            await jobs.start(tx, vault, officer, "export", arguments)
        assert await Workshop(office.opened, {"export": export}).do_next(asyncio.Event())
    for number in range(2):
        async with tenant_tx(pool, 1) as tx:
            job_id = await jobs.start(tx, vault, officer, "export", asked)
            if number == 0:
                await jobs.cancel(tx, 1, officer, job_id)


async def _officials(office: Office) -> None:
    """A minister as the admin knows her, and a file of officials that waits for its confirmation."""
    pool, vault = office.archive.pool, office.archive.vault
    start = date(2024, 7, 2)
    period = {"from_day": start, "until_day": None}
    async with registry.changing(pool, 1, "beheer", "benoemd") as tx:
        who = await registry.add_official(tx, 1, "beheer", "Karin de Wit")
        term = {"matrix_id": OFFICIAL, "function": "minister", "unit": "Waterbeheer", "sole": True, **period}
        office.events["official"] = str(who)
        office.events["term"] = str(await registry.add(tx, 1, "beheer", registry.TERM, who, term))
        number = {"number": "+3197010203040", "label": "", **period}
        channel = await registry.add(tx, 1, "beheer", registry.CHANNEL, who, number)
        await registry.add(
            tx, 1, "beheer", registry.DEVICE, who, {"label": "AB-1234", "kind": "phone", "owner": "organisation", **period}
        )
    async with registry.changing(pool, 1, "beheer", "voor de pers") as tx:
        await registry.change(tx, 1, "beheer", registry.CHANNEL, who, channel, {**number, "label": "pers"})
    rows = (
        "naam;matrix-account;functie;organisatieonderdeel;vanaf;tot en met;salaris",
        f"Karin de Wit;{OFFICIAL};minister;Waterbeheer;2-7-2024;31-12-2026;",
        "Tarik Benali;@t:x;staatssecretaris;Wonen;2-7-2024;;",
        ";fout;;Wonen;gisteren;;",
    )  # fmt: skip
    office.events["upload"] = str(await importing.keep(pool, vault, "admin", "lijst.csv", "\n".join(rows).encode()))


async def _deliberation(office: Office) -> None:
    """A conversation with about everything that can happen in one."""
    told, events = Room(office.archive, office.room), office.events
    told.add("m.room.name", {"name": "Overleg kademuren"}, state_key="")
    told.member(OFFICIAL, "join")
    told.member("@j.vermeer:x", "join")
    events["said"] = told.say("Kan de notitie over de kademuur vandaag nog naar de Kamer?")
    answer = {"m.relates_to": {"m.in_reply_to": {"event_id": events["said"]}}}
    events["answer"] = told.say("Ja. Zie https://www.rijksoverheid.example/notitie voor de laatste versie.", **answer)
    events["threaded"] = told.say("Dit zoek ik uit.", **{"m.relates_to": {"rel_type": "m.thread", "event_id": events["answer"]}})
    events["edited"] = told.say("Om 15.00 uur is het af.")
    told.edit(events["edited"], "Om 16.00 uur is het af.")
    told.add("m.reaction", {"m.relates_to": {"rel_type": "m.annotation", "event_id": events["edited"], "key": "👍"}})
    events["deleted"] = told.say("Dit had hier niet moeten staan.")
    told.add("m.room.redaction", {"redacts": events["deleted"], "reason": "verkeerde gesprek"}, "@ander:x")
    shown = {
        "msgtype": "m.image",
        "body": "scheur.png",
        "url": "mxc://x/y",
        "info": {"mimetype": "image/png", "size": len(PIXEL)},
    }
    events["picture"] = told.add("m.room.message", shown)
    sealed = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x", "session_id": "y"}
    events["unreadable"] = told.add("m.room.encrypted", sealed)
    told.arrivals[-1] = replace(told.arrivals[-1], unreadable="no-key")
    long = "eenheelergwoorddatnietafgebrokenkanworden" * 4
    told.say(f"Een lange link: https://voorbeeld.example/{long}")
    told.add("m.room.topic", {"topic": "Herstel van de kademuren in Delfzijl"}, state_key="")
    told.add("m.room.power_levels", {"users": {OFFICIAL: 100, "@j.vermeer:x": 50}}, state_key="")
    events["root"] = told.say("Wie belt de aannemer?")
    in_thread = {"rel_type": "m.thread", "event_id": events["root"]}
    events["in_thread"] = told.say("Dat doe ik.", **{"m.relates_to": in_thread})
    told.add("m.room.message", {"msgtype": "m.text", "body": "Er is al gebeld."}, prev_events=["$verdwenen"])
    told.member("@j.vermeer:x", "leave")
    await told.keep()
    arrival = next(each for each in told.arrivals if each.event_id == events["picture"])
    async with tenant_tx(office.archive.pool, 1) as tx:
        await media.enqueue(tx, office.archive.vault, [arrival])
        address = await office.opened.files.write(office.archive.vault, tx, office.room, moment(START), PIXEL)
        await tx.execute(media.STORED, 1, office.room, events["picture"], "file", address, len(PIXEL), None)


async def _whatsapp(office: Office) -> None:
    """The minister's conversation with a citizen on WhatsApp, and a time in which her number was not covered."""
    portal = await Portal(office.archive, office.portal).open(**{"nl.griffier.official": OFFICIAL})
    portal.say(text("Goedemiddag, er zit een scheur in onze kademuur.", **{"nl.griffier.source": source("wamid.1")}))
    portal.say(text("Dank, ik laat ernaar kijken."), OFFICIAL)
    portal.say(interruption("minister"), BOT)
    await portal.keep()
