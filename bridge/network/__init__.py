"""The networks a portal can speak, each a module behind `Network`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

Scope = Literal["message", "number", "account"]


class NetworkError(Exception):
    """The network refused or failed; `final` when trying again can't help. The message says what to do.

    `after`: seconds that the network asks to wait. `scope`: whether the message alone is meant, or all that goes through its
    number or our account. `unsure`: the network may have taken the message all the same. `code`: the network's own, 0 for none.
    """

    def __init__(
        self, message: str, *, final: bool, after: float = 0, scope: Scope = "message", unsure: bool = False, code: int = 0
    ) -> None:
        super().__init__(message)
        self.final = final
        self.after = after
        self.scope = scope
        self.unsure = unsure
        self.code = code


class NotUnderstood(ValueError):  # noqa: N818 - named for what it is
    """A message can't be carried over as it is; it is kept. The message says why, and holds nothing of the content."""


class NotYet(Exception):  # noqa: N818 - named for what it is
    """What a message needs has not come yet: it is waited for a little while, then given up.

    With `awaits`, the id of the message that it is about, it waits beside its conversation, which goes on meanwhile; without, its
    key for instance, what came after it waits too.
    """

    def __init__(self, message: str, awaits: str = "") -> None:
        super().__init__(message)
        self.awaits = awaits


@dataclass(frozen=True, slots=True)
class Media:
    """A file that came with or goes with a message."""

    media_type: str
    name: str = ""
    media_id: str = ""
    sha256: str = ""
    voice: bool = False


@dataclass(frozen=True, slots=True)
class Incoming:
    """One thing that happened in a conversation."""

    number_id: str
    contact: str  # the other side's id on the network
    message_id: str
    sent_at: datetime | None  # by the network's own clock; None when what it says can be no time
    kind: str  # text, media, reaction, edit, revoke, unsupported
    network_type: str  # what the network itself calls it
    text: str = ""
    media: Media | None = None
    target: str = ""  # the message that a reaction, edit or revocation is about
    reply_to: str = ""
    name: str = ""  # of the contact, as the network gives it
    forwarded: bool = False
    from_us: bool = False  # typed on the business phone itself
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Filled:
    """A template with its values, as it goes to the network."""

    name: str
    language: str
    components: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What an official says in a portal."""

    contact: str
    kind: str  # text, media, place, cards, reaction, template
    text: str = ""  # of a place, its name; of a reaction, its emoji or nothing
    media: Media | None = None
    content: bytes = b""
    place: tuple[float, float] | None = None  # latitude and longitude
    cards: tuple[dict[str, Any], ...] = ()  # contacts in the network's own form
    template: Filled | None = None
    target: str = ""
    reply_to: str = ""
    group: bool = False
    key: str = ""  # the Matrix event, for the network to tell back


class Network(Protocol):
    """A network that conversations can be bridged with."""

    name: str

    def split(self, body: dict[str, Any]) -> Iterable[tuple[str, str, dict[str, Any]]]:
        """(dedupe key, conversation, change) of every single change in a delivery; nothing is left out."""

    def read(self, change: dict[str, Any]) -> Incoming | None:
        """What a change says; None when it concerns no conversation. Raises ValueError when it can't be understood."""

    def told(self, change: dict[str, Any]) -> tuple[str, str] | None:
        """(our key, the network's id) of a message of ours that a change says it has; None when it says no such thing."""

    async def download(self, media: Media, number_id: str) -> bytes:
        """The bytes of a file, checked. Raises NetworkError."""

    async def send(self, number_id: str, message: Outgoing) -> str:
        """Send; returns the network's own id. Raises NetworkError."""

    async def mark_read(self, number_id: str, message_id: str) -> None:
        """Tell that a message and those before it have been read. Raises NetworkError."""
