"""Events that are what they say: signed by a homeserver whose key is known, in every room version."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from unpaddedbase64 import encode_base64

from archiver.ledger.canonical import canonical
from archiver.ledger.event import Rules, content_hash, redacted_form

SERVER = "rijk.example"
KEY_ID = "ed25519:a1"
UNTIL = 4_102_444_800_000


class Signer:
    """A homeserver's signing key."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(b"\7" * 32)

    def keys(self) -> dict[str, Any]:
        """What the server answers to who asks for its keys."""
        public = encode_base64(self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
        return self._signed(
            {"server_name": SERVER, "valid_until_ts": UNTIL, "verify_keys": {KEY_ID: {"key": public}}, "old_verify_keys": {}}
        )

    def sign(self, event: dict[str, Any], rules: Rules) -> dict[str, Any]:
        """The event with its content hash and signature."""
        event = {**event, "hashes": {}, "signatures": {}}
        event["hashes"] = {"sha256": content_hash(event)}
        form = redacted_form(event, rules)
        form.pop("signatures", None)
        return {**event, "signatures": {SERVER: {KEY_ID: encode_base64(self._key.sign(canonical(form)))}}}

    def _signed(self, value: dict[str, Any]) -> dict[str, Any]:
        return {**value, "signatures": {SERVER: {KEY_ID: encode_base64(self._key.sign(canonical(value)))}}}
