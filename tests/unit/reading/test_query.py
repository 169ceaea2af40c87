"""What a person asks for is understood as they mean it, or refused with the place where it went wrong."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archiver.reading.query import PROBLEMS, All, Any, Not, Phrase, Query, UnclearQuery, outline, read, sought, tsquery
from archiver.reading.words import BlindIndex, words

INDEX = BlindIndex(b"k" * 32)
WORDS = ("water", "dijk", "dijken", "polder", "brief", "brieven", "of", "niet")
OPERATORS = ("OF", "OR", "EN", "AND", "NIET", "NOT", "-", "(", ")", '"', "„", "”", "!", "&", "|", "<->", ":*", "'")


def one(*said: str) -> Phrase:
    return Phrase(said)


@pytest.mark.parametrize(
    ("query", "meant"),
    [
        ("water dijk", All((one("water"), one("dijk")))),
        ("water EN dijk", All((one("water"), one("dijk")))),
        ("water of dijk", All((one("water"), one("of"), one("dijk")))),  # no capitals: a word
        ("water OF dijk polder", Any((one("water"), All((one("dijk"), one("polder")))))),
        ("(water OR dijk) polder", All((Any((one("water"), one("dijk"))), one("polder")))),
        ("water -dijk", All((one("water"), Not(one("dijk"))))),
        ("water NIET dijk", All((one("water"), Not(one("dijk"))))),
        ("water -(dijk OF polder)", All((one("water"), Not(Any((one("dijk"), one("polder"))))))),
        ("water AND NOT dijk", All((one("water"), Not(one("dijk"))))),
        ('"de dijk" polder', All((one("de", "dijk"), one("polder")))),
        ("„de dijk”", one("de", "dijk")),
        ('water -"de dijk"', All((one("water"), Not(one("de", "dijk"))))),
        ("e-mail", one("e", "mail")),
        ("water & dijk.", All((one("water"), one("dijk")))),
        ("ÉLISE", one("elise")),
        ("water - dijk", All((one("water"), one("dijk")))),  # a dash between words
        ("NOT NOT water", Not(Not(one("water")))),
    ],
)
def test_a_query_is_understood(query, meant):
    assert read(query, alone=False) == meant


@pytest.mark.parametrize(
    ("query", "kind", "at"),
    [
        ("", "nothing", 1), ("  !? ", "nothing", 1), ('""', "nothing", 1), ("OF", "nothing", 1),
        ("-water", "only-not", 1), ("NIET water", "only-not", 1), ("water OF -dijk", "only-not", 10),
        ("(water) OF (-dijk)", "only-not", 13),
        ('water "dijk', "open-quote", 7), ("water (dijk", "open-bracket", 7), ("water) dijk", "close-bracket", 6),
        (") water", "close-bracket", 1), ("water () dijk", "empty-bracket", 7), ("water OF", "dangling", 7),
        ("OF water", "dangling", 1),
        ("water EN EN dijk", "dangling", 10), ("water NIET", "dangling", 7), ("(water OF) dijk", "dangling", 10),
        ("x" * 1001, "too-long", 1), ("a " * 61, "too-much", 121), ("(" * 21 + "a" + ")" * 21, "too-much", 21),
    ],
)  # fmt: skip
def test_what_is_not_clear_is_told_with_its_place(query, kind, at):
    with pytest.raises(UnclearQuery) as told:
        read(query)
    assert (told.value.kind, told.value.at) == (kind, at)
    assert str(told.value) == PROBLEMS[kind].format(at=at)


def test_an_exclusion_alone_is_enough_where_something_else_narrows_the_search():
    assert read("-water", alone=False) == Not(one("water"))


def test_only_what_is_to_occur_is_marked():
    assert list(sought(read('(water OF "de dijk") -polder -(brief OF x)'))) == ["water", "de", "dijk"]


def test_a_query_becomes_its_operators():
    told = [" | ".join(repr(lexeme) for lexeme in INDEX.lexemes(word)) for word in ("water", "dijk", "polder")]
    first, second, third = (f"({each})" for each in told)
    assert tsquery(read("water dijk"), INDEX) == f"({first} & {second})"
    assert tsquery(read("water OF dijk"), INDEX) == f"({first} | {second})"
    assert tsquery(read("water -dijk"), INDEX) == f"({first} & !{second})"
    assert tsquery(read('"water dijk" polder'), INDEX) == f"(({first} <-> {second}) & {third})"


@given(st.text(st.characters(), max_size=200))
def test_any_text_is_understood_or_refused(text):
    with contextlib.suppress(UnclearQuery):
        read(text)


@given(st.lists(st.sampled_from([*WORDS, *OPERATORS, " ", " "]), max_size=25).map(" ".join))
def test_whatever_operators_are_written_it_is_understood_or_refused_within_the_text(text):
    refused = None
    try:
        made = tsquery(found := read(text), INDEX)
    except UnclearQuery as told:
        refused = told.at
    if refused is None:
        assert made.count("(") == made.count(")")
        assert list(sought(found))
    else:
        assert 1 <= refused <= max(len(text), 1)


def fits(query: Query, said: list[str]) -> bool:
    """Whether words match a query: the naive way, word by word."""
    if isinstance(query, Phrase):
        width = len(query.words)
        return any(all(map(same, query.words, said[at : at + width])) for at in range(len(said) - width + 1))
    if isinstance(query, Not):
        return not fits(query.part, said)
    return (all if isinstance(query, All) else any)(fits(part, said) for part in query.parts)


def same(one: str, other: str) -> bool:
    """Whether two words are forms of one, by a stem that they share."""
    return bool(set(INDEX.lexemes(one)) & set(INDEX.lexemes(other)))


PHRASES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(lambda said: Phrase(tuple(said)))
QUERIES = st.recursive(
    PHRASES,
    lambda part: st.one_of(
        part.map(Not), st.lists(part, min_size=2, max_size=3).map(lambda parts: All(tuple(parts))),
        st.lists(part, min_size=2, max_size=3).map(lambda parts: Any(tuple(parts))),
    ),
    max_leaves=6,
)  # fmt: skip
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join), min_size=1, max_size=8)
ANSWERS = """
    SELECT v::tsvector @@ $2::text::tsquery AS exact, $3::text IS NULL OR v::tsvector @@ $3::text::tsquery AS outline
    FROM jsonb_array_elements_text($1::jsonb) WITH ORDINALITY AS t (v, n) ORDER BY n
"""


@pytest.mark.postgres
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=QUERIES, texts=TEXTS)
async def test_postgres_finds_what_the_naive_way_finds_and_the_outline_misses_none_of_it(archive, query, texts):
    asked = (json.dumps([INDEX.vector([text]) for text in texts]), tsquery(query, INDEX), outline(query, INDEX))
    async with archive.pool.acquire() as connection:
        rows = await connection.fetch(ANSWERS, *asked)
    naive = [fits(query, words(text)) for text in texts]
    assert [row["exact"] for row in rows] == naive
    assert all(row["outline"] for row, fit in zip(rows, naive, strict=True) if fit)
