"""What became of a message on the other network, as the bridge says beside it: `com.beeper.message_send_status`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from archiver.ledger.canonical import JsonObject
from archiver.ledger.claims import CLAIMED_SOURCE, DELIVERY, STATUS
from archiver.ledger.record import Record, moment

# The later one stands; a failure stands above all, for it is what people must know. What stayed was not for the network: a
# command to the bridge, or withdrawn before it went.
STATES = ("pending", "sent", "delivered", "read", "played", "stayed", "failed")
WENT = frozenset({"sent", "delivered", "read", "played"})
BY_STATUS = {"SUCCESS": "sent", "PENDING": "pending", "FAIL_PERMANENT": "failed", "FAIL_RETRIABLE": "failed"}


@dataclass(frozen=True, slots=True)
class Delivery:
    """One word of the bridge about a message that went out."""

    event_id: str
    state: str  # one of STATES
    at: datetime
    recipient: str | None  # of several, who got or read it
    code: str | None  # the network's code for a failure
    reason: str | None  # in plain words


def deliveries(related: Iterable[Record]) -> tuple[Delivery, ...]:
    """What a bridge said of a message, the earliest first; `related` are the records that relate to it."""
    told = [record for record in related if record.said_type == STATUS and CLAIMED_SOURCE not in record.doubts]
    return tuple(sorted((_read(record) for record in told), key=lambda word: (word.at, word.event_id)))


def outcome(words: Iterable[Delivery]) -> Delivery | None:
    """What a message has come to. A failure for one recipient stands, whatever becomes of the others."""
    best: Delivery | None = None
    for word in words:
        if best is None or word.state == "failed":
            best = word
        elif best.state == "failed":
            best = word if best.recipient in (None, word.recipient) else best
        elif _rank(word) > _rank(best):
            best = word
    return best


def _rank(word: Delivery) -> int:
    return STATES.index(word.state)


def _read(record: Record) -> Delivery:
    content = record.content
    own = content.get(DELIVERY)
    own = own if isinstance(own, dict) else {}
    to = content.get("delivered_to_users")
    state, at = own.get("state"), own.get("at")
    if state not in STATES:
        status = content.get("status")
        state = BY_STATUS.get(status, "pending") if isinstance(status, str) else "pending"
        state = "delivered" if state == "sent" and isinstance(to, list) and to else state
    recipients = [user for user in to if isinstance(user, str)] if isinstance(to, list) else []
    refused = own.get("message_id") == ""  # before it was a message of the network: it holds for all, whom it named or not
    return Delivery(
        record.event_id,
        state,
        moment(at) if isinstance(at, int | float) and not isinstance(at, bool) else record.sent_at,
        None if refused else _text(own, "recipient") or ", ".join(recipients) or None,
        _text(own, "code"),
        _text(content, "message") or _text(content, "error") or _text(content, "reason") if state == "failed" else None,
    )


def _text(told: JsonObject, name: str) -> str | None:
    value = told.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None
