"""Where something that was said belongs: whose it is, in which room, and who says it there."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mautrix.api import Method, Path
from mautrix.errors import MatrixRequestError

from bridge.accounts import Accounts, clean
from bridge.arriving.address_book import AddressBook
from bridge.arriving.ghosts import Ghosts, shown
from bridge.arriving.persons import Person, Persons
from bridge.ghost import Account
from bridge.network import Incoming, Named, NotUnderstood
from bridge.numbers import Numbers
from bridge.portal.portal import Portal, Portals
from bridge.settings import Bridge

log = logging.getLogger(__name__)

NOBODYS = "the number {number} was nobody's when this was said: it is kept"
NAMES_LAST = 600.0  # seconds that an official's display name is held
RENAMED = (
    "☎ {name} is nu bij WhatsApp bekend als {now}, eerder als {before}. Het gesprek gaat hier verder. · "
    "WhatsApp now knows {name} as {now}, and did so as {before} before. The conversation goes on here."
)
CONTINUED = (
    "WhatsApp zegt dat dit gesprek met dezelfde persoon is als een ouder gesprek. Het gaat daar verder: {link} · "
    "WhatsApp says that this conversation is with the same person as an older one. It goes on there: {link}"
)
CONTINUES = (
    "WhatsApp zegt dat dit dezelfde persoon is als in een nieuwer gesprek, dat hier verdergaat. Die kamer blijft: {link} · "
    "WhatsApp says that this is the same person as in a newer conversation, which goes on here. Its room stays: {link}"
)
TIMER = (
    "⏱ Berichten in dit WhatsApp-gesprek verdwijnen daar na {nl}; hier worden ze gearchiveerd. · "
    "Messages in this WhatsApp conversation disappear there after {en}; they are archived here."
)
NO_TIMER = (
    "⏱ Berichten in dit WhatsApp-gesprek verdwijnen niet meer vanzelf. · "
    "Messages in this WhatsApp conversation no longer disappear by themselves."
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where something is said, and by whom there."""

    room_id: str
    sender: Account
    portal: Portal
    person: Person | None
    name: str  # of who says it
    speaker: str = ""  # in whose name the bot says it
    puppet: bool = False  # whether it is said as the official


