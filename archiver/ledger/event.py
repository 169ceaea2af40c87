"""The signed event (PDU): its id, its content hash, its signatures, its redacted form.

Source: Matrix specification, server-server API ("Signing events", "Reference hashes") and the room versions 1 to 12. All pure:
no network, no clock. A failed check is a fact to keep, not an accident.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import vodozemac
from unpaddedbase64 import decode_base64, encode_base64

from archiver.ledger.canonical import Encode, HostileJson, JsonObject, canonical, encoder, nearest, usable

KEYS_KEPT = frozenset(
    {
        "event_id", "type", "room_id", "sender", "state_key", "content", "hashes", "signatures", "depth", "prev_events",
        "auth_events", "origin_server_ts",
    }
)  # fmt: skip
KEYS_KEPT_UNTIL_10 = frozenset({"origin", "membership", "prev_state"})
KINDS_KEPT = frozenset(
    {
        "m.room.create", "m.room.member", "m.room.power_levels", "m.room.join_rules", "m.room.history_visibility",
        "m.room.aliases", "m.room.redaction",
    }
)  # fmt: skip
"""The types of which redaction leaves some of the content."""
KNOWN_VERSIONS = frozenset(str(number) for number in range(1, 13))


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """A key with which a server signs, and until when its signatures count."""

    # Measured on one core: vodozemac verifies 24,000 a second, OpenSSL 8,600; both refuse what the specification refuses.
    key: vodozemac.Ed25519PublicKey
    until: int  # milliseconds since 1970: its `valid_until_ts`, or its `expired_ts` once it is an old key


KeyRing = Mapping[tuple[str, str], VerifyKey]
"""(server name, key id) to the key with which that server signs."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What differs between room versions, as far as an archive must know."""

    version: str
    number: int = field(init=False, compare=False, repr=False)
    """The room version as a number; an unknown version is read by the rules of the newest we know."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "number", int(self.version) if self.version in KNOWN_VERSIONS else 12)

    @property
    def id_is_hash(self) -> bool:
        """From version 3 on, an event's id is the hash of its redacted form."""
        return self.number >= 3

    @property
    def url_safe_id(self) -> bool:
        """From version 4 on, that hash is written in the URL-safe alphabet."""
        return self.number >= 4

    @property
    def keys_expire(self) -> bool:
        """From version 5 on, a signature counts only if its key was valid when the event was sent."""
        return self.number >= 5

    @property
    def redacts_in_content(self) -> bool:
        """From version 11 on, what a redaction deletes is named in its content; before, beside it."""
        return self.number >= 11

    def content_kept(self, event: JsonObject) -> JsonObject:
        """What redaction leaves of an event's content (room versions, "Redactions")."""
        content = event.get("content")
        if not isinstance(content, dict):
            return {}
        number, kind = self.number, event.get("type")
        if not isinstance(kind, str) or kind not in KINDS_KEPT:
            return {}
        if kind == "m.room.create":
            return dict(content) if number >= 11 else _only(content, "creator")
        if kind == "m.room.member":
            kept = _only(content, "membership", *(["join_authorised_via_users_server"] if number >= 9 else []))
            invite = content.get("third_party_invite")
            if number >= 11 and isinstance(invite, dict):
                kept["third_party_invite"] = _only(invite, "signed")  # empty without one, as Synapse does
            return kept
        if kind == "m.room.power_levels":
            names = ["ban", "events", "events_default", "kick", "redact", "state_default", "users", "users_default"]
            return _only(content, *names, *(["invite"] if number >= 11 else []))
        names_by_kind = {
            "m.room.join_rules": ["join_rule", *(["allow"] if number >= 8 else [])],
            "m.room.history_visibility": ["history_visibility"],
            "m.room.aliases": ["aliases"] if number <= 5 else [],
            "m.room.redaction": ["redacts"] if self.redacts_in_content else [],
        }
        return _only(content, *names_by_kind[kind])


def _only(content: JsonObject, *names: str) -> JsonObject:
    return {name: content[name] for name in names if name in content}


def signed_form(event: JsonObject, rules: Rules) -> JsonObject:
    """The event as its server signed it, from what the client API shows in federation format.

    Three quirks of Synapse are undone (DESIGN D5): a redaction's `redacts` copied out of the content from version 11 on, and into
    it before, and the `room_id` of a version 12 create event, which by that version has none.
    """
    pdu = {name: value for name, value in event.items() if name not in ("unsigned", "age_ts", "event_id")}
    if not rules.id_is_hash and "event_id" in event:
        pdu["event_id"] = event["event_id"]
    if event.get("type") == "m.room.redaction":
        if rules.redacts_in_content:
            pdu.pop("redacts", None)
        else:
            pdu = _without_copy(pdu)
    if rules.number >= 12 and event.get("type") == "m.room.create" and event.get("state_key") == "":
        pdu.pop("room_id", None)
    return pdu


