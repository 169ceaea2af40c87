"""What somebody filled in, in a form or a file, read field by field: a value, or why it can't be used (English, to translate)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import date
from typing import Any

from archiver.export.catalogue import N_

MATRIX_ID = re.compile(r"@[0-9a-z._=/+-]{1,200}:[0-9A-Za-z.:\[\]-]{1,200}")
DAYS = (
    re.compile(r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})"),
    re.compile(r"(?P<day>\d{1,2})[-/.](?P<month>\d{1,2})[-/.](?P<year>\d{4})"),
)
YES, NO = frozenset({"1", "on", "ja", "yes", "j", "y", "x", "true"}), frozenset({"", "0", "nee", "no", "n", "false"})
KINDS = ("phone", "tablet", "computer", "other")
OWNERS = ("organisation", "official")

MISSING = {
    "name": N_("Fill in the name."),
    "matrix_id": N_("Fill in the Matrix account."),
    "function": N_("Fill in the function."),
    "unit": N_("Fill in the part of the organisation."),
    "from_day": N_("Fill in the first day."),
    "number": N_("Fill in the phone number."),
    "label": N_("Fill in what is written on the device, or its model."),
}
TOO_LONG = N_("This is too long.")
NOT_TEXT = N_("This holds characters that have no place in a text, such as a line break.")
NOT_AN_ACCOUNT = N_("This is not a Matrix account. Write it as @name:server, in small letters.")
NOT_A_DAY = N_("This is not a day. Write it as 2026-03-31 or 31-3-2026.")
NO_SUCH_YEAR = N_("This year can't be right.")
ENDS_BEFORE = N_("The last day is before the first day.")
NOT_A_NUMBER = N_("This is not a phone number. Write it as +31612345678 or 06 12345678.")
NOT_A_CHOICE = N_("Choose one of the possibilities.")
NOT_YES_OR_NO = N_("Write yes or no.")


class Fields:
    """Reads fields one after another; what is wrong with them is in `problems`, by field."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self.problems: dict[str, str] = {}

    def raw(self, name: str) -> str:
        """What was typed."""
        value = self._given.get(name, "")
        return value.strip() if isinstance(value, str) else ""

    def text(self, name: str, limit: int = 200, *, required: bool = True) -> str:
        """A line of text, in one spelling of its letters."""
        value = unicodedata.normalize("NFC", " ".join(self.raw(name).split(" "))).strip()
        if not value:
            return self._wrong(name, MISSING[name]) if required else ""
        # Control characters and lone halves; what turns the direction of text around could make a name look like another.
        if any(unicodedata.category(letter) in ("Cc", "Cs", "Co", "Cn", "Zl", "Zp") or letter in STEERING for letter in value):
            return self._wrong(name, NOT_TEXT)
        return value if len(value) <= limit else self._wrong(name, TOO_LONG)

    def account(self, name: str) -> str:
        """A Matrix account."""
        value = self.text(name, 255)
        return value if not value or MATRIX_ID.fullmatch(value) else self._wrong(name, NOT_AN_ACCOUNT)

    def day(self, name: str, *, required: bool = False) -> date | None:
        """A day, as 2026-03-31 or 31-3-2026."""
        value = self.raw(name)
        if not value:
            if required:
                self._wrong(name, MISSING[name])
            return None
        found = next((match for form in DAYS if (match := form.fullmatch(value))), None)
        if found is None or not value.isascii():
            self._wrong(name, NOT_A_DAY)
            return None
        try:
            day = date(int(found["year"]), int(found["month"]), int(found["day"]))
        except ValueError:
            self._wrong(name, NOT_A_DAY)
            return None
        if not 1900 <= day.year <= 2200:
            self._wrong(name, NO_SUCH_YEAR)
            return None
        return day

    def period(self) -> tuple[date | None, date | None]:
        """The fields from_day and until_day."""
        start, end = self.day("from_day", required=True), self.day("until_day")
        if start and end and end < start:
            self._wrong("until_day", ENDS_BEFORE)
        return start, end

    def number(self, name: str, *, required: bool = True) -> str:
        """A phone number as +31612345678; one without a country is Dutch."""
        value = self.raw(name)
        if not value:
            return self._wrong(name, MISSING[name]) if required else ""
        bare = re.sub(r"[\s().\u2010-\u2015-]", "", value)
        if bare.startswith("00"):
            bare = f"+{bare[2:]}"
        elif re.fullmatch(r"0[1-9]\d{8}", bare, re.ASCII):
            bare = f"+31{bare[1:]}"
        return bare if re.fullmatch(r"\+[1-9]\d{6,14}", bare, re.ASCII) else self._wrong(name, NOT_A_NUMBER)

    def choice(self, name: str, options: tuple[str, ...]) -> str:
        """One of these."""
        value = self.raw(name)
        return value if value in options else self._wrong(name, NOT_A_CHOICE)

    def yes(self, name: str) -> bool:
        """Whether something was ticked or said."""
        value = self.raw(name).casefold()
        if value not in YES | NO:
            self._wrong(name, NOT_YES_OR_NO)
        return value in YES

    def _wrong(self, name: str, why: str) -> str:
        self.problems.setdefault(name, why)
        return ""


STEERING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")


def term_of(fields: Fields) -> dict[str, Any]:
    """A function held: what the table `term` keeps of it."""
    start, end = fields.period()
    return {
        "matrix_id": fields.account("matrix_id"), "function": fields.text("function"), "unit": fields.text("unit"),
        "sole": fields.yes("sole"), "from_day": start, "until_day": end,
    }  # fmt: skip


def device_of(fields: Fields) -> dict[str, Any]:
    """A device in use."""
    start, end = fields.period()
    return {
        "label": fields.text("label", 100), "kind": fields.choice("kind", KINDS), "owner": fields.choice("owner", OWNERS),
        "from_day": start, "until_day": end,
    }  # fmt: skip


def channel_of(fields: Fields) -> dict[str, Any]:
    """A number in use."""
    start, end = fields.period()
    return {
        "number": fields.number("number"), "label": fields.text("label", 100, required=False), "from_day": start,
        "until_day": end,
    }  # fmt: skip
