"""What happened in a room beside its messages: who came and went, names, topics, rights; each with what it took the place of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from archiver.db import Connection
from archiver.ledger.canonical import JsonObject
from archiver.ledger.claims import BRIDGE_STATE
from archiver.ledger.record import COLUMNS, Record, unseal
from archiver.ledger.sealing import Vault
from archiver.reading.message import Deletion
from archiver.reading.origin import TIMER

# For each event: the last word before it on the same thing. What lies beside it in the graph is not before it.
BEFORE = f"""
    SELECT successor, {COLUMNS}
    FROM unnest($3::text[], $4::text[], $5::bigint[], $6::text[]) AS wanted (kind, about, below, successor),
           LATERAL (SELECT * FROM record WHERE org = $1 AND room_id = $2 AND type = kind AND state_key = about AND depth < below
                    ORDER BY depth DESC, event_id LIMIT 1) AS record
"""  # noqa: S608 - constants only
REDACTIONS = f"""
    SELECT {COLUMNS} FROM record
    WHERE org = $1 AND room_id = $2 AND relates_to = ANY($3) AND rel_type = 'm.redaction' ORDER BY depth, event_id
"""  # noqa: S608 - constants only
KINDS = {
    "m.room.create": "created", "m.room.name": "name", "m.room.topic": "topic", "m.room.avatar": "picture",
    "m.room.encryption": "encryption", "m.room.history_visibility": "visibility", "m.room.join_rules": "joining",
    "m.room.guest_access": "guests", "m.room.power_levels": "rights", "m.room.canonical_alias": "address",
    "m.room.pinned_events": "pinned", "m.room.tombstone": "replaced", TIMER: "timer",
    "io.element.functional_members": "services", **dict.fromkeys(BRIDGE_STATE, "bridge"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Happening:
    """A change in a room: who made it, whom it is about, and what it took the place of."""

    record: Record
    kind: str  # one of KINDS, of a membership (joined, left, …), or other
    before: JsonObject  # the content of what it took the place of
    deletion: Deletion | None = None
    names: dict[str, str] = field(default_factory=dict)  # accounts to what they were called at that time

    @property
    def event_id(self) -> str:
        return self.record.event_id

    @property
    def sent_at(self) -> datetime:
        return self.record.sent_at

    @property
    def after(self) -> JsonObject:
        """What it says."""
        return self.record.content

    @property
    def about(self) -> str | None:
        """Whose membership or profile it changes."""
        return self.record.state_key if self.record.type == "m.room.member" else None

    @property
    def pruned(self) -> bool:
        """Deleted before it could be archived (DESIGN D7)."""
        return not self.record.content_matches and self.record.id_matches

    def name(self, user_id: str | None) -> str:
        """What somebody was called then."""
        return self.names.get(user_id or "", user_id or "?")

    def accounts(self) -> set[str]:
        """Whose names it is told with."""
        others = {user for user, _, _ in self.levels()} if self.kind == "rights" else set()
        by = {self.deletion.by} if self.deletion else set()
        return {self.record.sender, *([self.about] if self.about else []), *others, *by}

    def levels(self) -> list[tuple[str, str, str]]:
        """(account, level before, level after) of whose rights changed; the levels as they are written."""
        was, now = _part(self.before, "users"), _part(self.after, "users")
        was_all, now_all = str(self.before.get("users_default", 0)), str(self.after.get("users_default", 0))
        return [
            (user, str(was.get(user, was_all)), str(now.get(user, now_all)))
            for user in sorted({*was, *now})
            if str(was.get(user, was_all)) != str(now.get(user, now_all))
        ]

    def rules(self) -> list[tuple[str, str, str]]:
        """(what, level before, level after) of what may be done from which level; `–` where it was not said."""

        def flat(content: JsonObject) -> dict[str, str]:
            told = {name: str(value) for name, value in content.items() if name != "users" and not isinstance(value, dict)}
            return told | {name: str(value) for name, value in _part(content, "events").items()}

        was, now = flat(self.before), flat(self.after)
        return [
            (name, was.get(name, "–"), now.get(name, "–")) for name in sorted({*was, *now}) if was.get(name) != now.get(name)
        ]  # fmt: skip


def happening(record: Record, before: Record | None, redaction: Record | None = None) -> Happening:
    """What a state event changed, given the last word before it and what deleted it. Pure."""
    was = before.content if before is not None else {}
    kind = _membership(record, was) if record.type == "m.room.member" else KINDS.get(record.type, "other")
    reason = redaction.content.get("reason") if redaction is not None else None
    deleted = Deletion(redaction.sender, redaction.sent_at, reason if isinstance(reason, str) else None) if redaction else None
    return Happening(record, kind, was, deleted)


async def happenings(tx: Connection, vault: Vault, records: Sequence[Record]) -> list[Happening]:
    """What these state events of one room changed."""
    if not records:
        return []
    room_id = records[0].room_id
    wanted = [(record.type, record.state_key, record.depth, record.event_id) for record in records]
    rows = await tx.fetch(BEFORE, vault.org, room_id, *zip(*wanted, strict=True))
    before = dict(zip((row["successor"] for row in rows), await unseal(tx, vault, rows), strict=True))
    deleted: dict[str, Record] = {}
    rows = await tx.fetch(REDACTIONS, vault.org, room_id, [record.event_id for record in records])
    for redaction in await unseal(tx, vault, rows):
        deleted.setdefault(redaction.relates_to or "", redaction)
    return [happening(each, before.get(each.event_id), deleted.get(each.event_id)) for each in records]


def accounts(found: Iterable[Happening]) -> set[str]:
    """Whose names these are told with."""
    return {user for each in found for user in each.accounts()}


def _membership(record: Record, was: JsonObject) -> str:
    """What became of a membership: as people would say it."""
    now, before, own = record.content.get("membership"), was.get("membership"), record.sender == record.state_key
    if now == "join":
        if before != "join":
            return "joined"
        changed = [name for name in ("displayname", "avatar_url") if record.content.get(name) != was.get(name)]
        return {"displayname": "renamed", "avatar_url": "pictured", "": "same"}.get(" ".join(changed), "profile")
    if now == "leave":
        if before == "ban":
            return "unbanned"
        if before == "invite":
            return "declined" if own else "uninvited"
        if before == "knock":
            return "withdrew" if own else "refused"
        return "left" if own else "removed"
    return {"invite": "invited", "ban": "banned", "knock": "knocked"}.get(now, "member") if isinstance(now, str) else "member"


def _part(content: JsonObject, name: str) -> JsonObject:
    value = content.get(name)
    return value if isinstance(value, dict) else {}
