"""The signed event, checked against Synapse's own implementation as the oracle."""

import contextlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from signedjson.key import generate_signing_key, get_verify_key
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS
from synapse.crypto.event_signing import add_hashes_and_signatures
from synapse.events import make_event_from_dict
from synapse.synapse_rust.events import redact_event_dict as prune_event_dict
from unpaddedbase64 import encode_base64

from archiver.ledger.canonical import HostileJson, canonical, column, parse, parse_object
from archiver.ledger.event import (
    Rules,
    check,
    event_id,
    examine,
    redacted_form,
    signed_form,
    signers,
    verify_json,
    verify_key,
    write,
)

VERSIONS = [str(number) for number in range(1, 13)]
KINDS = [
    "m.room.create", "m.room.member", "m.room.power_levels", "m.room.join_rules", "m.room.history_visibility", "m.room.aliases",
    "m.room.redaction", "m.room.message", "m.room.encrypted",
]  # fmt: skip
CONTENT_KEYS = [
    "creator", "membership", "join_authorised_via_users_server", "third_party_invite", "ban", "events", "invite", "users",
    "join_rule", "allow", "history_visibility", "aliases", "redacts", "body", "room_version", "signed",
]  # fmt: skip
scalars = st.one_of(st.text(max_size=8), st.integers(-(2**53) + 1, 2**53 - 1), st.booleans(), st.none())
contents = st.dictionaries(
    st.sampled_from(CONTENT_KEYS), st.one_of(scalars, st.dictionaries(st.sampled_from(CONTENT_KEYS), scalars))
)
SERVER = "rijk.example"
SIGNING = generate_signing_key("a1")
KEYS = {(SERVER, "ed25519:a1"): verify_key(encode_base64(get_verify_key(SIGNING).encode()))}


def signed_by_synapse(version: str, content: dict, kind: str = "m.room.message") -> tuple[dict, str]:
    """A PDU hashed and signed by Synapse, and the id that Synapse gives it."""
    event = {
        "type": kind, "room_id": "!zaal:rijk.example", "sender": "@minister:rijk.example", "content": content, "depth": 7,
        "origin_server_ts": 1764000000000, "origin": SERVER, "hashes": {}, "signatures": {},
        "prev_events": [], "auth_events": [], "unsigned": {"age": 3},
    }  # fmt: skip
    if version in ("1", "2"):
        event["event_id"] = "$oud:rijk.example"
    rules = KNOWN_ROOM_VERSIONS[version]
    add_hashes_and_signatures(rules, event, SERVER, SIGNING)
    return event, make_event_from_dict(event, rules).event_id


@pytest.mark.parametrize("version", VERSIONS)
def test_id_content_hash_and_signature_agree_with_synapse_in_every_room_version(version):
    event, expected = signed_by_synapse(version, {"body": "Akkoord, met twee wijzigingen.", "msgtype": "m.text"})
    rules = Rules(version)
    pdu = signed_form(event, rules)
    assert event_id(pdu, rules) == expected
    checks = check(pdu, expected, rules, KEYS)
    assert checks.id_matches
    assert checks.content_matches
    assert checks.signed_by == (SERVER,)
    assert not checks.unsigned_by


@pytest.mark.parametrize("version", VERSIONS)
def test_a_message_deleted_before_capture_keeps_its_id_and_signature_but_not_its_content_hash(version):
    event, expected = signed_by_synapse(version, {"body": "weg", "msgtype": "m.text"})
    pruned = prune_event_dict(KNOWN_ROOM_VERSIONS[version], event)
    checks = check(signed_form(pruned, Rules(version)), expected, Rules(version), KEYS)
    assert (checks.id_matches, checks.content_matches, checks.signed_by) == (True, False, (SERVER,))


def test_one_changed_letter_breaks_the_content_hash_and_one_changed_sender_the_signature():
    event, expected = signed_by_synapse("11", {"body": "ja", "msgtype": "m.text"})
    changed = {**event, "content": {"body": "nee", "msgtype": "m.text"}}
    assert not check(signed_form(changed, Rules("11")), expected, Rules("11"), KEYS).content_matches
    forged = check(signed_form({**event, "sender": "@ander:rijk.example"}, Rules("11")), expected, Rules("11"), KEYS)
    assert (forged.id_matches, forged.signed_by, forged.unsigned_by) == (False, (), (SERVER,))


def test_a_signature_by_an_unknown_key_is_named_not_trusted():
    event, expected = signed_by_synapse("11", {"body": "ja"})
    checks = check(signed_form(event, Rules("11")), expected, Rules("11"), {})
    assert (checks.signed_by, checks.unsigned_by) == ((), (SERVER,))


