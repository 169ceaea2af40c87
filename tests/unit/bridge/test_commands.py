"""What is said to the bot is understood in Dutch and English, answered in the same, and done only for who may."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.commands import COMMANDS, Asked, NotACommand, allowed, holds_secret, parse


@pytest.mark.parametrize(
    ("said", "name", "language", "arguments"),
    [
        ("help", "help", "nl", ()),
        ("hulp", "help", "nl", ()),
        ("lijst", "list", "nl", ()),
        ("List", "list", "en", ()),
        ("list +31 97 0102 03040", "list", "en", ("+31970102" + "03040",)),
        ("wijs toe 106540352242922 @minister:rijk.example", "assign", "nl", ("106540352242922", "@minister:rijk.example")),
        ("  Wijs   toe 106 @a:x  WABA1 ", "assign", "nl", ("106", "@a:x", "WABA1")),
        ("assign 106 @a:x", "assign", "en", ("106", "@a:x")),
        ("pauzeer +31 (97) 0102-03040", "pause", "nl", ("+3197010203040",)),
        ("!wa pause 106", "pause", "en", ("106",)),
        ("collega erbij +31 97 0102 03040 @a:x", "colleague", "nl", ("erbij", "+3197010203040", "@a:x")),
        ("colleague remove 106 @a:x", "colleague", "en", ("remove", "106", "@a:x")),
        ("verbind 10201234", "connect", "nl", ("10201234",)),
        ("opnieuw", "retry", "nl", ()),
        ("retry in-12", "retry", "en", ("in-12",)),
        ("geschiedenis 106", "history", "nl", ("106",)),
    ],
)
def test_a_command_is_read_in_its_language(said, name, language, arguments):
    asked = parse(said, "nl")
    assert isinstance(asked, Asked)
    assert (asked.command.name, asked.language, asked.arguments) == (name, language, arguments)


@pytest.mark.parametrize("language", ["nl", "en"])
def test_a_word_of_both_languages_is_answered_in_the_one_spoken_last(language):
    assert parse("status", language).language == language
    assert parse("test 106", language).language == language


@pytest.mark.parametrize(
    ("said", "language", "usage"),
    [
        ("pauzeer", "nl", "pauzeer NUMMER"),
        ("pause 1 2 3", "en", "pause NUMBER"),
        ("wijs toe 106", "nl", "wijs toe NUMMER-ID @naam:server [ACCOUNT-ID]"),
    ],
)
def test_wrong_use_gets_the_usage_line(said, language, usage):
    asked = parse(said, "nl")
    assert isinstance(asked, NotACommand)
    assert asked.wrong_use
    assert (asked.language, asked.command.usage_line(asked.language)) == (language, usage)


@pytest.mark.parametrize(
    ("said", "nearest"), [("puase 106", "pause"), ("lijts", "list"), ("verbindt 1", "connect"), ("colege", "colleague")]
)
def test_a_mistake_gets_the_nearest_command(said, nearest):
    asked = parse(said, "nl")
    assert isinstance(asked, NotACommand)
    assert not asked.wrong_use
    assert asked.command.name == nearest


def test_what_resembles_nothing_gets_no_guess():
    assert parse("goedemorgen allemaal", "nl").command is None
    assert parse("", "en") == NotACommand("en", None)


@given(st.text(max_size=200))
def test_anything_can_be_said(text):
    assert isinstance(parse(text, "nl"), Asked | NotACommand)


def test_no_word_means_two_commands():
    words = [word for command in COMMANDS for word in {*command.dutch, *command.english}]
    assert len(words) == len(set(words))


def test_an_admin_may_everything_an_official_only_their_own_and_others_nothing():
    for command in COMMANDS:
        assert allowed(command, admin=True, owns_a_number=False)
        assert allowed(command, admin=False, owns_a_number=True) is not command.admins_only
        assert allowed(command, admin=False, owns_a_number=False) is (command.name == "help")
    mine = {command.name for command in COMMANDS if not command.admins_only}
    assert mine == {"help", "list", "status", "test", "colleague"}


@pytest.mark.parametrize("text", ["EAAG" + "x9" * 40, "mijn token: EAABsbCS1iHgBO" + "a" * 20, "0123456789abcdef" * 2, "A" * 90])
def test_a_pasted_secret_is_seen(text):
    assert holds_secret(text)


@pytest.mark.parametrize("text", ["pauzeer 106540352242922", "wijs toe 106 @minister:rijk.example", "een gewone zin, over EAA"])
def test_what_is_no_secret_is_none(text):
    assert not holds_secret(text)
