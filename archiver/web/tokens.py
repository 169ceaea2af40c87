"""What a token must be before it is believed: OpenID Connect Core 1.0, 3.1.3.7, and Back-Channel Logout 1.0, 2.6. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key

from archiver.ledger.canonical import HostileJson, parse, usable

# Signatures by a key that only the provider has. Not here: `none`, and HS*, for which anyone who knows our secret could sign.
HASHES = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}
ALGORITHMS = {
    **{f"{kind}{bits}": ("RSA", None) for kind in ("RS", "PS") for bits in HASHES},
    "ES256": ("EC", "P-256"), "ES384": ("EC", "P-384"), "ES512": ("EC", "P-521"),
}  # fmt: skip
LONGEST = 65_536  # characters of a token
LEEWAY = 60  # seconds that clocks may differ
FRESH = 600  # seconds that a token may be on its way
RSA_BITS = 2048
LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"

Claims = Mapping[str, Any]


class TokenError(Exception):
    """The token can't be believed; the message says why, without the token."""


class UnknownKey(TokenError):  # noqa: N818 - it names what is the matter
    """It names a key that is not among those known; the provider may have new ones."""


class NotFresh(TokenError):  # noqa: N818
    """They proved who they are too long ago, or not strongly enough."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Whose tokens are believed, and for whom they must be."""

    issuer: str
    client_id: str
    max_age: int = 0
    acr_values: tuple[str, ...] = ()


def usable_keys(jwks: Any) -> dict[str | None, list[Key]]:
    """The keys of a key set (RFC 7517) that may check signatures, by key id; what can't be used is left out."""
    found: dict[str | None, list[Key]] = {}
    listed = jwks.get("keys") if isinstance(jwks, dict) else None
    for each in listed[:100] if isinstance(listed, list) else []:
        if not isinstance(each, dict) or each.get("kty") not in ("RSA", "EC") or each.get("use", "sig") != "sig":
            continue
        try:
            key = JWKRegistry.import_key({name: value for name, value in each.items() if name != "d"})
            public = key.public_key
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        if isinstance(public, rsa.RSAPublicKey) and public.key_size < RSA_BITS:
            continue
        kid = each.get("kid")
        found.setdefault(kid if isinstance(kid, str) else None, []).append(key)
    return found


def id_token(
    token: str, keys: dict[str | None, list[Key]], expected: Expected, nonce: str, now: float, access_token: str | None = None
) -> Claims:
    """The claims of an ID token that came for this sign-in. Raises TokenError."""
    header, claims = opened(token, keys)
    if str(header.get("typ", "JWT")).lower().removeprefix("application/") not in ("jwt", "id_token+jwt"):
        raise TokenError("it is a token of another kind")
    _meant(claims, expected)
    _in_time(claims, now)
    told = claims.get("nonce")
    if not isinstance(told, str) or not hmac.compare_digest(told.encode("utf-8", "replace"), nonce.encode()):
        raise TokenError("it was made for another sign-in (nonce)")
    if not _name(claims.get("sub")):
        raise TokenError("it names nobody (sub)")
    if "events" in claims:
        raise TokenError("it is a token of another kind")
    if access_token is not None and "at_hash" in claims and claims["at_hash"] != at_hash(access_token, str(header["alg"])):
        raise TokenError("it belongs to another access token (at_hash)")
    if expected.max_age:
        proved = _number(claims, "auth_time")
        if proved is None or proved > now + LEEWAY or now - proved > expected.max_age + LEEWAY:
            raise NotFresh("they proved who they are too long ago (auth_time)")
    if expected.acr_values and claims.get("acr") not in expected.acr_values:
        raise NotFresh("they proved who they are not strongly enough (acr)")
    return claims


@dataclass(frozen=True, slots=True)
class Logout:
    """Whose session at the provider has ended."""

    subject: str | None
    sid: str | None
    jti: str
    until: float  # seconds since 1970; after that the token is refused for its age


