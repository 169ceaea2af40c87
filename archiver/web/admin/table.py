"""A file of officials as offices have them: CSV out of a spreadsheet, whatever its encoding, separator and headings."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from archiver.export.catalogue import N_
from archiver.reading.officials import Official
from archiver.web.trail import FORMULA, line

MAX_BYTES, MAX_ROWS = 500_000, 2_000
COLUMNS = ("name", "matrix_id", "function", "unit", "from_day", "until_day", "number")
REQUIRED = COLUMNS[:5]
HEADINGS: dict[str, frozenset[str]] = {
    "name": frozenset({"naam", "name", "volledige naam", "full name", "ambtsdrager", "official"}),
    "matrix_id": frozenset({"matrix-account", "matrix account", "matrixaccount", "matrix-id", "matrix id", "account", "mxid"}),
    "function": frozenset({"functie", "function", "ambt", "rol", "position"}),
    "unit": frozenset({"organisatieonderdeel", "onderdeel", "afdeling", "directie", "unit", "organisation unit", "department"}),
    "from_day": frozenset({"vanaf", "van", "begin", "begindatum", "ingangsdatum", "eerste dag", "from", "start", "first day"}),
    "until_day": frozenset({"tot en met", "t/m", "tot", "einde", "einddatum", "laatste dag", "until", "to", "end", "last day"}),
    "number": frozenset({"telefoonnummer", "telefoon", "nummer", "mobiel", "phone number", "phone", "number", "mobile"}),
}
TITLES = {
    "nl": ("naam", "matrix-account", "functie", "organisatieonderdeel", "vanaf", "tot en met", "telefoonnummer"),
    "en": ("name", "matrix account", "function", "organisation unit", "from", "until", "phone number"),
}
EXAMPLE = (
    ("Noor Jacobs", "@n.jacobs:{server}", "directeur", "Directie Water", "2026-01-01", "", "+31612345678"),
    ("Sem de Boer", "@s.deboer:{server}", "beleidsmedewerker", "Directie Water", "1-3-2025", "31-8-2026", ""),
)
# Why a file can't be read.
EMPTY = N_("The file is empty.")
TOO_LARGE = N_("The file is too large: at most 500 kB and 2,000 rows. Split it up.")
SPREADSHEET = N_("This is a spreadsheet. Save it as CSV in your spreadsheet program, and upload that.")
NOT_CSV = N_("This can't be read as CSV. Save it as CSV in your spreadsheet program, and upload that.")
NO_HEADINGS = N_("The first row must hold the headings. These columns were not found:")
TWICE = N_("A heading is there twice:")
TOO_MANY_CELLS = N_("This row has more cells than there are headings.")


class Unreadable(Exception):  # noqa: N818 - it names what is the matter
    """The file can't be read: why (in English, to translate), and which columns it is about."""

    def __init__(self, why: str, columns: Iterable[str] = ()) -> None:
        super().__init__(why)
        self.why = why
        self.columns = tuple(columns)


@dataclass(frozen=True, slots=True)
class Row:
    """A row as it was written: the line it began at in the file, and its cells by column."""

    line: int
    cells: dict[str, str]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A file that could be read."""

    rows: tuple[Row, ...]
    ignored: tuple[str, ...] = field(default=())  # headings that say nothing here


def read(raw: bytes) -> Table:
    """Read a file of officials. Raises Unreadable; never anything else, whatever the bytes are."""
    if len(raw) > MAX_BYTES:
        raise Unreadable(TOO_LARGE)
    text = decode(raw)
    if not text.strip():
        raise Unreadable(EMPTY)
    found, places = _headings(text)
    rows: list[Row] = []
    last = 0
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=found, strict=True)
    try:
        for number, cells in enumerate(reader):
            began, last = last + 1, reader.line_num
            if number == 0:
                width, headings = len(cells), cells
                continue
            if not any(cell.strip() for cell in cells):
                continue
            if len(rows) == MAX_ROWS:
                raise Unreadable(TOO_LARGE)
            told = {name: unguarded(cells[place]) for name, place in places.items() if place < len(cells)}
            rows.append(Row(began, told, TOO_MANY_CELLS if any(cell.strip() for cell in cells[width:]) else ""))
    except csv.Error:
        raise Unreadable(NOT_CSV) from None
    if not rows:
        raise Unreadable(EMPTY)
    ignored = tuple(cell.strip()[:100] for place, cell in enumerate(headings) if place not in places.values() and cell.strip())
    return Table(tuple(rows), ignored)


def decode(raw: bytes) -> str:
    """The text of a file: UTF-8, with its mark or without, else what older spreadsheet programs write. Raises Unreadable."""
    if raw[:4] == b"PK\3\4" or raw[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        raise Unreadable(SPREADSHEET)
    try:
        text = raw.decode("utf-16") if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        try:
            text = raw.decode("windows-1252")
        except UnicodeDecodeError:
            raise Unreadable(NOT_CSV) from None
    if "\0" in text:
        raise Unreadable(NOT_CSV)
    return text


def unguarded(cell: str) -> str:
    """A cell without the mark that keeps a spreadsheet from calculating with it (archiver.web.trail.line)."""
    text = cell.strip()
    return text[1:] if text.startswith("'") and text.lstrip("'").startswith(FORMULA) else text


def written(people: Iterable[Official], titles: tuple[str, ...]) -> Iterable[bytes]:
    """Officials as such a file; what could be a formula is made harmless."""
    yield line(titles)
    for person in people:
        numbers = list(person.channels)
        for term in person.terms:
            same = [each for each in numbers if (each.from_day, each.until_day) == (term.from_day, term.until_day)]
            number = same[0].number if same else ""
            numbers = [each for each in numbers if each not in same[:1]]
            until = str(term.until_day or "")
            cells = (person.name, term.matrix_id, term.function, term.unit, str(term.from_day), until, number)
            # What looks guarded already is guarded once more, so that it comes back as it is.
            yield line(tuple(f"'{cell}" if unguarded(cell) != cell else cell for cell in cells))


def _headings(text: str) -> tuple[str, dict[str, int]]:
    """The separator, and the place of each column. Raises Unreadable."""
    best: tuple[str, dict[str, int]] = (";", {})
    twice: list[str] = []
    for separator in (";", ",", "\t"):
        try:
            first = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True), [])
        except csv.Error:
            continue
        places: dict[str, int] = {}
        doubled = []
        for place, cell in enumerate(first):
            title = re.sub(r"\s+", " ", cell.strip().strip("*:").strip().casefold())
            column = next((name for name, titles in HEADINGS.items() if title in titles), None)
            if column in places:
                doubled.append(cell.strip()[:100])
            elif column is not None:
                places[column] = place
        if len(places) > len(best[1]):
            best, twice = (separator, places), doubled
    if twice:
        raise Unreadable(TWICE, twice)
    if missing := [name for name in REQUIRED if name not in best[1]]:
        raise Unreadable(NO_HEADINGS, missing)
    return best
