"""What the admin's pages share: how they are shown, and how what was asked is read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

from aiohttp import web
from babel.dates import format_date

from archiver.export.catalogue import N_
from archiver.reading.officials import day_of
from archiver.web.context import language
from archiver.web.posted import posted
from archiver.web.render import render

# How the columns of an entry are called; also in the history and in the preview of a file.
LABELS = {
    "name": N_("Name"), "matrix_id": N_("Matrix account"), "function": N_("Function"), "unit": N_("Part of the organisation"),
    "sole": N_("Held by one person at a time"), "from_day": N_("First day"), "until_day": N_("Last day"),
    "number": N_("Phone number"),
    "label": N_("Label"), "kind": N_("Type of device"), "owner": N_("Owner"), "withdrawn": N_("Entered by mistake"),
}  # fmt: skip
# Words that stand in columns.
CHOICES = {
    "phone": N_("phone"), "tablet": N_("tablet"), "computer": N_("computer"), "other": N_("something else"),
    "organisation": N_("the organisation"), "official": N_("the official"),
}  # fmt: skip


def today() -> date:
    """The day in the Netherlands."""
    return day_of(datetime.now(UTC))


def page(request: web.Request, template: str, status: int = 200, **values: Any) -> web.Response:
    """A page of the admin's."""
    say = language(request)

    def day(value: date | str | None) -> str:
        """A day as people write it."""
        told = date.fromisoformat(value) if isinstance(value, str) else value
        return format_date(told, "d MMMM y", locale=say.code) if told else ""

    def shown(column: str, value: Any) -> str:
        """What stands in a column, for people."""
        if value is None or value == "":
            return "–"
        if isinstance(value, bool):
            return say.gettext("yes") if value else say.gettext("no")
        if column.endswith("_day"):
            return day(value)
        return say.gettext(CHOICES[value]) if column in ("kind", "owner") and value in CHOICES else str(value)

    def told(problems: Mapping[str, str]) -> list[tuple[str, str]]:
        """What is wrong with a form, above it: by the id of the field."""
        return [(name, say.gettext(why)) for name, why in problems.items()]

    def wrong(problems: Mapping[str, str], name: str) -> str:
        """What is wrong with a field, beside it."""
        return say.gettext(problems[name]) if name in problems else ""

    def options(words: tuple[str, ...]) -> list[tuple[str, str]]:
        """Words of a column to choose from."""
        return [(each, say.gettext(CHOICES[each])) for each in words]

    done = request.query.get("done", "")
    return render(
        request, f"admin/{template}", status, day=day, shown=shown, labels=LABELS, choices=CHOICES, today=today(), done=done,
        told=told, wrong=wrong, options=options, **values,
    )  # fmt: skip


async def form_of(request: web.Request) -> Mapping[str, Any]:
    """What was filled in."""
    return await posted(request)


def word(request: web.Request, name: str) -> UUID:
    """An id in the address. Raises HTTPNotFound for what is none."""
    try:
        return UUID(request.match_info[name])
    except ValueError:
        raise web.HTTPNotFound from None
