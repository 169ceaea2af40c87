"""The quick reader and writer of JSON against the slow ones that they stand in for: Python's json and canonicaljson."""

from __future__ import annotations

import json
import uuid

import pytest
from canonicaljson import encode_canonical_json
from hypothesis import example, given, settings
from hypothesis import strategies as st

from archiver.ledger.canonical import HostileJson, canonical, encoder, nearest, parse, plain

SURROGATES = st.characters(categories=["Cs"])
texts = st.one_of(st.text(), st.text(st.one_of(SURROGATES, st.characters())))
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(2**65), 2**65), st.floats(), texts,
    st.sampled_from([0.0, -0.0, 1e16, 1e22, 5e-324, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**400]),
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)), max_leaves=12
)
# JSON as somebody may write it: numbers of every shape, keys twice, whitespace, escapes that stand alone, and what is no JSON.
tokens = st.sampled_from(
    [
        "{", "}", "[", "]", ":", ",", '"a":', '"b"', '"\\ud800"', '"\\ud83d\\ude00"', '"\\u0000"', '"\x7f"', '"é"', '"\t"',
        "0", "-0", "-0.0", "1e5", "1E400", "0.1", "01", "+1", "1.", "9007199254740993", "18446744073709551615",
        "18446744073709551616", "-9223372036854775809", "9" * 5000, "NaN", "Infinity", "-Infinity", "true", "null", "nul", " ",
        "\n", "\x0b", "\ufeff", "\x00", '"\\x"', '"',
    ]
)  # fmt: skip


def read_by_json(raw: str | bytes) -> str | None:
    """What json makes of it, told apart to the last bit (-0.0 from 0, 1 from 1.0, the order of keys); None if nothing."""
    try:
        return repr(json.loads(raw))
    except (ValueError, RecursionError):
        return None


def read(raw: str | bytes) -> str | None:
    """What `parse` makes of it."""
    try:
        return repr(parse(raw))
    except HostileJson:
        return None


def written_by_canonicaljson(value: object) -> bytes | None:
    """Its canonical form by canonicaljson; None if it has none."""
    try:
        return encode_canonical_json(value)
    except (ValueError, TypeError, RecursionError):
        return None


def written(value: object) -> bytes | None:
    """Its canonical form by `canonical`."""
    try:
        return canonical(value)
    except HostileJson:
        return None


@given(values)
@settings(max_examples=2000)
def test_whatever_json_can_hold_is_written_byte_for_byte_as_canonicaljson_writes_it(value):
    assert written(value) == written_by_canonicaljson(value)


def test_every_character_there_is_is_written_as_canonicaljson_writes_it_in_a_text_and_in_a_key():
    differing = [hex(code) for code in range(0x110000) if written(chr(code)) != written_by_canonicaljson(chr(code))]
    assert differing == []
    keys = {chr(code): None for code in range(0x110000) if not 0xD800 <= code < 0xE000}
    assert canonical(keys) == encode_canonical_json(keys)


@given(values)
@settings(max_examples=1000)
def test_what_was_written_is_read_as_json_reads_it(value):
    for raw in (json.dumps(value), json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")):
        assert read(raw) == read_by_json(raw)


@given(st.lists(st.one_of(tokens, st.text(max_size=3)), max_size=12).map("".join))
@settings(max_examples=5000)
@example('{"a":1,"b":2,"a":3}')
@example('{"a":[1e2,18446744073709551616]}')
@example("[" * 2000 + "]" * 2000)
def test_whatever_is_sent_is_read_as_json_reads_it_or_refused_as_json_refuses_it(text):
    assert read(text) == read_by_json(text)
    raw = text.encode("utf-8", "surrogatepass")
    assert read(raw) == read_by_json(raw)


@given(st.one_of(st.binary(max_size=12), st.text(max_size=6).map(lambda text: json.dumps(text).encode("utf-16"))))
@settings(max_examples=2000)
def test_bytes_that_are_no_utf_8_are_read_as_json_reads_them(raw):
    assert read(raw) == read_by_json(raw)


@pytest.mark.parametrize("levels", [200, 253, 254, 255, 256, 1023, 1024, 1025, 3000])
def test_depth_makes_no_difference(levels):
    raw = '{"a":[' * (levels // 2) + "1" + "]}" * (levels // 2)
    assert canonical(parse(raw)) == encode_canonical_json(json.loads(raw)) == raw.encode()


class Named(str):
    """A text of a type of our own."""

    __slots__ = ()


@pytest.mark.parametrize("value", [uuid.UUID(int=1), {"a": uuid.UUID(int=1)}, [b"x"], {1: 2}, {None: 1}, {"a": {1, 2}}, object()])
def test_what_is_no_json_is_treated_as_canonicaljson_treats_it(value):
    assert not plain(value) or isinstance(value, dict)
    assert written(value) == written_by_canonicaljson(value)


@given(st.dictionaries(texts, values, max_size=4))
def test_what_was_made_for_an_event_writes_whatever_is_made_of_its_parts(event):
    encode = encoder(event)
    for form in ({name: event[name] for name in list(event)[::2]}, {"content": event}, list(event.values())):
        assert nearest(form, encode) == nearest(form)


def test_types_of_our_own_are_written_as_canonicaljson_writes_them():
    assert canonical({"a": Named("x"), Named("b"): (1, 2)}) == b'{"a":"x","b":[1,2]}'
