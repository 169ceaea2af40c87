"""The networks a portal can speak, each a module behind `Network`, and what such a network can tell."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
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


BEHIND = "het wacht op wat ervoor is gezegd · it waits for what was said before it"


class Held(Exception):  # noqa: N818 - named for what it is
    """A message is to wait until somebody lets it go on, however long that takes: it is never given up for it."""


class Behind(Exception):  # noqa: N818 - named for what it is
    """Something that was said before has not gone yet: a message waits beside its conversation until it has, however long."""

    def __init__(self, awaits: str) -> None:
        super().__init__(BEHIND)
        self.awaits = awaits


class NotYet(Exception):  # noqa: N818 - named for what it is
    """What a message needs has not come yet: it is waited for a little while, then given up.

    With `awaits`, the id of the message that it is about, it waits beside its conversation, which goes on meanwhile; without, its
    key for instance, what came after it waits too.
    """

    def __init__(self, message: str, awaits: str = "") -> None:
        super().__init__(message)
        self.awaits = awaits


@dataclass(frozen=True, slots=True)
class Named:
    """Somebody as one message names them: by some of these, never by a number alone."""

    wa_id: str = ""  # the number's digits; absent for people with a user name whom we have not met
    user_id: str = ""  # business-scoped (BSUID); another one when the number changes
    parent_user_id: str = ""
    username: str = ""
    name: str = ""  # as they call themselves

    @property
    def address(self) -> str:
        """Where a message to them goes."""
        return self.wa_id or self.user_id

    @property
    def shown(self) -> str:
        """Them as people write it: +316…, or their user name, or their id."""
        if self.wa_id:
            return f"+{self.wa_id}" if self.wa_id.isdecimal() else self.wa_id
        return f"@{self.username}" if self.username else self.user_id


@dataclass(frozen=True, slots=True)
class Media:
    """A file that came with or goes with a message."""

    media_type: str
    name: str = ""
    media_id: str = ""
    sha256: str = ""
    voice: bool = False
    url: str = ""  # where it can be fetched for some minutes, when the network said so by itself
    sticker: bool = False
    animated: bool = False
    size: int = 0  # bytes, as announced; 0 when it was not


@dataclass(frozen=True, slots=True)
class Point:
    """A point on the map, in degrees."""

    latitude: float
    longitude: float
    live: bool = False


@dataclass(frozen=True, slots=True)
class Preview:
    """What a link leads to, as the network shows it."""

    url: str
    title: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Incoming:
    """One thing that somebody said or did in a conversation."""

    number_id: str
    person: Named  # the other side; in a group, who says it
    message_id: str
    sent_at: datetime | None  # by the network's own clock; None when what it says can be no time
    kind: str  # text, media, place, cards, reaction, edit, revoke, moved, notice, missing, unsupported
    network_type: str  # what the network itself calls it
    text: str = ""
    media: Media | None = None
    place: Point | None = None
    cards: str = ""  # contacts, as vCard
    target: str = ""  # the message that a reaction, edit or revocation is about
    reply_to: str = ""
    group: str = ""
    forwarded: bool = False
    forwarded_often: bool = False
    from_us: bool = False  # typed on the business phone itself
    history: bool = False  # told after the number was connected, of the time before
    view_once: bool = False
    expires_after: int | None = None  # seconds that this message lasts
    timer: int | None = None  # seconds that messages of this conversation last from now on; 0 when they stay
    mentions: tuple[str, ...] = ()  # wa_ids and user_ids
    preview: Preview | None = None
    beside: tuple[str, ...] = ()  # what else is to be shown with it, a line each
    moved: Named | None = None  # who they are from now on
    whole: bool = True  # whether the text holds all that was said; the payload goes along where it does not
    raw: dict[str, Any] = field(default_factory=dict)

    @property
    def contact(self) -> str:
        """Where an answer goes."""
        return self.group or self.person.address

    @property
    def name(self) -> str:
        """Of who says it, as the network gives it."""
        return self.person.name


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a message of ours."""

    number_id: str
    message_id: str
    state: str  # sent, delivered, read, played, failed; what else the network comes up with
    at: datetime | None
    recipient: Named
    group: str = ""
    key: str = ""  # the Matrix event, as we gave it along
    code: int | None = None  # why it failed, as the network numbers it
    reason: str = ""
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContactSynced:
    """A contact in the address book of the business phone: this official's own name for them."""

    number_id: str
    wa_id: str
    name: str
    removed: bool
    at: datetime | None


@dataclass(frozen=True, slots=True)
class GroupChanged:
    """Something about a group itself."""

    number_id: str
    group: str
    change: str  # the network's word: group_create, group_delete, group_participants_add, group_settings_update, …
    at: datetime | None
    joined: tuple[Named, ...] = ()
    left: tuple[Named, ...] = ()
    asked: tuple[Named, ...] = ()  # who ask to join
    by_us: bool = False
    subject: str | None = None  # None: not said
    description: str | None = None
    picture: Media | None = None
    closed: bool = False  # deleted, or suspended
    reason: str = ""
    failed: str = ""  # why what we asked for was not done
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AccountChanged:
    """Something about the business account or a number of it; also every kind of news that we don't know."""

    account_id: str  # of the WhatsApp business account
    topic: str  # the network's word: account_update, phone_number_quality_update, message_template_status_update, …
    event: str = ""  # PARTNER_REMOVED, ACCOUNT_OFFBOARDED, …
    reason: str = ""  # PRIMARY_INACTIVITY, …
    number_id: str = ""
    number: str = ""  # as displayed, when no id is given
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NumberProblem:
    """The network says that something about a number went wrong, of no message in particular."""

    number_id: str
    cause: str  # error, history-refused
    code: int | None
    title: str
    detail: str = ""
    at: datetime | None = None
    raw: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HistoryProgress:
    """How far the network is in telling what was said before the number was connected."""

    number_id: str
    phase: int
    chunk: int
    percent: int


Told = Incoming | Receipt | ContactSynced | GroupChanged | AccountChanged | NumberProblem | HistoryProgress

Handlers = Mapping[type, Callable[[Any], Awaitable[str]]]
"""Who carries what over: each takes one of what is told and returns the state to leave, done or kept."""


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

    def read(self, change: dict[str, Any]) -> Told:
        """What a change says. Raises NotUnderstood when that can't be told."""

    def told(self, change: dict[str, Any]) -> tuple[str, str, str] | None:
        """(our key, the network's id, the number's id) of a message of ours that a change says it has; else None."""

    async def download(self, media: Media, number_id: str) -> bytes:
        """The bytes of a file, checked. Raises NetworkError."""

    def fitted(self, outgoing: Outgoing) -> list[Outgoing]:
        """The messages that one becomes, because of what the network can hold in one. Raises NotUnderstood when it can't go."""

    def explain(self, code: int) -> str:
        """What a refusal means and what to do, in Dutch · English."""

    async def send(self, number_id: str, outgoing: Outgoing) -> str:
        """Send; returns the network's own id. Raises NetworkError, NotUnderstood."""

    async def mark_read(self, number_id: str, message_id: str) -> None:
        """Tell that a message and those before it have been read. Raises NetworkError."""
