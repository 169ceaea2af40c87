"""A message as people see it, worked out from its records: edits, deletions, reactions. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from archiver.ledger.canonical import JsonObject, column, usable
from archiver.ledger.claims import CLAIMED_SOURCE, DISAPPEARED, FILLS, SOURCE, STATUS
from archiver.ledger.record import Record, moment
from archiver.reading import origin, poll
from archiver.reading.delivery import Delivery, deliveries, outcome
from archiver.reading.poll import Ending, Vote

TEXT_KINDS = {
    "m.text": "text", "m.emote": "text", "m.notice": "notice", "m.image": "image", "m.file": "file", "m.audio": "audio",
    "m.video": "video", "m.location": "location",
}  # fmt: skip
OTHER_KINDS = {
    "m.sticker": "image", "m.room.encrypted": "unreadable", **dict.fromkeys(poll.START, "poll"),
    **dict.fromkeys(("m.call.invite", "m.call.answer", "m.call.reject", "m.call.hangup"), "call"),
}  # fmt: skip
# Sent along with messages, and no message themselves; of a call, what the devices tell each other to connect.
COMPANIONS = frozenset({"m.reaction", "m.room.redaction", "m.call.candidates", "m.call.negotiate", "m.call.select_answer",
                        "m.call.sdp_stream_metadata_changed", STATUS}) | poll.RESPONSE | poll.END  # fmt: skip
NOTICE = "nl.griffier.notice"


@dataclass(frozen=True, slots=True)
class Version:
    """What a message said from a moment on."""

    event_id: str
    sent_at: datetime
    content: JsonObject
    deleted: bool = False

    @property
    def body(self) -> str:
        """Its text; of a poll, the question and the answers."""
        body = self.content.get("body")
        return poll.text(self.content) or (body if isinstance(body, str) else "")


@dataclass(frozen=True, slots=True)
class Deletion:
    """Who deleted a message, and when."""

    by: str
    at: datetime
    reason: str | None = None
    by_timer: bool = False  # nobody deleted it: its time was up on the network that it comes from


@dataclass(frozen=True, slots=True)
class Filling:
    """When a bridge put in what it could not show at first, and why it could not."""

    event_id: str
    at: datetime
    lack: str


@dataclass(frozen=True, slots=True)
class Reaction:
    """Somebody's reaction."""

    key: str
    sender: str
    deleted: bool
    event_id: str
    sent_at: datetime


@dataclass(frozen=True, slots=True)
class Message:
    """A message and all that became of it."""

    record: Record
    kind: str
    versions: tuple[Version, ...]  # the oldest first
    deletion: Deletion | None = None
    reactions: tuple[Reaction, ...] = ()
    reply_to: str | None = None
    thread: str | None = None
    votes: tuple[Vote, ...] = ()
    poll_ended: Ending | None = None
    source: JsonObject = field(default_factory=dict)
    lack: str | None = None  # why it does not hold what was said on the network: archiver.reading.origin
    filling: Filling | None = None
    deliveries: tuple[Delivery, ...] = ()

    @property
    def outcome(self) -> Delivery | None:
        """What became of it on the network that it went to."""
        return outcome(self.deliveries)

    @property
    def unreadable(self) -> str | None:
        """Why it can't be read: for lack of a key, or since the bridge could not give it."""
        return self.record.unreadable if self.record.payload is None and self.record.unreadable else self.lack

    @property
    def seconds_to_live(self) -> int | None:
        """After how long it disappears on the network, where a timer was set."""
        return origin.seconds_to_live(self.record.content, self.source) if CLAIMED_SOURCE not in self.record.doubts else None

    @property
    def pruned(self) -> bool:
        """Deleted before it could be archived: its id is authentic and its content is not there (D7)."""
        return not self.record.content_matches and self.record.id_matches

    @property
    def current(self) -> Version | None:
        """What people see: the newest version whose edit was not deleted again."""
        return next((version for version in reversed(self.versions) if not version.deleted), None)

    @property
    def content(self) -> JsonObject:
        return self.current.content if self.current else {}

    @property
    def body(self) -> str:
        return self.current.body if self.current else ""

    @property
    def place(self) -> str | None:
        """Where it points to on the map, as a geo: address (RFC 5870)."""
        place = self.content.get("geo_uri")
        return place if isinstance(place, str) and place.startswith("geo:") else None

    @property
    def network(self) -> str:
        network = self.source.get("network")
        return column(network) if isinstance(network, str) else "matrix"

    def texts(self) -> list[str]:
        """Everything it ever said, for the index: every version, file names too."""
        found: list[str] = []
        for version in self.versions:
            for value in (version.body, version.content.get("filename")):
                if isinstance(value, str) and value and value not in found:
                    found.append(value)
        return found


def is_message(record: Record) -> bool:
    """Whether a record is a message of its own; state, reactions, deletions and edits are not."""
    return record.state_key is None and record.said_type not in COMPANIONS and record.rel_type != "m.replace"


