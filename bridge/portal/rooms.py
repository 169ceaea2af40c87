"""What the room of a conversation is called and says of itself. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from bridge.accounts import clean

TOPIC = (
    "WhatsApp-gesprek {whom} via {number}. Dit gesprek wordt gearchiveerd. · "
    "WhatsApp conversation {who} through {number}. This conversation is archived."
)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as its room shows it."""

    bot: str
    official: str
    number: str  # our display number
    contact: str  # where an answer goes
    name: str  # of the contact or the group
    label: str = ""  # of our number, where the official has several
    group: bool = False
    description: str = ""  # of the group

    def state(self, key: str) -> dict[tuple[str, str], dict[str, Any]]:
        """(type, state key) to content of everything that changes with the conversation; `key` is that of m.bridge."""
        quiet = {"com.beeper.exclude_from_timeline": True}
        bridge = self._bridge()
        return {
            ("m.room.name", ""): {"name": self.title(), **quiet},
            ("m.room.topic", ""): {"topic": self._topic(), **quiet},
            ("m.bridge", key): bridge,
            ("uk.half-shot.bridge", key): bridge,
        }

    def title(self) -> str:
        """The room's name."""
        name = clean(self.name, 100) or self.contact
        return f"{name} · {clean(self.label, 40)} (WhatsApp)" if self.label else f"{name} (WhatsApp)"

    def digest(self) -> str:
        """Tells whether the room says the same of itself as this."""
        return hashlib.sha256(json.dumps([self.title(), self._topic(), self._bridge()], sort_keys=True).encode()).hexdigest()

    def _topic(self) -> str:
        name = clean(self.name, 100) or self.contact
        about = (
            {"whom": f"in de groep {name}", "who": f"in the group {name}"}
            if self.group
            else {"whom": f"met {name}", "who": f"with {name}"}
        )
        topic = TOPIC.format(number=self.number, **about)
        return f"{topic}\n{clean(self.description, 1000)}" if self.description else topic

    def _bridge(self) -> dict[str, Any]:
        """As mautrix's bridges write it, and whose conversation it is."""
        channel = {"id": jid(self.contact, group=self.group), "displayname": clean(self.name, 100) or self.contact}
        told = {
            "bridgebot": self.bot,
            "creator": self.bot,
            "protocol": {"id": "whatsapp", "displayname": "WhatsApp", "external_url": "https://www.whatsapp.com"},
            "channel": channel | {"fi.mau.receiver": self.number},
            "nl.griffier.official": self.official,
        }
        return told if self.group else told | {"com.beeper.room_type": "dm", "com.beeper.room_type.v2": "dm"}


def described(topic: str) -> str:
    """A group's description, out of its room's topic."""
    return topic.partition(TOPIC.rpartition("}")[2] + "\n")[2]


def jid(contact: str, *, group: bool) -> str:
    """A conversation as WhatsApp's own clients number it; somebody without a number by their business-scoped id."""
    if group:
        return f"{contact}@g.us"
    return f"{contact}@s.whatsapp.net" if contact.isdecimal() else contact


def timer(seconds: int) -> dict[str, Any]:
    """The content of com.beeper.disappearing_timer, as mautrix writes it; empty where messages stay."""
    return {"type": "after_send", "timer": seconds * 1000} if seconds else {}
