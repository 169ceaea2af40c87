"""Whose word a delivery is: its signer's, for its signer's own account, from an address that may call, and of now."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.network import NotUnderstood
from bridge.network.cloud import Cloud
from bridge.network.cloud.delivery import split
from bridge.network.cloud.parts import number_of
from bridge.numbers import BusinessAccount, Number, Numbers
from bridge.origin import caller, newest, signed_by, sort_out, within
from bridge.settings import Bridge

CLOUD = Cloud(None, "http://127.0.0.1:1", "v25.0", str, 1)  # type: ignore[arg-type]


def numbers(**more) -> Numbers:
    made = Numbers(Bridge(app_secret="own", access_token="token", **more))
    made._accounts = {
        "A": BusinessAccount("A", token="a", app_secret="sa"),
        "B": BusinessAccount("B", token="b", app_secret="sb"),
    }
    made._by_id = {"1": Number("1", "+31 1", "@a:x", "A"), "2": Number("2", "+31 2", "@b:x", "B")}
    return made


def change(number: str, *messages, field: str = "messages", kind: str = "messages") -> dict:
    return {"field": field, "value": {"metadata": {"phone_number_id": number}, kind: list(messages)}}


def body(*entries: tuple[str, list[dict]]) -> dict:
    return {"entry": [{"id": waba_id, "changes": changes} for waba_id, changes in entries]}


def test_an_account_speaks_for_its_own_number():
    told = sort_out(body(("A", [change("1")])), numbers(), frozenset({"A"}))
    assert (told.served, told.foreign) == ({"1"}, [])


@pytest.mark.parametrize(
    ("waba_id", "number", "signer"),
    [
        ("A", "2", "A"),  # its own name, another's number
        ("B", "2", "A"),  # another's name and number
        ("B", "1", "A"),  # its own number under another's name
        ("A", "1", "B"),
        ("B", "999", "A"),  # a number that nobody knows, under another's name
        ("X", "1", "A"),  # a name that nobody knows
    ],
)
def test_an_account_cannot_speak_for_another(waba_id, number, signer):
    told = sort_out(body((waba_id, [change(number)])), numbers(), frozenset({signer}))
    assert told.served == told.unknown == frozenset()
    assert told.body["entry"] == []
    assert told.foreign == [{"id": waba_id, "changes": [change(number)]}]


@pytest.mark.parametrize("value", [{"phone_number_id": "1"}, {"phone_number_id": 1}, {"metadata": {}, "phone_number_id": "1"}])
def test_an_account_cannot_tell_what_became_of_anothers_number(value):
    told = {"field": "account_update", "value": value | {"event": "PARTNER_REMOVED"}}
    assert sort_out(body(("B", [told])), numbers(), frozenset({"B"})).foreign
    assert sort_out(body(("A", [told])), numbers(), frozenset({"A"})).served == {"1"}


def test_of_the_account_without_a_name_only_its_own_signer_tells():
    made = numbers()
    made._accounts[""] = BusinessAccount("")
    told = {"field": "account_update", "value": {"event": "PARTNER_REMOVED"}}
    assert sort_out(body(("X", [told])), made, frozenset({"B"})).foreign
    assert not sort_out(body(("X", [told])), made, frozenset({""})).foreign
    assert not sort_out(body(("B", [told])), made, frozenset({"B"})).foreign


def test_what_is_foreign_in_a_delivery_leaves_its_neighbours_alone():
    told = sort_out(body(("A", [change("1"), change("2")]), ("B", [change("2")])), numbers(), frozenset({"A"}))
    assert told.body["entry"] == [{"id": "A", "changes": [change("1")]}]
    assert [entry["id"] for entry in told.foreign] == ["A", "B"]


def test_a_number_that_we_do_not_serve_is_named():
    assert sort_out(body(("A", [change("77")])), numbers(), frozenset({"A"})).unknown == {"77"}


def test_the_settings_files_account_needs_no_name_but_takes_no_others():
    made = Numbers(Bridge(app_secret="own", numbers=[{"id": "1", "display_phone_number": "+31", "official": "@a:x"}]))
    assert sort_out(body(("ANY", [change("1")])), made, frozenset({""})).served == {"1"}
    assert sort_out({"entry": [{"changes": [change("1")]}]}, made, frozenset({""})).served == {"1"}
    made._accounts["B"] = BusinessAccount("B", app_secret="sb")
    assert sort_out(body(("B", [change("1")])), made, frozenset({"B"})).foreign


def test_a_number_of_no_known_account_is_spoken_for_by_nobody_but_the_only_account_there_is():
    made = numbers()
    made._by_id["3"] = Number("3", "+31 3", "@c:x", "")  # added before bridge.waba_id was set
    for waba_id in ("A", "B", "X", ""):
        for signer in ("A", "B", ""):
            told = sort_out(body((waba_id, [change("3")])), made, frozenset({signer}))
            assert (told.served, told.unknown, len(told.foreign)) == (set(), set(), 1)
    del made._accounts["B"]
    assert sort_out(body(("A", [change("3")])), made, frozenset({"A"})).served == {"3"}
    assert sort_out(body(("A", [change("3")])), made, frozenset({""})).foreign
    assert sort_out(body(("X", [change("3")])), made, frozenset({"A"})).foreign


def test_a_number_uses_its_own_accounts_token_only():
    made = numbers()
    assert (made.token("1"), made.token("2"), made.token("B")) == ("a", "b", "b")
    from bridge.network import NetworkError

    with pytest.raises(NetworkError):
        made.token("999")
    with made.candidate("nieuw") as key:
        assert made.token(key) == "nieuw"
    with pytest.raises(NetworkError):
        made.token(key)
    assert "'a'" not in repr(made.accounts())


def test_a_signature_tells_whose_secret_made_it():
    raw, made = b'{"entry": []}', numbers()
    header = "sha256=" + hmac.digest(b"sb", raw, hashlib.sha256).hex()
    assert signed_by(raw, header, made) == {"B"}
    assert signed_by(raw + b" ", header, made) == frozenset()
    assert signed_by(raw, None, made) == frozenset()
    own = "sha256=" + hmac.digest(b"own", raw, hashlib.sha256).hex()
    assert signed_by(raw, own, made) == {""}
    made._accounts["C"] = BusinessAccount("C")  # of the settings file's app
    assert signed_by(raw, own, made) == {"", "C"}
    empty = "sha256=" + hmac.digest(b"", raw, hashlib.sha256).hex()
    assert signed_by(raw, empty, Numbers(Bridge())) == frozenset()


def test_the_age_of_a_delivery_is_that_of_its_newest_message():
    old, new = {"timestamp": "1700000000"}, {"timestamp": 1764000000}
    assert newest(body(("A", [change("1", old, new)]))) == datetime.fromtimestamp(1764000000, UTC)
    assert newest(body(("A", [change("1", old)]), ("A", [change("1", new, kind="statuses")]))) == datetime.fromtimestamp(
        1764000000, UTC
    )


@pytest.mark.parametrize("stamp", ["-5", "253402300799", "²", "", None, {}, 1.5, "9" * 400])
def test_what_can_be_no_time_has_no_age(stamp):
    assert newest(body(("A", [change("1", {"timestamp": stamp})]))) is None


def test_history_is_old_by_nature():
    assert newest(body(("A", [change("1", {"timestamp": "1700000000"}, field="history")]))) is None


PROXIES = [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "who"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # no proxy of ours: its header says nothing
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),  # what stands further left the caller wrote
        ("10.0.0.1", "", "10.0.0.1"),
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("fd00::1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "onzin", None),
        ("", "203.0.113.9", None),
    ],
)
def test_who_calls_is_the_last_address_that_is_no_proxy_of_ours(peer, forwarded, who):
    assert caller(peer, forwarded, PROXIES) == (ip_address(who) if who else None)


def test_an_address_is_within_a_network_of_its_own_kind():
    assert within(ip_address("203.0.113.9"), [ip_network("2001:db8::/32"), ip_network("203.0.113.0/24")])
    assert not within(ip_address("203.0.114.9"), [ip_network("203.0.113.0/24"), ip_network("::/0")])


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["id", "changes", "value", "metadata", "phone_number_id", "x"]), inner, max_size=4),
    ),
    max_leaves=12,
)


numbers_named = st.one_of(st.sampled_from(["1", 1, 1.0, True, None, ["1"], {}, "", " 1", "\ud800", 10**40]), json_values)


@given(numbers_named, numbers_named, st.sampled_from(["messages", "history", "account_update", "x"]))
def test_whose_number_it_is_is_read_in_one_way_wherever_it_is_asked(inner, outer, kind):
    item = {"id": "w", "timestamp": "1764000000", "type": "text", "from": "316", "text": {"body": "dag"}, "event": "x"}
    value = {"metadata": {"phone_number_id": inner}, "phone_number_id": outer, kind: [item]}
    told = sort_out(body(("A", [{"field": kind, "value": value}])), numbers(), frozenset({"A"}))
    asked = (told.served | told.unknown) or {""}
    for entry in [] if told.foreign else told.body["entry"]:
        for _, lane, single in split({"entry": [entry]}):
            assert {number_of(single)} == asked
            assert kind != "messages" or lane == f"{number_of(single)}|316"
            try:
                read_of = CLOUD.read(single).number_id
            except NotUnderstood:
                continue
            assert {read_of} == asked


@given(json_values)
def test_nothing_of_a_delivery_is_lost_in_sorting(value):
    told = sort_out({"entry": value}, numbers(), frozenset({"A"}))
    newest({"entry": value})
    if not told.foreign:
        assert json.dumps(told.body) == json.dumps({"entry": value})
