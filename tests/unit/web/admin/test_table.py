"""A file of officials, whatever a spreadsheet makes of it."""

from __future__ import annotations

import csv
import io
from datetime import date
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.reading.officials import Channel, Official, Term
from archiver.web.admin import table
from archiver.web.admin.fields import Fields
from archiver.web.admin.importing import values_of
from archiver.web.admin.table import COLUMNS, TITLES, Unreadable, read, written
from archiver.web.trail import FORMULA

DUTCH = "Naam;Matrix-account;Functie;Organisatieonderdeel;Vanaf;Tot en met;Telefoonnummer"
ROW = "Zoë Müller;@z:x;minister;Financiën;1-3-2026;;06 12345678"
CELL = st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=40)
WORDS = st.text("abcdefghijklmnopqrstuvwxyzëïéABC '-", min_size=1, max_size=30).map(str.strip).filter(bool)
DAYS = st.dates(date(1950, 1, 1), date(2100, 1, 1))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "windows-1252"])
@pytest.mark.parametrize("separator", [";", ",", "\t"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_encodings_separators_and_line_ends_make_no_difference(encoding, separator, ends):
    text = f"{DUTCH}\n{ROW}\n".replace(";", separator).replace("\n", ends)
    [row] = read(text.encode(encoding)).rows
    assert row.cells == dict(
        zip(COLUMNS, ("Zoë Müller", "@z:x", "minister", "Financiën", "1-3-2026", "", "06 12345678"), strict=True)
    )  # fmt: skip
    assert row.line == 2
    values, problems = values_of(row)
    assert not problems
    assert (values["from_day"], values["until_day"], values["number"]) == (date(2026, 3, 1), None, "+31612345678")


def test_headings_are_dutch_or_english_in_any_order_and_others_are_told():
    found = read(b"from,salary,FUNCTION *, Name ,matrix account,Department\n2026-01-01,9,x,y,@z:x,u\n\n,,,,,\n")
    assert found.ignored == ("salary",)
    assert [(row.line, row.cells["name"], row.cells["unit"]) for row in found.rows] == [(2, "y", "u")]


@pytest.mark.parametrize(
    ("raw", "why", "columns"),
    [
        (b"", table.EMPTY, ()),
        (b" \n \n", table.EMPTY, ()),
        (DUTCH.encode(), table.EMPTY, ()),
        (b"PK\x03\x04rest", table.SPREADSHEET, ()),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", table.SPREADSHEET, ()),
        (b"naam\0", table.NOT_CSV, ()),
        (b"naam\x81", table.NOT_CSV, ()),
        (b"naam;functie\nx;y\n", table.NO_HEADINGS, ("matrix_id", "unit", "from_day")),
        (DUTCH.encode() + b";name\n", table.TWICE, ("name",)),
        (DUTCH.encode() + b'\n"open;1;2\n', table.NOT_CSV, ()),
        (DUTCH.encode() + b"\n" + b"x" * 500_000, table.TOO_LARGE, ()),
        (DUTCH.encode() + (b"\n" + ROW.encode()) * 2001, table.TOO_LARGE, ()),
    ],
)
def test_what_can_t_be_read_is_told_with_what_to_do(raw, why, columns):
    with pytest.raises(Unreadable) as told:
        read(raw)
    assert (told.value.why, told.value.columns) == (why, columns)


def test_a_row_tells_of_each_cell_what_is_wrong_with_it():
    raw = f"{DUTCH}\n;Minister;;x;32-1-2026;gisteren;112\n{ROW};meer\n".encode()
    wrong, more = read(raw).rows
    _, problems = values_of(wrong)
    assert set(problems) == {"name", "matrix_id", "function", "from_day", "until_day", "number"}
    _, problems = values_of(more)
    assert problems == {"": table.TOO_MANY_CELLS}


def test_a_line_break_in_a_cell_counts_as_lines_of_the_file():
    first, second = read(f'{DUTCH}\n"Noor\nJacobs";@n:x;x;y;2026-01-01;;\n{ROW}\n'.encode()).rows
    assert (first.line, second.line) == (2, 4)
    assert "name" in values_of(first)[1]


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(raw):
    try:
        for row in read(raw).rows:
            values_of(row)
    except Unreadable:
        pass


@given(st.lists(st.lists(CELL, min_size=7, max_size=7), min_size=1, max_size=5), st.sampled_from([";", ",", "\t"]))
def test_whatever_stands_in_cells_is_read_as_it_was_written(rows, separator):
    out = io.StringIO()
    csv.writer(out, delimiter=separator).writerows([TITLES["nl"], *rows])
    kept = [row for row in rows if any(cell.strip() for cell in row)]
    if not kept:
        return
    found = [[row.cells[name] for name in COLUMNS] for row in read(out.getvalue().encode("utf-8-sig")).rows]
    assert found == [[table.unguarded(cell) for cell in row] for row in kept]
    for row in read(out.getvalue().encode()).rows:
        _, problems = values_of(row)
        assert all(isinstance(why, str) and why for why in problems.values())


@given(
    WORDS.map(lambda text: " ".join(text.split())),
    WORDS.map(lambda text: " ".join(text.split())),
    DAYS,
    st.none() | st.integers(0, 900),
)
def test_what_is_exported_is_imported_as_it_was(name, function, start, length):
    end = None if length is None else date.fromordinal(start.toordinal() + length)
    who, period = uuid4(), {"from_day": start, "until_day": end}
    term = Term(entry_id=uuid4(), official_id=who, matrix_id="@a.b:x", function=function, unit=function, sole=False, **period)
    channel = Channel(entry_id=uuid4(), official_id=who, number="+31612345678", label="", **period)
    raw = b"".join(written([Official(who, name, (term,), (), (channel,))], TITLES["en"]))
    [row] = read(raw).rows
    values, problems = values_of(row)
    assert not problems
    wanted = {
        "name": name,
        "matrix_id": "@a.b:x",
        "function": function,
        "unit": function,
        "sole": False,
        "number": "+31612345678",
        **period,
    }
    assert values == wanted


@pytest.mark.parametrize("start", FORMULA)
def test_what_is_exported_is_no_formula(start):
    who = uuid4()
    evil = f"{start}HYPERLINK(1)"
    term = Term(
        entry_id=uuid4(), official_id=who, matrix_id="@a:x", function=evil, unit=evil, sole=False, from_day=date(2026, 1, 1),
        until_day=None
    )  # fmt: skip
    raw = b"".join(written([Official(who, evil, (term,))], TITLES["nl"])).decode()
    for row in list(csv.reader(io.StringIO(raw, newline="")))[1:]:
        assert not any(cell.startswith(FORMULA) for cell in row)


@pytest.mark.parametrize("cell", ["-", "'-", "''=x", "'gravenhage", "'", "''", "@x", "=1"])
def test_an_apostrophe_before_a_formula_comes_back_as_it_was(cell):
    who = uuid4()
    term = Term(
        entry_id=uuid4(), official_id=who, matrix_id="@a:x", function=cell, unit="x", sole=False, from_day=date(2026, 1, 1),
        until_day=None,
    )  # fmt: skip
    assert read(b"".join(written([Official(who, "A", (term,))], TITLES["nl"]))).rows[0].cells["function"] == cell


@given(st.text(max_size=30))
def test_no_text_breaks_a_field(text):
    given_fields = dict.fromkeys(("name", "matrix_id", "from_day", "until_day", "number", "sole"), text)
    fields = Fields(given_fields)
    told = [fields.text("name"), fields.account("matrix_id"), fields.number("number")]
    fields.period()
    fields.yes("sole")
    assert all(value == "" or "\0" not in value for value in told)


@pytest.mark.parametrize(
    ("written_as", "number"),
    [
        ("06 12345678", "+31612345678"), ("06-12345678", "+31612345678"), ("(070) 123 45 67", "+31701234567"),
        ("0031 6 12345678", "+31612345678"), ("+32 2 123 45 67", "+3221234567"), ("112", ""), ("+0612345678", ""),
        ("06 1234567", ""),
        ("٠٦١٢٣٤٥٦٧٨", ""), ("+31 6 1234567x", ""),
    ],
)  # fmt: skip
def test_a_number_is_kept_with_its_country(written_as, number):
    assert Fields({"number": written_as}).number("number") == number
