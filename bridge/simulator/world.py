"""Who and what there is: business accounts and their numbers, people, groups, messages, files. All of it in memory."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bridge.simulator.errors import GraphError, missing
from bridge.simulator.knobs import Faults, Knobs

BSUID = re.compile(r"[A-Z]{2}(\.ENT)?\.[A-Za-z0-9]{1,128}")
WINDOW = 24 * 3600  # seconds after a contact's last message in which anything may be sent
FILES = ("image", "audio", "video", "document", "sticker")


def digits(number: object) -> str:
    """A phone number as a wa_id."""
    return "".join(letter for letter in str(number) if letter.isdigit())


@dataclass(slots=True)
class Template:
    """A message template; `components` as Graph lists them."""

    name: str
    language: str
    components: list[dict[str, Any]]
    category: str = "UTILITY"
    status: str = "APPROVED"
    id: str = field(default_factory=lambda: str(secrets.randbelow(10**15) + 10**15))


@dataclass(slots=True)
class Number:
    """A business phone number. `history` and `contacts` are what the phone itself holds when it is onboarded."""

    id: str
    display_phone_number: str
    official: str = ""
    name: str = ""
    coexistence: bool = True
    registered: bool = True
    onboarded: float = 0
    share_history: bool = True
    synced: set[str] = field(default_factory=set)
    history: list[dict[str, Any]] = field(default_factory=list)
    contacts: list[dict[str, Any]] = field(default_factory=list)
    sent_at: list[float] = field(default_factory=list)  # within the last second

    @property
    def digits(self) -> str:
        return digits(self.display_phone_number)


@dataclass(slots=True)
class Account:
    """A WhatsApp Business Account (WABA): its token, its numbers, its webhook."""

    id: str
    access_token: str
    webhook_url: str
    app_secret: str
    verify_token: str
    name: str = ""
    portfolio: str = "1"
    numbers: list[Number] = field(default_factory=list)
    templates: list[Template] = field(default_factory=list)
    subscribed: bool = True
    connected: bool = True


@dataclass(slots=True)
class Contact:
    """Somebody with a phone. The number is always known here, and told to businesses unless `hidden`."""

    wa_id: str
    name: str = ""
    username: str = ""
    picture: str = ""  # a media id; businesses never see it, the page does
    user_id: str = ""  # a BSUID of one's own choosing; else made per portfolio
    hidden: bool = False
    on_whatsapp: bool = True
    receipts: str = ""  # none, sent, delivered or read; "" goes by the knob
    wrote_at: dict[str, float] = field(default_factory=dict)  # number id: when last
    paired: dict[str, list[float]] = field(default_factory=dict)  # number id: when it sent to them
    seen: bool = False  # told of, or only written to

    def bsuid(self, portfolio: str) -> str:
        """The business-scoped user id; another for every portfolio and every number."""
        if self.user_id:
            return self.user_id
        made = int.from_bytes(hashlib.sha256(f"{portfolio}|{self.wa_id}".encode()).digest()[:8], "big")
        return f"NL.{made:020}"

    def open_for(self, number_id: str, now: float) -> bool:
        """Whether the 24-hour window is open."""
        return number_id in self.wrote_at and now - self.wrote_at[number_id] < WINDOW


@dataclass(slots=True)
class Group:
    """A group of the Groups API: made by a number, joined by people."""

    id: str
    number_id: str
    subject: str
    description: str = ""
    approval: str = "auto_approve"
    created: int = 0
    link: str = field(default_factory=lambda: "https://chat.whatsapp.com/" + secrets.token_urlsafe(16))
    participants: list[str] = field(default_factory=list)  # wa_ids
    removed: set[str] = field(default_factory=set)
    requests: dict[str, tuple[str, int]] = field(default_factory=dict)  # id: wa_id, when
    suspended: bool = False
    deleted: bool = False


@dataclass(slots=True)
class Message:
    """One message as the phones show it. `sender` is a wa_id, or "" for the business; `chat` a wa_id or a group's id."""

    id: str
    number_id: str
    chat: str
    sender: str
    at: float
    type: str
    content: dict[str, Any]
    via: str  # contact, api, app or history
    reply_to: str = ""
    status: str = ""
    error: str = ""
    forwarded: bool = False
    edited: bool = False
    revoked: bool = False
    callback: str = ""
    by_number: bool = True  # sent to a phone number, not to a user id
    category: str = "service"
    reactions: dict[str, str] = field(default_factory=dict)
    read_by: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Stored:
    """A file at WhatsApp."""

    content: bytes
    media_type: str
    filename: str
    account_id: str
    until: float

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.content).digest()


