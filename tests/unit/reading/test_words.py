"""The blind index: what people search for is found, and the index holds no word."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archiver.reading.query import read, tsquery
from archiver.reading.words import BlindIndex, fold, words

INDEX = BlindIndex(b"k" * 32)


def lexemes(text: str) -> set[str]:
    return set(re.findall(r"'([0-9a-f]+)'", INDEX.vector([text])))


def asked(query: str) -> set[str]:
    return set(re.findall(r"'([0-9a-f]+)'", tsquery(read(query), INDEX)))


@pytest.mark.parametrize(
    ("said", "sought"),
    [("De brieven liggen klaar", "brief"), ("vergaderingen", "vergadering"), ("Élise belde", "elise"), ("MINISTER", "minister"),
     ("the meetings went well", "meeting"), ("ﬁnanciën", "financien")],
)  # fmt: skip
def test_forms_of_a_word_find_each_other(said, sought):
    assert asked(sought) & lexemes(said)


def test_the_index_holds_no_word_and_another_key_finds_nothing():
    assert "geheim" not in INDEX.vector(["geheim"])
    assert not lexemes("geheim") & set(re.findall(r"'([0-9a-f]+)'", BlindIndex(b"x" * 32).vector(["geheim"])))


@given(st.text(st.characters()))
def test_any_text_can_be_indexed(text):
    for lexeme in INDEX.vector([text, text]).split(" ") if words(text) else []:
        assert re.fullmatch(r"'[0-9a-f]{16}':[0-9]+(,[0-9]+)*", lexeme)


@given(st.text(st.characters()))
def test_folding_twice_changes_nothing(text):
    assert fold(fold(text)) == fold(text)


def test_a_very_long_text_stays_within_what_postgres_takes():
    vector = INDEX.vector(["woord anders " * 30_000])
    places = [place for part in vector.split(" ") for place in part.partition(":")[2].split(",")]
    assert max(map(int, places)) <= 16_383
    assert all(len(part.split(",")) <= 256 for part in vector.split(" "))
