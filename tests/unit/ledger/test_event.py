"""The signed event, checked against Synapse's own implementation as the oracle."""

import contextlib
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from signedjson.key import generate_signing_key, get_verify_key
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS
from synapse.crypto.event_signing import (
    add_hashes_and_signatures,
    check_event_content_hash,
    compute_content_hash,
    compute_event_reference_hash,
    compute_event_signature,
)
from synapse.events import make_event_from_dict
from synapse.synapse_rust.events import redact_event_dict as prune_event_dict
from unpaddedbase64 import decode_base64, encode_base64

from archiver.ledger.canonical import HostileJson, canonical, column, parse, parse_object
from archiver.ledger.event import (
    Checks,
    Rules,
    VerifyKey,
    check,
    content_hash,
    event_id,
    examine,
    lacking,
    public_key,
    redacted_form,
    responsible,
    signed_form,
    signers,
    verify_json,
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
SENT = 1764000000000  # when the events below were sent
KEY = public_key(encode_base64(get_verify_key(SIGNING).encode()))
KEYS = {(SERVER, "ed25519:a1"): VerifyKey(KEY, SENT + 1)}


def signed_by_synapse(version: str, content: dict, kind: str = "m.room.message") -> tuple[dict, str]:
    """A PDU hashed and signed by Synapse, and the id that Synapse gives it."""
    event = {
        "type": kind, "room_id": "!zaal:rijk.example", "sender": "@minister:rijk.example", "content": content, "depth": 7,
        "origin_server_ts": SENT, "origin": SERVER, "hashes": {}, "signatures": {},
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


@pytest.mark.parametrize(("version", "good"), [(version, int(version) < 5) for version in VERSIONS])
def test_from_version_5_on_a_signature_counts_only_while_its_key_is_valid(version, good):
    event, expected = signed_by_synapse(version, {"body": "te laat"})
    pdu, rules = signed_form(event, Rules(version)), Rules(version)
    for until, counts in ((SENT, True), (SENT - 1, good)):
        keys = {(SERVER, "ed25519:a1"): VerifyKey(KEY, until)}
        checks = check(pdu, expected, rules, keys)
        assert (checks.signed_by, checks.unsigned_by) == (((SERVER,), ()) if counts else ((), (SERVER,)))
        assert lacking(pdu, rules, keys) == (set() if counts else {SERVER})


@pytest.mark.parametrize("sent", [None, "1764000000000", 1.764e12, 2**80])
def test_an_event_without_a_time_that_can_be_compared_is_signed_by_no_key(sent):
    event, _ = signed_by_synapse("11", {"body": "ja"})
    assert check(signed_form(event | {"origin_server_ts": sent}, Rules("11")), None, Rules("11"), KEYS).signed_by == ()


def test_the_servers_that_must_sign_are_those_of_the_sender_the_invited_and_the_one_who_let_somebody_in():
    content = {"join_authorised_via_users_server": "@a:drie"}
    event = {"type": "m.room.member", "sender": "@a:een", "state_key": "@b:twee:8448", "content": content}
    assert responsible(event) == {"een", "twee:8448", "drie"}
    assert responsible({"type": "m.room.message", "sender": "@a:een", "state_key": "@b:twee", "content": 3}) == {"een"}
    assert responsible({"type": "m.room.member", "sender": 3, "state_key": None, "content": []}) == set()


def full_event(version: str, kind: str, content: dict, sent: int, extra: dict, state_key: str | None) -> dict:
    """An event with everything in it that a redaction may take or leave."""
    event = {
        "type": kind, "room_id": "!z:x", "sender": "@a:rijk.example", "content": content, "depth": 1, "origin": SERVER,
        "origin_server_ts": sent, "hashes": {}, "signatures": {}, "prev_events": [], "auth_events": [], "unsigned": {"age": 1},
        **extra, **({} if state_key is None else {"state_key": state_key}),
    }  # fmt: skip
    if version in ("1", "2"):
        event["event_id"] = "$oud:rijk.example"
    return event


@given(
    version=st.sampled_from(VERSIONS),
    kind=st.one_of(st.sampled_from(KINDS), st.text(max_size=12)),
    content=contents,
    sent=st.integers(0, 2**53 - 1),
    extra=st.dictionaries(st.sampled_from(["membership", "prev_state", "redacts", "x", "age_ts"]), scalars),
    state_key=st.one_of(st.none(), st.text(max_size=6)),
)
@settings(max_examples=500)
def test_whatever_an_event_holds_its_id_hash_and_signature_are_synapses(version, kind, content, sent, extra, state_key):
    rules, theirs = Rules(version), KNOWN_ROOM_VERSIONS[version]
    state_key = "" if kind == "m.room.create" else state_key
    event = full_event(version, kind, content, sent, extra, state_key)
    event["hashes"] = {"sha256": encode_base64(compute_content_hash({**event}, hashlib.sha256)[1])}
    event["signatures"] = compute_event_signature(theirs, {**event}, SERVER, SIGNING)
    pdu = signed_form(event, rules)
    if theirs.msc4291_room_ids_as_hashes and kind == "m.room.create":
        event.pop("room_id")  # a version 12 create event has none: what Synapse signs lacks it too
        event["hashes"] = {"sha256": encode_base64(compute_content_hash({**event}, hashlib.sha256)[1])}
        event["signatures"] = compute_event_signature(theirs, {**event}, SERVER, SIGNING)
        pdu = signed_form({**event, "room_id": "!z:x"}, rules)
    if theirs.updated_redaction_rules and kind == "m.room.redaction":
        event.pop("redacts", None)  # Synapse's client API puts it there: it is not part of what was signed
        event["hashes"] = {"sha256": encode_base64(compute_content_hash({**event}, hashlib.sha256)[1])}
        event["signatures"] = compute_event_signature(theirs, {**event}, SERVER, SIGNING)
        pdu = signed_form(event, rules)
    made = make_event_from_dict(json.loads(json.dumps(event)), theirs)
    assert content_hash(pdu) == event["hashes"]["sha256"]
    assert check_event_content_hash(made)
    if rules.id_is_hash:
        digest = compute_event_reference_hash(made)[1]
        assert decode_base64(event_id(pdu, rules)[1:].replace("-", "+").replace("_", "/")) == digest
    assert event_id(pdu, rules) == made.event_id
    keys = {(SERVER, "ed25519:a1"): VerifyKey(KEY, sent)}
    assert check(pdu, made.event_id, rules, keys) == Checks(True, True, (SERVER,), ())


SPECIAL = {
    "m.room.create": {"creator": "@a:x", "room_version": "11", "m.federate": True, "predecessor": {"room_id": "!y:x"}},
    "m.room.member": {
        "membership": "join", "displayname": "A", "join_authorised_via_users_server": "@b:x",
        "third_party_invite": {"display_name": "B", "signed": {"mxid": "@b:x", "token": "t"}},
    },
    "m.room.power_levels": {
        "ban": 50, "events": {"m.room.name": 50}, "events_default": 0, "invite": 50, "kick": 50, "redact": 50,
        "state_default": 50, "users": {"@a:x": 100}, "users_default": 0, "notifications": {"room": 50},
    },
    "m.room.join_rules": {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": "!y:x"}], "extra": 1},
    "m.room.history_visibility": {"history_visibility": "joined", "extra": 1},
    "m.room.aliases": {"aliases": ["#a:x"], "extra": 1},
    "m.room.redaction": {"redacts": "$x", "reason": "vergissing"},
    "m.room.tombstone": {"body": "verhuisd", "replacement_room": "!y:x"},
    "m.room.message": {"body": "weg", "msgtype": "m.text"},
    "m.room.encrypted": {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "…", "session_id": "s"},
}  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", SPECIAL)
def test_each_special_event_is_redacted_as_synapse_does_and_keeps_its_id(version, kind):
    extra = {"membership": "join", "prev_state": [], "redacts": "$x"}
    state_key = {"m.room.create": "", "m.room.member": "@b:x"}.get(kind)
    event = full_event(version, kind, SPECIAL[kind], SENT, extra, state_key)
    theirs = prune_event_dict(KNOWN_ROOM_VERSIONS[version], json.loads(json.dumps(event)))
    theirs.pop("unsigned", None)
    rules = Rules(version)
    ours = redacted_form(signed_form(event, rules), rules)
    assert ours == theirs
    assert event_id(signed_form(theirs, rules), rules) == event_id(signed_form(event, rules), rules)


@pytest.mark.parametrize("invite", [{}, {"x": 1}, {"signed": None}, {"signed": {"mxid": "@a:x"}, "x": 1}, 3, None, []])
@pytest.mark.parametrize("version", ["10", "11", "12"])
def test_a_third_party_invite_of_any_shape_is_redacted_as_synapse_does(version, invite):
    event = full_event(version, "m.room.member", {"membership": "invite", "third_party_invite": invite}, SENT, {}, "@b:x")
    theirs = prune_event_dict(KNOWN_ROOM_VERSIONS[version], json.loads(json.dumps(event)))
    assert redacted_form(signed_form(event, Rules(version)), Rules(version))["content"] == theirs["content"]


# Matrix specification, appendix "Cryptographic Test Vectors".
VECTOR_SEED = "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1"
VECTOR_KEY = Ed25519PrivateKey.from_private_bytes(decode_base64(VECTOR_SEED))
VECTOR_KEYS = {
    ("domain", "ed25519:1"): VerifyKey(public_key(encode_base64(VECTOR_KEY.public_key().public_bytes_raw())), 1_000_000)
}


@pytest.mark.parametrize(
    ("value", "signature"),
    [
        ({}, "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"),
        (
            {"one": 1, "two": "Two"},
            "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw",
        ),
    ],
)
def test_the_specifications_vectors_of_signed_json(value, signature):
    key = encode_base64(VECTOR_KEY.public_key().public_bytes_raw())
    assert verify_json(value | {"signatures": {"domain": {"ed25519:1": signature}}}, "domain", "ed25519:1", key)
    assert encode_base64(VECTOR_KEY.sign(canonical(value))) == signature


@pytest.mark.parametrize(
    ("event", "digest", "signature"),
    [
        (
            {
                "room_id": "!x:domain", "sender": "@a:domain", "origin": "domain", "origin_server_ts": 1000000, "type": "X",
                "content": {}, "prev_events": [], "auth_events": [], "depth": 3, "unsigned": {"age_ts": 1000000},
            },
            "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
            "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
        ),
        (
            {
                "content": {"body": "Here is the message content"}, "event_id": "$0:domain", "origin": "domain",
                "origin_server_ts": 1000000, "type": "m.room.message", "room_id": "!r:domain", "sender": "@u:domain",
                "unsigned": {"age_ts": 1000000},
            },
            "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
            "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
        ),
    ],
    ids=["minimal", "redactable"],
)  # fmt: skip
def test_the_specifications_vectors_of_signed_events(event, digest, signature):
    assert content_hash(event) == digest
    pdu = event | {"hashes": {"sha256": digest}, "signatures": {"domain": {"ed25519:1": signature}}}
    checks = check(pdu, None, Rules("1"), VECTOR_KEYS)
    assert checks == Checks(True, True, ("domain",), ())
    redacted = redacted_form(pdu, Rules("1"))
    assert check(redacted, None, Rules("1"), VECTOR_KEYS) == Checks(True, event["content"] == {}, ("domain",), ())


@given(version=st.sampled_from(VERSIONS), kind=st.sampled_from(KINDS), content=contents)
def test_the_redacted_form_is_what_synapse_makes_of_it(version, kind, content):
    event = {
        "type": kind, "room_id": "!z:x", "sender": "@a:x", "content": content, "depth": 1, "state_key": "", "origin": "x",
        "origin_server_ts": 1, "hashes": {}, "signatures": {}, "prev_events": [], "auth_events": [], "extra": 1,
    }  # fmt: skip
    expected = prune_event_dict(KNOWN_ROOM_VERSIONS[version], json.loads(json.dumps(event)))
    expected.pop("unsigned", None)
    assert redacted_form(signed_form(event, Rules(version)), Rules(version)) == expected


def test_the_quirks_of_the_client_api_are_undone():
    redaction = {"type": "m.room.redaction", "redacts": "$x", "content": {"redacts": "$x"}, "unsigned": {}}
    assert "redacts" not in signed_form(redaction, Rules("11"))
    assert signed_form(redaction, Rules("10"))["redacts"] == "$x"
    older = {"type": "m.room.redaction", "redacts": "$x", "content": {"reason": "vergissing"}, "sender": "@a:x"}
    older["hashes"] = {"sha256": content_hash(older)}
    shown = {**older, "content": {"reason": "vergissing", "redacts": "$x"}}
    assert signed_form(shown, Rules("10")) == older
    assert check(signed_form(shown, Rules("10")), None, Rules("10"), {}).content_matches
    meant = {**shown, "hashes": {"sha256": content_hash(shown)}}
    assert signed_form(meant, Rules("10")) == meant, "what was signed with it stays"
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