@dataclass
class World:
    """Everything there is, and what time it is there."""

    host: str
    port: int
    accounts: list[Account]
    knobs: Knobs = field(default_factory=Knobs)
    faults: Faults = field(default_factory=Faults)
    contacts: dict[str, Contact] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    messages: dict[str, Message] = field(default_factory=dict)
    talks: dict[tuple[str, str], dict[str, Message]] = field(default_factory=dict)  # number and chat: the messages by id
    media: dict[str, Stored] = field(default_factory=dict)
    sent: list[dict[str, Any]] = field(default_factory=list)  # as businesses sent them
    marked: list[dict[str, Any]] = field(default_factory=list)  # what businesses said to have read
    ahead: float = 0
    changed: Callable[[str], None] = lambda _: None  # told the chat that changed

    def now(self) -> float:
        """Seconds since 1970 on the simulated clock."""
        return time.time() + self.ahead

    def stamp(self) -> str:
        """Now, as WhatsApp writes times."""
        return str(int(self.now()))

    def numbers(self) -> Iterator[Number]:
        for account in self.accounts:
            yield from account.numbers

    def number(self, number_id: str) -> Number:
        """A number by its id. Raises GraphError."""
        for number in self.numbers():
            if number.id == number_id:
                return number
        raise missing(number_id)

    def account_of(self, number_id: str) -> Account:
        """Whose number it is. Raises GraphError."""
        for account in self.accounts:
            if any(number.id == number_id for number in account.numbers):
                return account
        raise missing(number_id)

    def account(self, account_id: str) -> Account:
        for account in self.accounts:
            if account.id == account_id:
                return account
        raise missing(account_id)

    def group(self, group_id: str) -> Group:
        if group_id not in self.groups or self.groups[group_id].deleted:
            raise GraphError(131041)
        return self.groups[group_id]

    def find(self, who: str) -> Contact | None:
        """A contact by number, by any of their BSUIDs, or by @username."""
        if not BSUID.fullmatch(who) and not who.startswith("@"):
            return self.contacts.get(digits(who))
        portfolios = {account.portfolio for account in self.accounts}
        for contact in self.contacts.values():
            if who in {contact.user_id, f"@{contact.username}"} - {"", "@"}:
                return contact
            if any(contact.bsuid(portfolio) == who for portfolio in portfolios):
                return contact
        return None

    def meet(self, who: str) -> Contact:
        """A contact by any name, made when new, with a number of their own where none is given. Raises GraphError."""
        if contact := self.find(who):
            return contact
        if BSUID.fullmatch(who):
            contact = Contact(f"3169{secrets.randbelow(10**8):08}", user_id=who, hidden=True)
        elif who.startswith("@"):
            contact = Contact(f"3169{secrets.randbelow(10**8):08}", username=who[1:], hidden=True)
        elif digits(who):
            contact = Contact(digits(who))
        else:
            raise missing(who)
        self.contacts[contact.wa_id] = contact
        return contact

    def keep(self, content: bytes, media_type: str, filename: str, account: Account, days: float) -> str:
        """Store a file for so many days; returns its id."""
        media_id = str(secrets.randbelow(10**15) + 10**15)
        self.media[media_id] = Stored(content, media_type, filename, account.id, self.now() + days * 86400)
        return media_id

    def add(self, message: Message) -> Message:
        """A message becomes part of its chat."""
        self.messages[message.id] = message
        self.talks.setdefault((message.number_id, message.chat), {})[message.id] = message
        self.changed(message.chat)
        return message

    def chat(self, number_id: str, chat: str) -> list[Message]:
        """The messages of one conversation, the oldest first."""
        return sorted(self.talks.get((number_id, chat), {}).values(), key=lambda message: message.at)

    def rename(self, old: str, new: str) -> None:
        """A contact's messages go along to their new number."""
        for message in self.messages.values():
            message.sender = new if message.sender == old else message.sender
            if message.chat == old:
                message.chat = new
                self.talks.get((message.number_id, old), {}).pop(message.id, None)
                self.talks.setdefault((message.number_id, new), {})[message.id] = message
        for group in self.groups.values():
            group.participants = [new if wa_id == old else wa_id for wa_id in group.participants]


def wamid(phone: str, *, outgoing: bool) -> str:
    """A message id of WhatsApp's own form: a phone, a direction, and twenty hexadecimal digits."""
    raw = phone.encode()
    stanza = secrets.token_hex(10).upper().encode()
    packed = b"\x1c\x18" + bytes([len(raw)]) + raw + b"\x15\x02\x00" + (b"\x11" if outgoing else b"\x12") + b"\x18\x14" + stanza
    return "wamid." + base64.b64encode(packed + b"\0").decode()
