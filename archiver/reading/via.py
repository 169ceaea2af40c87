"""By which way a message of a bridged room came or went: who wrote it, where, and what the network calls them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from archiver.ledger.canonical import JsonObject, column
from archiver.ledger.claims import BRIDGE_KEY
from archiver.ledger.record import OTHER_SENDER
from archiver.reading import origin
from archiver.reading.delivery import WENT
from archiver.reading.identity import Person
from archiver.reading.message import Message
from archiver.reading.portal import Portal, digits
from archiver.reading.rooms import Room

CONTACT = "contact"  # somebody outside wrote it
PHONE = "phone"  # the official wrote it in the network's own app
SENT = "sent"  # somebody of ours wrote it in Matrix, and the bridge says that the network took it
OFFERED = "offered"  # somebody of ours wrote it in Matrix for the network; that it went, no bridge says
OURS = frozenset({SENT, OFFERED})
# The message that a room is made for is a little older than the room.
BEFORE = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Via:
    """How a message came or went."""

    network: str
    network_name: str
    how: str  # CONTACT, PHONE, SENT, OFFERED
    author: str  # the account whose words they are: its sender, or the official in whose name the bridge says it
    person: Person | None = None  # who the contact was at that time
    history: bool = False  # brought in later: of before the conversation was in Matrix
    relayed_for: str | None = None  # the name, and no more than that, of who wrote it
    relayed_through: str | None = None  # the official whose account another's message went through

    def to_json(self) -> JsonObject:
        """For programs."""
        who = self.person
        return {
            "network": self.network, "how": self.how, "author": self.author, "history": self.history,
            "relayed_for": self.relayed_for, "relayed_through": self.relayed_through,
            "identity": {
                "name": who.name, "phone": who.phone, "lid": who.lid, "user_id": who.bsuid, "username": who.username,
            } if who else None,
        }  # fmt: skip


def via(message: Message, room: Room, who: Person) -> Via | None:
    """How a message came or went; None where it stayed in Matrix. `who` is the sender as it was known at that time."""
    record, portal = message.record, room.portal
    told = message.source.get("network")
    if isinstance(told, str):
        network = column(told)
        name = portal.network_name if portal and portal.network == network else network
        how = _told(message, portal)
    elif portal is None:
        return None
    else:
        network, name = portal.network, portal.network_name
        found = _how(message, room, portal, who)
        if found is None:
            return None
        how = found
    content = record.content
    official = message.source.get("official")
    official = official if isinstance(official, str) else portal.official if portal else None
    ghost = record.sender in room.bridges
    name_only = origin.written_by(content) if how not in OURS else None
    if name_only is None and how == PHONE:
        name_only = origin.relayed_by(content)
    author = official if how != CONTACT and ghost and official else record.sender
    through = portal.official if portal and how in OURS and portal.official != author else None
    return Via(
        network=network,
        network_name="WhatsApp" if network == "whatsapp" else name,
        how=how,
        author=author,
        person=who if how == CONTACT else None,
        history=how not in OURS and _history(message, room),
        relayed_for=name_only,
        relayed_through=through,
    )


def _told(message: Message, portal: Portal | None) -> str:
    """Which way a message went of which our bridge says where it comes from: of our number, typed on its phone or sent by us."""
    if message.source.get("from_phone") is True:
        return PHONE
    sender = message.source.get("sender")
    ours = [message.source.get("number"), portal.receiver if portal else None]
    own = isinstance(sender, str) and digits(sender) in {digits(one) for one in ours if isinstance(one, str)} - {""}
    return SENT if own else CONTACT  # a template for example: it has the network's id, so the network took it


def _how(message: Message, room: Room, portal: Portal, who: Person) -> str | None:
    """Where a message came from of which the bridge says no more than who sent it, as mautrix bridges do."""
    sender = message.record.sender
    if sender == portal.told_by:
        return None  # the bridge's own words
    if sender in room.bridges:
        return PHONE if portal.receiver and digits(who.phone) == digits(portal.receiver) else CONTACT
    # Anybody can write a bridge's mark; that the bridge said it shows from its key alone.
    puppet = origin.puppet(message.record.content) and BRIDGE_KEY in message.record.doubts
    if puppet and portal.official in (None, sender):
        return PHONE
    states = {word.state for word in message.deliveries}
    if "stayed" in states:
        return None
    if states & WENT:
        return SENT
    return OFFERED if states or sender == portal.official else None


def doubts(message: Message, way: Via | None, room: Room) -> tuple[str, ...]:
    """What speaks against believing a message: not that a bridge's key was used for what the room's official wrote elsewhere."""
    told = message.record.doubts
    if BRIDGE_KEY not in told:
        return told
    official = room.portal.official if room.portal else None
    fine = way is not None and way.how == PHONE and official == message.record.sender
    return tuple(doubt for doubt in told if doubt != BRIDGE_KEY and not (fine and doubt == OTHER_SENDER))


def _history(message: Message, room: Room) -> bool:
    if message.source.get("history") is True:
        return True
    return room.portal is not None and room.created_at is not None and message.record.sent_at < room.created_at - BEFORE