def compose(root: Record, related: Iterable[Record]) -> Message:
    """The message of `root`, given every record that relates to it or to what relates to it, in any order."""
    others = sorted({record.event_id: record for record in related}.values(), key=order)
    deletions: dict[str, Record] = {}
    for record in others:
        if record.rel_type == "m.redaction" and record.relates_to:
            deletions.setdefault(record.relates_to, record)
    direct = [record for record in others if record.relates_to == root.event_id]
    # Where a message comes from is a bridge's to say: capture notes when somebody else says it.
    source = root.content.get(SOURCE) if CLAIMED_SOURCE not in root.doubts else None
    source = source if isinstance(source, dict) else {}
    lack = origin.lack(root.content, source) if CLAIMED_SOURCE not in root.doubts else None
    filled = _filled(root, direct, deletions) if lack else None
    reactions = []
    versions = [Version(root.event_id, root.sent_at, root.content)] if root.content or not root.unreadable else []
    if filled is not None:
        versions = [Version(root.event_id, root.sent_at, filled.content["m.new_content"])]
    for record in direct:
        if record.rel_type == "m.replace" and record.sender == root.sender and not (lack and _fills(record)):
            new = record.content.get("m.new_content")
            if isinstance(new, dict):
                versions.append(Version(record.event_id, record.sent_at, new, record.event_id in deletions))
        elif record.said_type == "m.reaction":
            key = _relation(record).get("key")
            reactions.append(
                Reaction(
                    key if isinstance(key, str) else "?",
                    record.sender,
                    record.event_id in deletions,
                    record.event_id,
                    record.sent_at,
                )
            )
    relation, thread = _relation(root), root.relates_to if root.rel_type == "m.thread" else None
    # In a thread, an answer to nobody names the message before it for apps that know no threads (specification, "Threading").
    reply = relation.get("m.in_reply_to") if not (thread and relation.get("is_falling_back") is True) else None
    reply_to = reply.get("event_id") if isinstance(reply, dict) else None
    now = next((version for version in reversed(versions) if not version.deleted), None)
    # What the bridge puts in may be that it has given up.
    remains = lack if filled is None else origin.lack(filled.content["m.new_content"], source)
    left = remains if now is not None and now.event_id == root.event_id else None
    return Message(
        record=root,
        kind="unreadable" if left == origin.NOT_DECRYPTED else _kind(root, filled),
        versions=tuple(versions),
        deletion=_deletion(root, deletions.get(root.event_id)),
        reactions=tuple(reactions),
        reply_to=reply_to if usable(reply_to) else None,
        thread=thread,
        votes=poll.votes(root.content, direct, set(deletions)),
        poll_ended=poll.ending(direct),
        source=source,
        lack=left,
        filling=Filling(filled.event_id, filled.sent_at, lack) if filled is not None and lack and not remains else None,
        deliveries=deliveries(direct),
    )


def order(record: Record) -> tuple[datetime, int, str]:
    """The order in which people see things."""
    return record.sent_at, record.depth, record.event_id


def _kind(root: Record, filled: Record | None) -> str:
    if root.unreadable and root.payload is None:
        return "unreadable"
    if root.said_type == "m.room.message":
        kind = (filled.content["m.new_content"] if filled is not None else root.content).get("msgtype")
        return TEXT_KINDS.get(kind, "other") if isinstance(kind, str) else "other"
    return OTHER_KINDS.get(root.said_type, "other")


def _fills(record: Record) -> bool:
    """Whether an edit is no person's: the bridge puts in what it could not show at first."""
    told = record.content.get(FILLS) is True and CLAIMED_SOURCE not in record.doubts
    return told and isinstance(record.content.get("m.new_content"), dict)


def _filled(root: Record, direct: list[Record], deletions: dict[str, Record]) -> Record | None:
    """The last edit by which the bridge filled its placeholder."""
    edits = [record for record in direct if record.rel_type == "m.replace" and record.sender == root.sender and _fills(record)]
    return next((record for record in reversed(edits) if record.event_id not in deletions), None)


def _relation(record: Record) -> JsonObject:
    """The relation as the sender wrote it: outside the ciphertext, where every client and server must read it, or inside."""
    for content in (record.event.get("content"), record.content):
        relation = content.get("m.relates_to") if isinstance(content, dict) else None
        if isinstance(relation, dict):
            return relation
    return {}


def _deletion(root: Record, redaction: Record | None) -> Deletion | None:
    if redaction is not None:
        reason = redaction.content.get("reason")
        by_timer = reason == DISAPPEARED and CLAIMED_SOURCE not in redaction.doubts
        return Deletion(redaction.sender, redaction.sent_at, reason if isinstance(reason, str) else None, by_timer)
    because = root.event.get("unsigned")
    told: Any = because.get("redacted_because") if isinstance(because, dict) else None
    if isinstance(told, dict) and isinstance(told.get("sender"), str):
        return Deletion(column(told["sender"]), moment(told.get("origin_server_ts")))
    return None
