"""Groups of the Groups API: their room follows who is in them and what they are called."""

from __future__ import annotations

import hashlib
import json
import logging

from bridge import attachments
from bridge.accounts import Accounts
from bridge.arriving.fetching import Files
from bridge.arriving.ghosts import Ghosts, shown
from bridge.arriving.meeting import Meeting
from bridge.arriving.persons import Person, Persons
from bridge.arriving.rendering import SOURCE, milliseconds, source
from bridge.network import GroupChanged, Incoming, Named, NetworkError, NotUnderstood
from bridge.numbers import Numbers
from bridge.portal.portal import Portal, Portals

log = logging.getLogger(__name__)


class Groups:
    """Carries over what is told of groups."""

    def __init__(
        self,
        numbers: Numbers,
        accounts: Accounts,
        portals: Portals,
        persons: Persons,
        ghosts: Ghosts,
        meeting: Meeting,
        files: Files,
    ) -> None:
        self._numbers = numbers
        self._accounts = accounts
        self._portals = portals
        self._persons = persons
        self._ghosts = ghosts
        self._meeting = meeting
        self._files = files

    async def carry(self, change: GroupChanged) -> str:
        """Bring a group's room up to date, and say in it what changed. Raises NotUnderstood, MatrixRequestError."""
        if self._numbers.of(change.number_id) is None:
            raise NotUnderstood(f"the number {change.number_id} is not configured: add it to bridge.numbers")
        key = hashlib.sha256(json.dumps(change.raw, sort_keys=True).encode()).hexdigest()
        joined = [await self._meet(change, named, key) for named in change.joined]
        left = [await self._meet(change, named, key) for named in change.left]
        asked = [await self._meet(change, named, key) for named in change.asked]
        official = self._meeting.official(change.number_id, change.at)
        ghosts = [await self._ghosts.of(person) for person in joined]
        portal = await self._meeting.group(change.number_id, official, change.group, ghosts)
        if not change.failed and (change.subject is not None or change.description is not None):
            await self._portals.keep_about(portal, change.subject, change.description)
            portal = await self._meeting.group(change.number_id, official, change.group, [])
        if change.picture is not None:
            await self._picture(change, portal)
        text = "\n".join(_lines(change, joined, left, asked))
        await self._say(change, portal, text, key)
        for person in left:
            await self._portals.unseat(portal.room_id, await self._ghosts.of(person))
        return "done"

    async def _meet(self, change: GroupChanged, named: Named, key: str) -> Person:
        return await self._persons.meet(change.number_id, named, change.at, f"group|{key[:16]}")

    async def _picture(self, change: GroupChanged, portal: Portal) -> None:
        """The group's picture as the room's; without it where it can't be had."""
        if change.picture is None:
            return
        try:
            data = await self._files.get(change.number_id, change.picture)
        except NetworkError as error:
            log.info("A group's picture could not be fetched: %s", error)
            return
        file = await attachments.upload(self._accounts.bot, change.picture, data, encrypted=False)
        await self._portals.set_state(portal.room_id, "m.room.avatar", {"url": file["url"]})

    async def _say(self, change: GroupChanged, portal: Portal, text: str, key: str) -> None:
        told = Incoming(
            change.number_id, Named(), f"group|{key[:32]}", change.at, "notice", change.change, text,
            group=change.group, whole=False, raw=change.raw,
        )  # fmt: skip
        whose = self._numbers.display(change.number_id), portal.official
        content = {"msgtype": "m.notice", "body": text, SOURCE: source(told, "whatsapp", *whose, sender="WhatsApp")}
        at = milliseconds(change.at) if change.at is not None else None
        await self._portals.send(self._accounts.bot, portal.room_id, content, f"wa-group-{key[:32]}", at)


def _lines(change: GroupChanged, joined: list[Person], left: list[Person], asked: list[Person]) -> list[str]:
    """What changed, a line each."""
    if change.failed:
        return [f"👥 {change.change}: niet gelukt · did not succeed: {change.failed}"]
    lines = [f"➕ {shown(person)} doet nu mee · has joined" for person in joined]
    lines += [f"➖ {shown(person)} doet niet meer mee · has left" for person in left]
    lines += [f"✋ {shown(person)} wil meedoen · asks to join" for person in asked]
    if change.subject is not None:
        lines.append(f"👥 De groep heet nu: {change.subject} · The group is now called: {change.subject}")
    if change.description is not None:
        lines.append("👥 De omschrijving is veranderd · The description has changed")
    if change.picture is not None:
        lines.append("👥 De afbeelding is veranderd · The picture has changed")
    if change.change == "group_create" and not change.closed:
        lines.insert(0, "👥 De groep is gemaakt · The group was created")
    if change.closed:
        lines.append("👥 De groep bestaat niet meer · The group no longer exists")
    return lines or [f"👥 WhatsApp: {change.change}"]
