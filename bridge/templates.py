"""Approved templates offered in a conversation, numbered; one is sent by its number, by a command or by a reaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from bridge.network import NotUnderstood
from bridge.network.cloud.templates import Template
from bridge.notices import Notices
from bridge.portal import Portal
from bridge.relay import column

SHOWN = 10  # templates in an offer: as many as there are digits to react with; the others go by their name
LENGTH = 700  # characters of each that are shown
KEEP = "INSERT INTO offer (event_id, room_id, names) VALUES ($1, $2, $3) ON CONFLICT (event_id) DO NOTHING"
LAST = "SELECT names FROM offer WHERE room_id = $1 ORDER BY at DESC LIMIT 1"
DIGITS = {"1": 1, "2": 2, "3": 3, "4": 4, "5": 5, "6": 6, "7": 7, "8": 8, "9": 9, "🔟": 10}

List = Callable[[str], Awaitable[list[Template]]]
"""The approved templates for a number's id, in their order."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A template and what its variables become."""

    template: Template
    values: tuple[str, ...]


class Offers:
    """The templates as conversations are offered them."""

    def __init__(self, pool: asyncpg.Pool, notices: Notices, templates: List) -> None:
        self._pool = pool
        self._notices = notices
        self._templates = templates

    async def offer(self, portal: Portal, about: str, why: tuple[str, str]) -> None:
        """Show the templates that can be sent, after why they are. Raises NetworkError."""
        templates = await self._templates(portal.number_id)
        content: dict[str, Any] = {"msgtype": "m.notice", "body": written(templates, why)}
        content["m.relates_to"] = {"m.in_reply_to": {"event_id": about}}
        event_id = await self._notices.say(portal.room_id, f"offer {about}", content)
        if event_id:
            names = [f"{template.name} {template.language}" for template in templates[:SHOWN]]
            await self._pool.execute(KEEP, event_id, portal.room_id, names)

    async def is_offer(self, event_id: str) -> bool:
        """Whether an event is an offer of ours."""
        return bool(await self._pool.fetchval("SELECT EXISTS (SELECT FROM offer WHERE event_id = $1)", column(event_id)))

    async def asked(self, portal: Portal, words: str) -> Choice:
        """What `!sjabloon 2 a | b` asks for: a number of the last offer, or a name. Raises NotUnderstood, NetworkError."""
        first, _, rest = words.strip().partition(" ")
        values = tuple(value.strip() for value in rest.split("|")) if rest.strip() else ()
        offered = await self._pool.fetchval(LAST, portal.room_id)
        return await self._choice(portal, first, values, offered)

    async def reacted(self, portal: Portal, event_id: str, key: str) -> Choice:
        """What a reaction with a digit to an offer asks for. Raises NotUnderstood, NetworkError."""
        number = DIGITS.get(key.replace("\ufe0f", "").replace("\u20e3", ""), 0)
        offered = await self._pool.fetchval("SELECT names FROM offer WHERE event_id = $1", column(event_id))
        return await self._choice(portal, str(number), (), offered)

    async def _choice(self, portal: Portal, first: str, values: tuple[str, ...], offered: Sequence[str] | None) -> Choice:
        templates = await self._templates(portal.number_id)
        name = first
        if first.isdecimal() and len(first) < 4:
            names = offered or [f"{template.name} {template.language}" for template in templates]
            name = names[int(first) - 1] if 0 < int(first) <= len(names) else ""
        found = next((one for one in templates if name in (f"{one.name} {one.language}", one.name)), None)
        if found is None:
            raise NotUnderstood(
                "zo'n sjabloon is er niet. Vraag met !sjabloon de lijst op · "
                "there is no such template. Ask for the list with !template"
            )
        if len(values) != len(found.variables):
            example = " | ".join(f"waarde {number}" for number in range(1, len(found.variables) + 1))
            raise NotUnderstood(
                f"dit sjabloon vraagt {len(found.variables)} waarden: !sjabloon {found.name} {example} · "
                f"this template asks for {len(found.variables)} values: !template {found.name} {example}"
            )
        return Choice(found, values)


def written(templates: Sequence[Template], why: tuple[str, str]) -> str:
    """An offer, as people read it."""
    dutch, english = why
    if not templates:
        return (
            f"{dutch}. Er zijn geen goedgekeurde sjablonen om hier te versturen; uw beheerder kan ze bij Meta aanvragen. · "
            f"{english}. There are no approved templates that can be sent here; your admin can ask Meta for them."
        )
    lines = [f"{dutch}. · {english}.", ""]
    for number, template in enumerate(templates[:SHOWN], 1):
        text = template.shown if len(template.shown) <= LENGTH else f"{template.shown[:LENGTH]}…"
        lines += [f"{digit(number)} {template.name} ({template.language})", *(f"    {line}" for line in text.split("\n")), ""]
    if len(templates) > SHOWN:
        lines += ["Ook · Also: " + ", ".join(f"{one.name} ({one.language})" for one in templates[SHOWN:60]), ""]
    lines.append(
        "Verstuur er een met !sjabloon 1 waarde 1 | waarde 2, of, als er niets in te vullen is, met het cijfer als reactie. · "
        "Send one with !template 1 value 1 | value 2, or, when there is nothing to fill in, with its digit as a reaction."
    )
    return "\n".join(lines)


def digit(number: int) -> str:
    """A number up to ten as an emoji."""
    return "🔟" if number == 10 else f"{number}\ufe0f\u20e3"
