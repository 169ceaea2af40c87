"""A token is believed only when all of it is right; whatever is changed in it, it is not."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from archiver.web.tokens import (
    LOGOUT_EVENT,
    Expected,
    NotFresh,
    TokenError,
    UnknownKey,
    at_hash,
    id_token,
    logout_token,
    usable_keys,
)

NOW, NONCE, ACCESS = 1_780_000_000, "n" * 43, "een-access-token"
EXPECTED = Expected("https://sso.rijk.example/realms/rijk", "griffier")
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
EC = ECKey.generate_key("P-256", {"kid": "ec"})
EC384 = ECKey.generate_key("P-384", {"kid": "ec384"})
STRANGER = ECKey.generate_key("P-256", {"kid": "ec"})  # another key by the same name
KEYS = usable_keys(KeySet([RSA, EC, EC384]).as_dict(private=False))
GOOD: dict[str, Any] = {
    "iss": EXPECTED.issuer, "aud": "griffier", "sub": "1f0c", "nonce": NONCE, "iat": NOW, "exp": NOW + 300, "auth_time": NOW - 10,
    "acr": "hoog", "at_hash": at_hash(ACCESS, "ES256"),
}  # fmt: skip
LOGOUT: dict[str, Any] = {
    "iss": EXPECTED.issuer, "aud": "griffier", "sub": "1f0c", "sid": "s1", "iat": NOW, "exp": NOW + 120, "jti": "j1",
    "events": {LOGOUT_EVENT: {}},
}  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def signed(claims: Any, key: Any = EC, **header: Any) -> str:
    alg = header.pop("alg", {"rsa": "RS256", "ec": "ES256", "ec384": "ES384"}.get(key.kid, "ES256"))
    whole = {"alg": alg, "kid": key.kid, "typ": "JWT"} | header
    payload = json.dumps(claims).encode()
    return jws.serialize_compact({n: v for n, v in whole.items() if v is not None}, payload, key, algorithms=[alg])


def check(token: str, expected: Expected = EXPECTED, nonce: str = NONCE, now: float = NOW, access: str | None = ACCESS) -> Any:
    return id_token(token, KEYS, expected, nonce, now, access)


@pytest.mark.parametrize(("key", "alg"), [(RSA, "RS256"), (RSA, "PS256"), (RSA, "RS512"), (EC, "ES256"), (EC384, "ES384")])
def test_a_token_that_is_right_is_believed(key, alg):
    claims = GOOD | {"at_hash": at_hash(ACCESS, alg)}
    assert check(signed(claims, key, alg=alg))["sub"] == "1f0c"


WRONG = {
    "another issuer": {"iss": "https://sso.rijk.example/realms/rijk/"},
    "another audience": {"aud": "matrix"},
    "an audience among others without azp": {"aud": ["griffier", "matrix"]},
    "given to another": {"azp": "matrix"},
    "no audience": {"aud": None},
    "expired": {"exp": NOW - 61},
    "never expiring": {"exp": None},
    "expiring by a word": {"exp": "straks"},
    "expiring by a truth": {"exp": True},
    "made in the future": {"iat": NOW + 61},
    "made long ago": {"iat": NOW - 601},
    "not valid yet": {"nbf": NOW + 61},
    "the nonce of another sign-in": {"nonce": "m" * 43},
    "no nonce": {"nonce": None},
    "nobody": {"sub": ""},
    "nobody by a number": {"sub": 7},
    "another access token": {"at_hash": at_hash("een-ander", "ES256")},
    "a logout token": {"events": {LOGOUT_EVENT: {}}},
}


@pytest.mark.parametrize("what", WRONG)
def test_a_token_with_one_thing_wrong_is_refused(what):
    claims = {name: value for name, value in (GOOD | WRONG[what]).items() if value is not None}
    with pytest.raises(TokenError):
        check(signed(claims))


def test_several_audiences_are_taken_when_it_was_given_to_us():
    assert check(signed(GOOD | {"aud": ["matrix", "griffier"], "azp": "griffier"}))


def test_no_signature_and_signatures_by_a_shared_secret_are_refused():
    public = json.dumps(KeySet([RSA]).as_dict(private=False)["keys"][0]).encode()
    payload = base64.urlsafe_b64encode(json.dumps(GOOD).encode()).rstrip(b"=").decode()
    for alg in ("none", "None", "NONE", "", "HS256", "EdDSA", "RSA-OAEP", 256, None, ["ES256"]):
        header = base64.urlsafe_b64encode(json.dumps({"alg": alg, "kid": "rsa"}).encode()).rstrip(b"=").decode()
        with pytest.raises(TokenError, match="alg"):
            check(f"{header}.{payload}.")
    # The classic: HMAC with the public key as the secret.
    with pytest.raises(TokenError, match="alg"):
        check(signed(GOOD, OctKey.import_key(public, {"kid": "rsa"}), alg="HS256"))


def test_a_key_of_another_kind_or_by_a_strangers_hand_is_refused():
    with pytest.raises(TokenError, match="signature"):
        check(signed(GOOD, STRANGER))
    with pytest.raises(UnknownKey):
        check(signed(GOOD, EC, kid="rsa"))
    with pytest.raises(UnknownKey):
        check(signed(GOOD, EC, kid="nieuw"))
    with pytest.raises(TokenError, match="signature"):
        check(signed(GOOD, STRANGER, kid=None))
    assert check(signed(GOOD, EC, kid=None))["sub"] == "1f0c"


def test_what_a_header_asks_for_and_is_not_known_is_refused():
    for header in ({"crit": ["x"], "x": 1}, {"b64": False, "crit": ["b64"]}, {"typ": "at+jwt"}, {"typ": "logout+jwt"}):
        token = signed(GOOD)
        raw = json.dumps({"alg": "ES256", "kid": "ec", "typ": "JWT"} | header).encode()
        first = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        with pytest.raises(TokenError):
            check(".".join([first, *token.split(".")[1:]]))
    for header in ({"typ": "at+jwt"}, {"typ": "logout+jwt"}):
        with pytest.raises(TokenError, match="another kind"):
            check(signed(GOOD, **header))


def test_weak_keys_secret_keys_and_keys_for_encryption_are_not_used():
    number = rsa.generate_private_key(65537, 1024).public_key().public_numbers().n
    weak = {"kty": "RSA", "kid": "zwak", "n": base64.urlsafe_b64encode(number.to_bytes(128)).decode().rstrip("="), "e": "AQAB"}
    secret = {"kty": "oct", "kid": "geheim", "k": "AAAA"}
    other = EC.as_dict(private=False) | {"use": "enc", "kid": "enc"}
    assert usable_keys({"keys": [weak, secret, other, 7, None, {"kty": "EC"}, {"kty": ["EC"]}]}) == {}
    for document in (None, [], {}, {"keys": {}}, {"keys": "x"}):
        assert usable_keys(document) == {}


def test_who_proved_it_too_long_ago_or_too_weakly_must_do_it_again():
    fresh = Expected(EXPECTED.issuer, "griffier", max_age=300, acr_values=("hoog",))
    assert check(signed(GOOD), fresh)
    times = [{"auth_time": value} for value in (NOW - 361, NOW + 61, None)]
    for change in (*times, *({"acr": value} for value in ("laag", ["hoog"], None))):
        claims = {name: value for name, value in (GOOD | change).items() if value is not None}
        with pytest.raises(NotFresh):
            check(signed(claims), fresh)


def test_a_logout_token_that_is_right_says_whose_session_ended():
    said = logout_token(signed(LOGOUT, typ="logout+jwt"), KEYS, EXPECTED, NOW)
    assert (said.subject, said.sid, said.jti) == ("1f0c", "s1", "j1")
    assert said.until >= LOGOUT["exp"]


WRONG_LOGOUT = {
    "no events": {"events": None},
    "another event": {"events": {"urn:iets": {}}},
    "an event that is no object": {"events": {LOGOUT_EVENT: True}},
    "a nonce": {"nonce": NONCE},
    "no jti": {"jti": None},
    "nobody": {"sub": None, "sid": None},
    "a subject that is none": {"sub": 7},
    "another issuer": {"iss": "https://elders"},
    "another audience": {"aud": ["matrix"]},
    "expired": {"exp": NOW - 61},
    "without an end": {"exp": None},
    "made long ago": {"iat": NOW - 601},
}


@pytest.mark.parametrize("what", WRONG_LOGOUT)
def test_a_logout_token_with_one_thing_wrong_is_refused(what):
    claims = {name: value for name, value in (LOGOUT | WRONG_LOGOUT[what]).items() if value is not None}
    with pytest.raises(TokenError):
        logout_token(signed(claims, typ="logout+jwt"), KEYS, EXPECTED, NOW)


def test_an_id_token_ends_no_session_and_a_logout_token_begins_none():
    with pytest.raises(TokenError):
        logout_token(signed(GOOD), KEYS, EXPECTED, NOW)
    with pytest.raises(TokenError):
        check(signed(LOGOUT | {"nonce": NONCE}, typ="JWT"))


@given(st.integers(0, len(signed(GOOD)) - 1), st.characters(codec="ascii"))
def test_whatever_letter_is_changed_it_is_refused(at, letter):
    token = signed(GOOD)
    changed = token[:at] + letter + token[at + 1 :]
    same = [part.rstrip("=") for part in changed.split(".")] == token.split(".")
    if changed == token or same or _decoded(changed) == _decoded(token):
        return
    with pytest.raises(TokenError):
        check(changed)


def _decoded(token: str) -> list[bytes] | None:
    """The last letter of base64 has bits that mean nothing."""
    try:
        return [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split(".")]
    except ValueError:
        return None


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda raw: base64.urlsafe_b64encode(raw).decode() + ".e30.AAAA"))
def test_rubbish_is_refused_and_nothing_breaks(rubbish):
    for read in (lambda: check(rubbish), lambda: logout_token(rubbish, KEYS, EXPECTED, NOW)):
        with pytest.raises(TokenError):
            read()


@given(st.sampled_from(sorted({*GOOD, *LOGOUT, "azp", "nbf"})), JSON)
def test_a_claim_of_any_shape_breaks_nothing_and_lets_nobody_else_in(name, value):
    try:
        found = check(signed(GOOD | {name: value}), Expected(EXPECTED.issuer, "griffier", 300, ("hoog",)))
        assert (found["iss"], found["nonce"], found["acr"]) == (EXPECTED.issuer, NONCE, "hoog")
        assert isinstance(found["sub"], str)
    except TokenError:
        pass
    try:
        said = logout_token(signed(LOGOUT | {name: value}), KEYS, EXPECTED, NOW)
        assert said.subject or said.sid
    except TokenError:
        pass


@given(st.integers(-(10**6), 10**6))
def test_no_moment_lets_an_expired_token_in(shift):
    token = signed(GOOD)
    inside = -60 <= shift < 360
    try:
        check(token, now=NOW + shift)
        assert inside
    except TokenError:
        assert not inside