def logout_token(token: str, keys: dict[str | None, list[Key]], expected: Expected, now: float) -> Logout:
    """What a logout token says. Raises TokenError."""
    header, claims = opened(token, keys)
    if str(header.get("typ", "JWT")).lower().removeprefix("application/") not in ("jwt", "logout+jwt"):
        raise TokenError("it is a token of another kind")
    _meant(claims, expected)
    _in_time(claims, now)
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(LOGOUT_EVENT), dict):
        raise TokenError("it is no logout token (events)")
    if "nonce" in claims:
        raise TokenError("it has a nonce, which a logout token may not")
    jti, subject, sid = (_name(claims.get(name)) for name in ("jti", "sub", "sid"))
    if jti is None:
        raise TokenError("it can't be told from a repetition (jti)")
    for name, value in (("sub", subject), ("sid", sid)):
        if name in claims and value is None:
            raise TokenError(f"it names nobody ({name})")
    if subject is None and sid is None:
        raise TokenError("it names no session (sub, sid)")
    return Logout(subject, sid, jti, float(_number(claims, "exp") or 0) + LEEWAY)


def opened(token: str, keys: dict[str | None, list[Key]]) -> tuple[dict[str, Any], Claims]:
    """The header and the claims of a token whose signature is right. Raises TokenError, UnknownKey."""
    header = _header(token)
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenError("it is not signed in a way that is accepted (alg)")
    if "crit" in header or "b64" in header:
        raise TokenError("it asks for an extension that is not known (crit)")
    if kid is not None and (not isinstance(kid, str) or kid not in keys):
        raise UnknownKey("its key is not among the provider's (kid)")
    kind, curve = ALGORITHMS[algorithm]
    named = keys[kid] if kid is not None else [key for each in keys.values() for key in each]
    fitting = [key for key in named if key.key_type == kind and (curve is None or key.get("crv") == curve)]
    fitting = [key for key in fitting if key.get("alg", algorithm) == algorithm]
    if not fitting:
        raise UnknownKey("none of the provider's keys fits how it is signed")
    for key in fitting:
        try:
            payload = jws.deserialize_compact(token, key, algorithms=[algorithm]).payload
            claims = parse(payload)
        except (JoseError, HostileJson, ValueError, TypeError, KeyError, RecursionError):
            continue
        if isinstance(claims, dict):
            return header, claims
    raise TokenError("its signature is wrong")


def at_hash(access_token: str, algorithm: str) -> str:
    """The left half of the access token's hash (Core, 3.1.3.6)."""
    hashed = HASHES[algorithm[-3:]](access_token.encode("utf-8", "replace")).digest()
    return base64.urlsafe_b64encode(hashed[: len(hashed) // 2]).rstrip(b"=").decode()


def _header(token: str) -> dict[str, Any]:
    if len(token) > LONGEST or not token.isascii() or token.count(".") != 2:
        raise TokenError("it is no signed token")
    first = token.partition(".")[0]
    try:
        header = parse(base64.urlsafe_b64decode(first + "=" * (-len(first) % 4)))
    except (HostileJson, ValueError, RecursionError):
        raise TokenError("it is no signed token") from None
    if not isinstance(header, dict):
        raise TokenError("it is no signed token")
    return header


def _meant(claims: Claims, expected: Expected) -> None:
    if claims.get("iss") != expected.issuer:
        raise TokenError("it is of another provider (iss)")
    audience = claims.get("aud")
    meant = [audience] if isinstance(audience, str) else audience
    if not isinstance(meant, list) or expected.client_id not in meant:
        raise TokenError("it is meant for another application (aud)")
    party = claims.get("azp")
    if (len(meant) > 1 or party is not None) and party != expected.client_id:
        raise TokenError("it was given to another application (azp)")


def _in_time(claims: Claims, now: float) -> None:
    expires, issued, begins = _number(claims, "exp"), _number(claims, "iat"), _number(claims, "nbf")
    if expires is None or now >= expires + LEEWAY:
        raise TokenError("it has expired (exp); are the clocks of both servers right?")
    if issued is None or issued > now + LEEWAY or issued < now - FRESH:
        raise TokenError("it was not made just now (iat); are the clocks of both servers right?")
    if "nbf" in claims and (begins is None or begins > now + LEEWAY):
        raise TokenError("it is not valid yet (nbf); are the clocks of both servers right?")


def _number(claims: Claims, name: str) -> float | None:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 2**53 or not math.isfinite(value):
        return None
    return float(value)


def _name(value: Any) -> str | None:
    return value if usable(value) and value else None
