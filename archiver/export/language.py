"""What people read, in one language: texts from the catalogues, and dates, times, sizes and codes in words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from babel.dates import format_date
from babel.numbers import format_decimal
from markupsafe import Markup

from archiver.export import bridged_words, reasons
from archiver.export.catalogue import LANGUAGES, translations

ZONE = ZoneInfo("Europe/Amsterdam")
LOCALES = {"nl": "nl_NL", "en": "en_GB"}
REASONS = {**reasons.UNREADABLE, **bridged_words.LACKING}
ADVICE = {**reasons.ADVICE, **bridged_words.ADVICE}


class Language:
    """Texts, dates and reasons in one language."""

    def __init__(self, code: str) -> None:
        self.code = code if code in LANGUAGES else "nl"
        self._words = translations(self.code)

    def gettext(self, text: str) -> str:
        """A text of the code in this language."""
        return self._words.gettext(text)

    def ngettext(self, one: str, many: str, count: int) -> str:
        """A text for a count in this language."""
        return self._words.ngettext(one, many, count)

    def pgettext(self, context: str, text: str) -> str:
        """A text in this language, where another text that is the same in English has another meaning."""
        return self._words.pgettext(context, text)

    def day(self, moment: datetime) -> str:
        """The day as people write it, in the zone of the Netherlands."""
        return _day(moment.astimezone(ZONE).date(), LOCALES[self.code])

    def month(self, day: date) -> str:
        """The month of a day: maart 2026."""
        return str(format_date(day, "MMMM y", locale=LOCALES[self.code]))

    def date(self, day: date) -> str:
        """A day that is no moment: 31 maart 2026."""
        return str(format_date(day, "d MMMM y", locale=LOCALES[self.code]))

    def time(self, moment: datetime) -> str:
        return moment.astimezone(ZONE).strftime("%H:%M")

    def moment(self, moment: datetime) -> str:
        """Day and time with the offset from UTC, so that no reader has to guess."""
        local = moment.astimezone(ZONE).replace(microsecond=0)
        return f"{self.day(moment)} {local:%H:%M:%S} (UTC{local.isoformat()[-6:]})"

    def stamp(self, moment: datetime) -> Markup:
        """A moment as pages mark it: for people, and for programs."""
        return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(), self.moment(moment))

    def number(self, number: int) -> str:
        """A whole number as people write it: 1.234 in Dutch, 1,234 in English."""
        return str(format_decimal(number, locale=LOCALES[self.code]))

    def duration(self, seconds: int) -> str:
        """A time as people set it: 7 days, 24 hours as 1 day, 90 seconds."""
        if seconds and seconds % 86_400 == 0:
            count = seconds // 86_400
            told = self.ngettext("%(count)s day", "%(count)s days", count)
        elif seconds and seconds % 3600 == 0:
            count = seconds // 3600
            told = self.ngettext("%(count)s hour", "%(count)s hours", count)
        elif seconds and seconds % 60 == 0:
            count = seconds // 60
            told = self.ngettext("%(count)s minute", "%(count)s minutes", count)
        else:
            count = seconds
            told = self.ngettext("%(count)s second", "%(count)s seconds", count)
        return told % {"count": count}

    def size(self, count: int) -> str:
        """Bytes as people write them."""
        for unit, factor in (("MB", 1_000_000), ("kB", 1_000)):
            if count >= factor:
                return f"{format_decimal(count / factor, '0.0', locale=LOCALES[self.code])} {unit}"
        return self.ngettext("%(count)s byte", "%(count)s bytes", count) % {"count": count}

    def gap(self, cause: str | None) -> str:
        """Why something is missing."""
        told = self.of(reasons.GAPS, cause or "searching")
        return told or f"{self.of(reasons.GAPS, 'refused')} ({cause})"

    def call(self, kind: str) -> str:
        """What happened in a call, by the type of the event that says so."""
        return self.of(reasons.CALLS, kind) or self.gettext("Call")

    def reason(self, code: str) -> str:
        """Why a message can't be read."""
        kind, _, detail = code.partition(":")
        told = self.of(REASONS, code) or self.of(REASONS, kind) or code
        return f"{told} ({detail})" if kind == "withheld" and detail else told

    def advice(self, code: str) -> str:
        """What can be done about a message that can't be read; empty when nothing can."""
        return self.of(ADVICE, code) or self.of(ADVICE, code.partition(":")[0])

    def doubt(self, code: str) -> str:
        """What speaks against believing a message."""
        return self.of(reasons.DOUBTS, code) or code

    def file_problem(self, code: str) -> str:
        """Why a file is not there."""
        return self.of(reasons.FILES, code) or code

    def cause(self, code: str) -> str:
        """Why a channel was not covered."""
        return self.of(bridged_words.CAUSES, code) or self.gettext("another cause")

    def delivery(self, state: str) -> str:
        """What became of a message on the other network."""
        return self.of(bridged_words.DELIVERIES, state) or state

    def of(self, words: Mapping[str, str], code: str) -> str:
        """The text of a code in this language; empty when there is none."""
        return self.gettext(words[code]) if code in words else ""


@lru_cache(1000)
def _day(day: date, locale: str) -> str:
    return str(format_date(day, "EEEE d MMMM y", locale=locale))
