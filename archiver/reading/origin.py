"""What a bridge says with a message: what it could not give, that it comes from history, that it disappears, who else wrote it.

Facts of mautrix bridges from their own code (mautrix-go bridgev2, mautrix-whatsapp); all of it believed only from a bridge.
"""

from __future__ import annotations

import re

from archiver.ledger.canonical import JsonObject
from archiver.ledger.claims import FAILED_MEDIA, MISSING_FILE, PUPPET, UNDECRYPTABLE, UNSUPPORTED

TIMER = "com.beeper.disappearing_timer"
PROFILES = ("com.beeper.per_message_profile", "m.per_message_profile")  # MSC4144

# Why there is not what was said: the codes that pages, exports and counts use.
NOT_DECRYPTED = "bridge:undecryptable"
VIEW_ONCE = "bridge:view-once"
NO_MEDIA = "bridge:failed-media"
NOT_SUPPORTED = "bridge:unsupported"
LACKS = (NOT_DECRYPTED, VIEW_ONCE, NO_MEDIA, NOT_SUPPORTED)

# mautrix-whatsapp marks a view-once message that a linked device does not get as one that it can't decrypt.
ONCE = "You received a view once"
# What its relay mode makes of another's message, as WhatsApp's bold comes back, and as it is written.
RELAYED = re.compile(r"^(?:\* )?<(b|strong)>([^<>]{1,200})</\1>: ?")


def lack(content: JsonObject, source: JsonObject) -> str | None:
    """Why a message does not hold what was said on the network; None when it does."""
    body, notice = content.get("body"), content.get("msgtype") == "m.notice"
    if content.get(UNDECRYPTABLE) is True:
        return VIEW_ONCE if isinstance(body, str) and body.startswith(ONCE) else NOT_DECRYPTED
    if FAILED_MEDIA in content or MISSING_FILE in content:
        return NO_MEDIA
    if source.get("view_once") is True and notice:
        return VIEW_ONCE
    if UNSUPPORTED in content or (source.get("type") == "unsupported" and notice):
        return NOT_SUPPORTED
    return None


def seconds_to_live(content: JsonObject, source: JsonObject) -> int | None:
    """After how many seconds a message disappears on the network, where a timer was set."""
    told = source.get("expires_after")
    if isinstance(told, int | float) and _positive(told):
        return int(told)
    return timer(content.get(TIMER))


def timer(told: object) -> int | None:
    """The seconds of a `com.beeper.disappearing_timer`; None when it is off, or no timer."""
    milliseconds = told.get("timer") if isinstance(told, dict) else None
    return max(int(milliseconds // 1000), 1) if isinstance(milliseconds, int | float) and _positive(milliseconds) else None


def puppet(content: JsonObject) -> bool:
    """Whether a bridge says this in the name of somebody who wrote it in the network's own app."""
    return isinstance(content.get(PUPPET), str)


def written_by(content: JsonObject) -> str | None:
    """Who wrote a message that another account said for them: a name and no more than that."""
    for key in PROFILES:
        profile = content.get(key)
        name = profile.get("displayname") if isinstance(profile, dict) else None
        if isinstance(name, str) and name.strip():
            return name.strip()
    return None


def relayed_by(content: JsonObject) -> str | None:
    """The name before a message that a bridge's relay sends through an account of another."""
    text = content.get("formatted_body")
    found = RELAYED.match(text) if isinstance(text, str) else None
    return found.group(2).strip() or None if found else None


def _positive(told: float) -> bool:
    return not isinstance(told, bool) and 1 <= told < 2**53
