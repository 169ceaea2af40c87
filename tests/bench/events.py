"""Encrypted events as a homeserver gives them: hashed, signed, each pointing at the one before it in its room."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from unpaddedbase64 import encode_base64

from archiver.ledger.canonical import canonical
from archiver.ledger.event import Rules, content_hash, event_id, redacted_form

SERVER, KEY_ID = "rijk.example", "ed25519:a_bench"
SIGNING = Ed25519PrivateKey.generate()
RULES = Rules("11")
ROOMS, SENDERS = 20, 50
TEXT = (
    "de minister heeft vandaag besloten dat het voorstel naar de Kamer gaat met twee wijzigingen over water en dijken en dat de "
    "secretaris generaal de planning van het overleg met de provincies en de waterschappen opnieuw laat bekijken voor maandag"
)
WORDS = TEXT.split()


@dataclass(frozen=True, slots=True)
class Made:
    """An event and what it says."""

    room_id: str
    event: dict[str, Any]
    payload: bytes


def made(count: int, *, first: int = 0) -> Iterator[Made]:
    """`count` events, spread over rooms; `first` goes on where an earlier series stopped."""
    auth = ["$" + secrets.token_urlsafe(32) for _ in range(3)]
    last: dict[str, str] = {}
    for number in range(first, first + count):
        room_id = f"!zaal{number % ROOMS:03}:{SERVER}"
        body = " ".join(secrets.choice(WORDS) for _ in range(12))
        event: dict[str, Any] = {
            "type": "m.room.encrypted", "room_id": room_id, "sender": f"@ambtenaar{number % SENDERS:02}:{SERVER}",
            "depth": number // ROOMS + 10, "origin_server_ts": 1_764_000_000_000 + number * 1000, "auth_events": auth,
            "prev_events": [last[room_id]] if room_id in last else [], "unsigned": {"age": 120},
            "content": {
                "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": secrets.token_urlsafe(250), "device_id": "ABCDEFGHIJ",
                "sender_key": secrets.token_urlsafe(32), "session_id": f"{number % ROOMS}-{number // 100 // ROOMS}".ljust(43),
            },
        }  # fmt: skip
        event["hashes"] = {"sha256": content_hash(event)}
        event["signatures"] = {SERVER: {KEY_ID: encode_base64(SIGNING.sign(canonical(redacted_form(event, RULES))))}}
        last[room_id] = event_id(event, RULES)
        event["event_id"] = last[room_id]
        said = {"type": "m.room.message", "room_id": room_id, "content": {"msgtype": "m.text", "body": body}}
        yield Made(room_id, event, json.dumps(said).encode())


def verifying() -> str:
    """The key of the server that signs, in base64."""
    return encode_base64(SIGNING.public_key().public_bytes_raw())