class Meeting:
    """Brings people and their rooms together."""

    def __init__(
        self,
        settings: Bridge,
        numbers: Numbers,
        accounts: Accounts,
        portals: Portals,
        persons: Persons,
        ghosts: Ghosts,
        address_book: AddressBook,
    ) -> None:
        self._settings = settings
        self._numbers = numbers
        self._accounts = accounts
        self._portals = portals
        self._persons = persons
        self._ghosts = ghosts
        self._address_book = address_book
        self._names: dict[str, tuple[float, str]] = {}

    async def place(self, said: Incoming) -> Place:
        """The place of a message, made where there is none. Raises NotUnderstood for a number that we don't serve."""
        if self._numbers.of(said.number_id) is None:
            raise NotUnderstood(f"the number {said.number_id} is not configured: add it to bridge.numbers")
        official = self.official(said.number_id, said.sent_at)
        person = await self._who(said)
        ghost = await self._ghosts.of(person) if person is not None else None
        if said.group:
            portal = await self.group(said.number_id, official, said.group, [ghost] if ghost is not None else [])
        elif person is not None and ghost is not None:
            portal = await self._with(said.number_id, official, person, ghost)
        else:
            raise NotUnderstood("the message names no contact that could be one")
        if person is not None and person.joined:
            await self._join_rooms(said, person)
        if person is not None and not said.group:
            await self._tell_changes(said, person, portal)
        if said.from_us:
            return await self._from_the_phone(said, portal, person)
        if ghost is None or said.network_type == "system":
            return Place(portal.room_id, self._accounts.bot, portal, person, "WhatsApp")
        return Place(portal.room_id, ghost, portal, person, shown(person) if person is not None else "")

    def official(self, number_id: str, at: datetime | None) -> str:
        """Whose conversation it is what was said then. Raises NotUnderstood when it was nobody's."""
        official = self._numbers.official_at(number_id, at)
        if not official:
            raise NotUnderstood(NOBODYS.format(number=number_id))
        return official

    async def group(self, number_id: str, official: str, group: str, ghosts: list[Account]) -> Portal:
        """The room of an official's group, with these people in it."""
        async with self._portals.lock(number_id, f"group|{group}"):
            portal = await self._portals.find_group(number_id, official, group)
            subject, description = await self._portals.about(portal) if portal is not None else ("", "")
            name = subject or f"Groep · Group {group[-6:]}"
            conversation = self._portals.conversation(number_id, official, group, name, group=True, description=description)
            if portal is None:
                return await self._portals.make(number_id, group, conversation, None, ghosts)
            if not portal.seated:
                await self._portals.welcome(portal)
        if official == self._numbers.official(number_id):  # what a former official's room says stays as it was
            await self._portals.show(portal, group, conversation)
        for ghost in ghosts:
            await self._portals.seat(portal.room_id, ghost)
        return portal

    async def rename(self, number_id: str, wa_id: str) -> None:
        """Have the room of a conversation follow the address book."""
        person = await self._persons.find(number_id, Named(wa_id))
        if person is None:
            return
        async with self._portals.lock(number_id, str(person.id)):
            pass  # a room in the making is there after this
        official = self._numbers.official(number_id)
        if await self._portals.find(number_id, official, person.id, await self._persons.ever(person)):
            await self._with(number_id, official, person, await self._ghosts.of(person))

    async def mentioned(self, said: Incoming) -> dict[str, tuple[str, str]]:
        """Number or id to (Matrix id, name) of the mentioned people who are known."""
        found: dict[str, tuple[str, str]] = {}
        for mention in said.mentions[:50]:
            if mention == "".join(filter(str.isdecimal, self._numbers.display(said.number_id))):
                official = self.official(said.number_id, said.sent_at)
                found[mention] = official, await self.name_of(official)
            elif person := await self._persons.find(
                said.number_id, Named(mention) if mention.isdecimal() else Named(user_id=mention)
            ):
                found[mention] = self._settings.ghost(person.localpart), shown(person)
        return found

    async def after(self, place: Place, said: Incoming) -> None:
        """What a message brings about in its conversation: messages that disappear from now on, or no longer."""
        seconds = said.timer if said.timer is not None else said.expires_after
        if seconds is None or said.history or seconds == place.portal.timer:
            return
        await self._portals.set_timer(place.portal, seconds)
        nl, en = _lasting(seconds)
        await self._notice(place.room_id, TIMER.format(nl=nl, en=en) if seconds else NO_TIMER, f"timer|{said.message_id}")
        await self._portals.keep_timer(place.portal, seconds)

    async def name_of(self, official: str) -> str:
        """An official's display name."""
        now = time.monotonic()
        at, name = self._names.get(official, (-NAMES_LAST, ""))
        if now - at < NAMES_LAST:
            return name
        try:
            answer = await self._accounts.bot.call(Method.GET, Path.v3.profile[official].displayname)
        except MatrixRequestError:
            answer = {}
        name = clean(str(answer.get("displayname") or ""), 100) or official
        self._names[official] = now, name
        return name

    async def _who(self, said: Incoming) -> Person | None:
        if said.kind == "moved" and said.moved is not None:
            return await self._persons.move(said.number_id, said.person, said.moved, said.sent_at, said.message_id)
        if not said.person.address:
            return None
        return await self._persons.meet(said.number_id, said.person, said.sent_at, said.message_id)

    async def _with(self, number_id: str, official: str, person: Person, ghost: Account) -> Portal:
        """The room of an official's conversation with somebody, up to date with what they are called."""
        async with self._portals.lock(number_id, str(person.id)):
            portal = await self._portals.find(number_id, official, person.id)
            if portal is None:
                portal = await self._portals.find(number_id, official, person.id, await self._persons.ever(person))
            contact = person.named.address or (portal.contact if portal is not None else "")
            name = await self._address_book.name(number_id, person.named.wa_id, official) or shown(person)
            conversation = self._portals.conversation(number_id, official, contact, name)
            if portal is None:
                return await self._portals.make(number_id, contact, conversation, person.id, [ghost])
            if not portal.seated:
                await self._portals.welcome(portal)
        if official == self._numbers.official(number_id):
            await self._portals.show(portal, contact, conversation)
        await self._portals.seat(portal.room_id, ghost)
        return portal

    async def _from_the_phone(self, said: Incoming, portal: Portal, person: Person | None) -> Place:
        """What was typed on the business phone is the official's: said as them where we may, else by the bot in their name."""
        official = portal.official
        name = await self.name_of(official)
        if self._settings.double_puppet:
            puppet = await self._accounts.official(official)
            await self._portals.seat(portal.room_id, puppet)
            return Place(portal.room_id, puppet, portal, person, name, puppet=True)
        return Place(portal.room_id, self._accounts.bot, portal, person, name, speaker=f"{name} (via telefoon)")

    async def _tell_changes(self, said: Incoming, person: Person, portal: Portal) -> None:
        """Somebody's other number or id is told in their room."""
        if person.was is not None and said.kind != "moved":
            text = RENAMED.format(name=shown(person), now=both(person.named), before=both(person.was))
            await self._notice(portal.room_id, text, f"renamed|{said.message_id}")

    async def _join_rooms(self, said: Incoming, person: Person) -> None:
        """Two prove to be one, wherever it shows: told in their own rooms, nothing of which is lost."""
        kept: dict[str, Portal] = {}
        for portal in await self._portals.double(person.id):
            older = kept.setdefault(portal.number_id, portal)
            if older is portal:
                await self._portals.take_over(portal, person.id)
                continue
            await self._notice(portal.room_id, CONTINUED.format(link=_link(older.room_id)), f"closed|{said.message_id}")
            await self._notice(older.room_id, CONTINUES.format(link=_link(portal.room_id)), f"joined|{said.message_id}")
            tombstone = {
                "body": "Het gesprek gaat verder in een oudere kamer · Goes on in an older room",
                "replacement_room": older.room_id,
            }
            await self._portals.set_state(portal.room_id, "m.room.tombstone", tombstone)
            await self._portals.close(portal.room_id)

    async def _notice(self, room_id: str, text: str, about: str) -> None:
        txn = "wa-told-" + hashlib.sha256(f"{room_id}|{about}".encode("utf-8", "replace")).hexdigest()[:32]
        content: dict[str, Any] = {"msgtype": "m.notice", "body": text}
        await self._portals.send(self._accounts.bot, room_id, content, txn)


def both(named: Named) -> str:
    """Somebody by number and by id, as far as they are known."""
    return " · ".join(filter(None, (named.shown, named.user_id if named.wa_id else ""))) or "?"


def _link(room_id: str) -> str:
    return f"https://matrix.to/#/{room_id}"


def _lasting(seconds: int) -> tuple[str, str]:
    """A duration in Dutch and in English."""
    for size, (nl, many), (en, several) in (
        (86_400, ("dag", "dagen"), ("day", "days")),
        (3600, ("uur", "uur"), ("hour", "hours")),
        (60, ("minuut", "minuten"), ("minute", "minutes")),
    ):
        if seconds >= size and seconds % size == 0:
            count = seconds // size
            return f"{count} {nl if count == 1 else many}", f"{count} {en if count == 1 else several}"
    return f"{seconds} seconden", f"{seconds} seconds"