@given(version=st.sampled_from(VERSIONS), kind=st.sampled_from(KINDS), content=contents)
def test_the_redacted_form_is_what_synapse_makes_of_it(version, kind, content):
    event = {
        "type": kind, "room_id": "!z:x", "sender": "@a:x", "content": content, "depth": 1, "state_key": "", "origin": "x",
        "origin_server_ts": 1, "hashes": {}, "signatures": {}, "prev_events": [], "auth_events": [], "extra": 1,
    }  # fmt: skip
    expected = prune_event_dict(KNOWN_ROOM_VERSIONS[version], json.loads(json.dumps(event)))
    expected.pop("unsigned", None)
    assert redacted_form(signed_form(event, Rules(version)), Rules(version)) == expected


def test_the_two_quirks_of_the_client_api_are_undone():
    redaction = {"type": "m.room.redaction", "redacts": "$x", "content": {"redacts": "$x"}, "unsigned": {}}
    assert "redacts" not in signed_form(redaction, Rules("11"))
    assert signed_form(redaction, Rules("10"))["redacts"] == "$x"
    create = {"type": "m.room.create", "state_key": "", "room_id": "!x", "content": {}}
    assert "room_id" not in signed_form(create, Rules("12"))
    assert "room_id" in signed_form(create, Rules("11"))


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters())),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(st.characters(), max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["type", "content", "signatures", "hashes", "sender", "depth", "x"]), json_values))
def test_checking_never_raises_whatever_the_event_holds(event):
    for version in ("1", "6", "12", "org.example.unknown"):
        rules = Rules(version)
        assert isinstance(check(signed_form(event, rules), "$x", rules, KEYS).id_matches, bool)
        assert signers(event) is not None


@pytest.mark.parametrize("raw", [b"[" * 100_000, b"\xff", b"{", b"1" * 5_000, b'{"a":' * 60_000, b"NaN1"])
def test_hostile_json_is_an_error_that_says_why_not_a_crash(raw):
    with pytest.raises(HostileJson):
        parse(raw)


def test_json_as_deep_as_a_homeserver_lets_through_can_be_read():
    assert parse(b"[" * 1_000 + b"]" * 1_000) is not None


def test_what_has_no_canonical_form_is_said_so():
    for value in ({"a": "\ud800"}, {"a": float("nan")}):
        with pytest.raises(HostileJson):
            canonical(value)
    with pytest.raises(HostileJson):
        parse_object(b"[]")


@given(st.text(st.characters()))
def test_a_column_takes_any_text(text):
    fit = column(text)
    assert "\0" not in fit
    assert len(fit.encode()) >= 0
    assert len(fit) <= 512


@given(st.dictionaries(st.sampled_from([*KINDS, "unsigned", "event_id", "age_ts", "type", "redacts", "a"]), json_values))
def test_what_is_kept_of_an_event_is_all_that_came_and_what_was_signed(event):
    for version in ("1", "11", "12"):
        written = write(event, Rules(version))
        assert json.dumps(parse_object(written.whole), sort_keys=True) == json.dumps(event, sort_keys=True)
        assert parse_object(written.signed).keys() == signed_form(event, Rules(version)).keys()
        with contextlib.suppress(HostileJson):
            assert written.signed == canonical(signed_form(event, Rules(version)))


@pytest.mark.parametrize("version", VERSIONS)
def test_examining_an_event_tells_what_identifying_and_checking_it_tell(version):
    event, expected = signed_by_synapse(version, {"body": "ja"})
    rules = Rules(version)
    examined = examine(event, rules, KEYS)
    assert examined.event_id == expected
    assert examined.checks == check(signed_form(event, rules), expected, rules, KEYS)
    assert examined.written == write(event, rules)
    if rules.id_is_hash:
        assert not examine({**event, "event_id": "$ander"}, rules, KEYS).checks.id_matches


def test_signed_json_of_another_signer_is_refused():
    seed = Ed25519PrivateKey.generate()
    value = {"a": 1, "unsigned": {"b": 2}}
    value["signatures"] = {"@a:x": {"ed25519:k": encode_base64(seed.sign(canonical({"a": 1})))}}
    good = encode_base64(seed.public_key().public_bytes_raw())
    assert verify_json(value, "@a:x", "ed25519:k", good)
    assert not verify_json({**value, "a": 2}, "@a:x", "ed25519:k", good)
    assert not verify_json(value, "@b:x", "ed25519:k", good)
    assert not verify_json(value, "@a:x", "ed25519:k", "geen sleutel")