def _without_copy(pdu: JsonObject) -> JsonObject:
    """A redaction without the `redacts` that was copied into its content, where the content hash shows that it was not signed."""
    content = pdu.get("content")
    if not isinstance(content, dict) or content.get("redacts") != pdu.get("redacts") or content_intact(pdu):
        return pdu
    bare = {**pdu, "content": {name: value for name, value in content.items() if name != "redacts"}}
    return bare if content_intact(bare) else pdu


def redacted_form(pdu: JsonObject, rules: Rules) -> JsonObject:
    """What is left of an event after redaction: the form that ids and signatures are made over."""
    kept = KEYS_KEPT if rules.number >= 11 else KEYS_KEPT | KEYS_KEPT_UNTIL_10
    form = {name: value for name, value in pdu.items() if name in kept}
    form["content"] = rules.content_kept(pdu)
    return form


def event_id(pdu: JsonObject, rules: Rules) -> str:
    """The event's id. Raises HostileJson when the event has no canonical form."""
    if not rules.id_is_hash:
        given = pdu.get("event_id")
        if not usable(given):
            raise HostileJson("it has no event id that can be used")
        return given
    return _hash_id(_message(pdu, rules), rules)


def _hash_id(message: bytes, rules: Rules) -> str:
    """The id that is the hash of the canonical redacted form."""
    digest = hashlib.sha256(message).digest()
    if rules.url_safe_id:
        return "$" + base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return "$" + _base64(digest)


def _base64(digest: bytes) -> str:
    return binascii.b2a_base64(digest, newline=False).rstrip(b"=").decode()


def content_hash(pdu: JsonObject, encode: Encode = canonical) -> str:
    """The SHA-256 over all but signatures, hashes and unsigned, in unpadded base64. Raises HostileJson."""
    form = {name: value for name, value in pdu.items() if name not in ("unsigned", "signatures", "hashes")}
    return _base64(hashlib.sha256(encode(form)).digest())


@dataclass(frozen=True, slots=True)
class Checks:
    """What could be established about an event."""

    id_matches: bool
    content_matches: bool  # False on an authentic id: pruned before we saw it (D7)
    signed_by: tuple[str, ...]
    unsigned_by: tuple[str, ...]  # named in the event, but the key is unknown or no longer valid, or the signature wrong


def signers(pdu: JsonObject) -> set[tuple[str, str]]:
    """The (server name, key id) pairs that the event says it is signed with."""
    signatures = pdu.get("signatures")
    if not isinstance(signatures, dict):
        return set()
    return {
        (server, key_id)
        for server, by_key in signatures.items()
        if isinstance(by_key, dict)
        for key_id in by_key
        if key_id.startswith("ed25519:")
    }


def responsible(pdu: JsonObject) -> set[str]:
    """The servers whose signature an event needs (server-server API, "Validating hashes and signatures on received events")."""
    content = pdu.get("content")
    users = [pdu.get("sender"), pdu.get("event_id")]
    if pdu.get("type") == "m.room.member":
        users += [pdu.get("state_key"), content.get("join_authorised_via_users_server") if isinstance(content, dict) else None]
    return {user.partition(":")[2] for user in users if isinstance(user, str)}


def covers(key: VerifyKey | None, pdu: JsonObject, rules: Rules) -> bool:
    """Whether a key is known, and valid for what was sent at the event's `origin_server_ts` (room version 5)."""
    if key is None:
        return False
    sent = pdu.get("origin_server_ts")
    return not rules.keys_expire or (isinstance(sent, int) and sent <= key.until)


def lacking(pdu: JsonObject, rules: Rules, keys: KeyRing) -> set[str]:
    """The responsible servers with a signature that can't be judged, since the key is not known for that time."""
    wanted = responsible(pdu)
    return {server for server, key_id in signers(pdu) if server in wanted and not covers(keys.get((server, key_id)), pdu, rules)}


@dataclass(frozen=True, slots=True)
class Written:
    """An event as bytes."""

    signed: bytes  # its signed form, in canonical JSON where it has one
    whole: bytes  # all that came, `unsigned` too


