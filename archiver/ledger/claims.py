"""What only a bridge may say: where a message comes from, what became of it on the other network, what was not covered there.

Capture flags it when somebody else says it (CLAIMED_SOURCE); whoever reads believes it only where it is not flagged.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase

from archiver.ledger.canonical import JsonObject

CLAIMED_SOURCE = "claimed-source"  # who sent it is no bridge and says that it comes from another network

BRIDGE_KEY = (
    "bridge-key"  # beside the doubt that the key is another account's: it is a bridge's, which says whose words these are
)

SOURCE = "nl.griffier.source"
INTERRUPTION = "nl.griffier.interruption"
ALARM = "nl.griffier.alarm"
DELIVERY = "nl.griffier.delivery"
STATUS = "com.beeper.message_send_status"  # an event type
# What mautrix bridges write (mautrix-go `event`, mautrix-whatsapp `msgconv`).
UNDECRYPTABLE = "fi.mau.whatsapp.undecryptable"
FAILED_MEDIA = "fi.mau.whatsapp.failed_media"
UNSUPPORTED = "fi.mau.whatsapp.unsupported_message_data"
MISSING_FILE = "nl.griffier.missing_file"  # of our own bridge: in place of a file that is not there, or not yet
FILLS = "com.beeper.dont_render_edited"  # an edit by which the bridge puts in what it could not show at first
PUPPET = "fi.mau.double_puppet_source"  # what an official wrote in the network's own app, said by the bridge in their name
DISAPPEARED = "Message disappeared"  # the reason of a redaction

BRIDGE_STATE = frozenset({"m.bridge", "uk.half-shot.bridge"})
KEYS = frozenset({SOURCE, INTERRUPTION, ALARM, DELIVERY, UNDECRYPTABLE, FAILED_MEDIA, UNSUPPORTED, MISSING_FILE, FILLS, PUPPET})


def claims(kind: object, content: JsonObject) -> bool:
    """Whether an event of this type says what only a bridge may say."""
    if not KEYS.isdisjoint(content) or (isinstance(kind, str) and (kind == STATUS or kind in BRIDGE_STATE)):
        return True
    return kind == "m.room.redaction" and content.get("reason") == DISAPPEARED


def believed(user_id: object, bridges: Iterable[str]) -> bool:
    """Whether an account is a bridge's: `bridges` are the patterns of `archiver.bridges`, in which `*` stands for anything."""
    return isinstance(user_id, str) and any(fnmatchcase(user_id, pattern) for pattern in bridges)