def write(event: JsonObject, rules: Rules) -> Written:
    """The event as bytes; what has no canonical form is written as near to it as JSON allows."""
    return _write(event, signed_form(event, rules), encoder(event))


def _write(event: JsonObject, pdu: JsonObject, encode: Encode) -> Written:
    signed = nearest(pdu, encode)
    beside = {name: value for name, value in event.items() if name not in pdu}
    if not beside or not pdu:
        return Written(signed, nearest(event, encode) if beside else signed)
    # The signed form is most of an event: it is encoded once, and what the client API adds is put behind it.
    return Written(signed, signed[:-1] + b"," + nearest(beside, encode)[1:])


@dataclass(frozen=True, slots=True)
class Examined:
    """All that an event tells by itself."""

    event_id: str
    checks: Checks
    written: Written


def examine(event: JsonObject, rules: Rules, keys: KeyRing) -> Examined:
    """Identify and check an event as it came; raises HostileJson when no id can be had. Each form of it is encoded once."""
    pdu, encode = signed_form(event, rules), encoder(event)
    try:
        message = _message(pdu, rules, encode)
    except HostileJson:
        return Examined(event_id(pdu, rules), _unchecked(pdu), _write(event, pdu, encode))
    identity = _hash_id(message, rules) if rules.id_is_hash else event_id(pdu, rules)
    given = event.get("event_id")
    id_matches = not isinstance(given, str) or given == identity
    checks = _judge(pdu, message, rules, keys, encode, id_matches=id_matches)
    return Examined(identity, checks, _write(event, pdu, encode))


def check(pdu: JsonObject, expected_id: str | None, rules: Rules, keys: KeyRing) -> Checks:
    """Check id, content hash and signatures of a signed event; never raises."""
    encode = encoder(pdu)
    try:
        message = _message(pdu, rules, encode)
    except HostileJson:
        return _unchecked(pdu)
    identity = _hash_id(message, rules) if rules.id_is_hash else pdu.get("event_id")
    return _judge(pdu, message, rules, keys, encode, id_matches=expected_id is None or identity == expected_id)


def _message(pdu: JsonObject, rules: Rules, encode: Encode = canonical) -> bytes:
    """What ids and signatures are made over. Raises HostileJson."""
    form = redacted_form(pdu, rules)
    form.pop("signatures", None)
    return encode(form)


def _judge(pdu: JsonObject, message: bytes, rules: Rules, keys: KeyRing, encode: Encode, *, id_matches: bool) -> Checks:
    good: set[str] = set()
    bad: set[str] = set()
    for server, key_id in signers(pdu):
        key = keys.get((server, key_id))
        verified = covers(key, pdu, rules) and _verifies(key.key if key else None, pdu["signatures"][server][key_id], message)
        (good if verified else bad).add(server)
    return Checks(id_matches, content_intact(pdu, encode), tuple(sorted(good)), tuple(sorted(bad - good)))


def _unchecked(pdu: JsonObject) -> Checks:
    return Checks(False, False, (), tuple(sorted({server for server, _ in signers(pdu)})))


def content_intact(pdu: JsonObject, encode: Encode = canonical) -> bool:
    """Whether the content is what was signed; False for a redacted event."""
    hashes = pdu.get("hashes")
    given = hashes.get("sha256") if isinstance(hashes, dict) else None
    try:
        return isinstance(given, str) and given.rstrip("=") == content_hash(pdu, encode)
    except HostileJson:
        return False


def public_key(text: str) -> vodozemac.Ed25519PublicKey:
    """An Ed25519 public key in base64; raises ValueError."""
    return vodozemac.Ed25519PublicKey.from_base64(encode_base64(decode_base64(text)))


def _verifies(key: vodozemac.Ed25519PublicKey | None, signature: Any, message: bytes) -> bool:
    if key is None or not isinstance(signature, str):
        return False
    try:
        key.verify_signature(message, vodozemac.Ed25519Signature.from_base64(encode_base64(decode_base64(signature))))
    except ValueError:
        return False
    return True


def verify_json(value: JsonObject, entity: str, key_id: str, key: str) -> bool:
    """Whether `value` carries a good signature of `entity` with that key (appendix "Checking for a Signature")."""
    bare = {name: part for name, part in value.items() if name not in ("signatures", "unsigned")}
    try:
        signature = value["signatures"][entity][key_id]
        return _verifies(public_key(key), signature, canonical(bare))
    except (KeyError, TypeError, ValueError):
        return False
