"""What a `/sync` answer says, parsed once: rooms, events, keys. Pure; whatever can't be read is handed on to be kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from archiver.ledger.canonical import HostileJson, JsonObject, usable

MAX_TOKEN = 8192  # bytes
NAMELESS = "?"
"""Where what belongs to no room is kept."""

T = TypeVar("T", JsonObject, list[Any])
Odd = tuple[str, Any]
"""(room id, what stands where events should)."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Somebody has read up to an event (specification, "Receipts")."""

    event_id: str
    user_id: str
    at: Any  # milliseconds since 1970, if the server is right
    thread: str  # the thread's root, `main`, or empty: all threads


@dataclass(frozen=True, slots=True)
class RoomPage:
    """What happened in one room."""

    room_id: str
    membership: str  # join or leave
    events: tuple[JsonObject, ...]  # state first, then the timeline, each as it came
    limited: bool
    prev_batch: str | None
    receipts: tuple[Receipt, ...] = ()

    def state(self, kind: str, state_key: str = "") -> JsonObject | None:
        """The newest state event of this type on the page."""
        found = [event for event in self.events if event.get("type") == kind and event.get("state_key") == state_key]
        return found[-1] if found else None


@dataclass(frozen=True, slots=True)
class Page:
    """One `/sync` answer."""

    next_batch: str
    rooms: tuple[RoomPage, ...] = ()
    invites: tuple[str, ...] = ()
    to_device: tuple[JsonObject, ...] = ()
    changed_devices: frozenset[str] = frozenset()
    one_time_keys: int | None = None
    needs_fallback_key: bool = False
    odd: tuple[Odd, ...] = ()  # what stood where events are expected and is none

    def successors(self) -> Iterator[tuple[str, str]]:
        """(room id, server to ask) of the rooms that a tombstone on this page points at (specification, "Room upgrades")."""
        for room in self.rooms:
            stone = room.state("m.room.tombstone")
            follow = _dict(stone.get("content")).get("replacement_room") if stone and room.membership == "join" else None
            if usable(follow) and follow.startswith("!"):
                sender = stone.get("sender") if stone else None
                yield follow, sender.partition(":")[2] if usable(sender) else ""


def _dict(value: Any) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> tuple[JsonObject, ...]:
    return tuple(part for part in value if isinstance(part, dict)) if isinstance(value, list) else ()


def parse(answer: JsonObject) -> Page:
    """Read a `/sync` answer. Raises HostileJson when it does not say how to go on."""
    next_batch = answer.get("next_batch")
    if not usable(next_batch, MAX_TOKEN):
        raise HostileJson("it has no next_batch that can be used")
    odd: list[Odd] = []
    rooms = _expect(dict, answer.get("rooms", {}), NAMELESS, odd)
    counts = answer.get("device_one_time_keys_count")
    unused = answer.get("device_unused_fallback_key_types")
    changed = _dict(answer.get("device_lists")).get("changed")
    return Page(
        next_batch=next_batch,
        rooms=tuple(_rooms(rooms, odd)),
        invites=tuple(room_id for room_id in _dict(rooms.get("invite")) if usable(room_id)),
        to_device=_objects(_dict(answer.get("to_device")).get("events")),
        changed_devices=frozenset(user for user in changed if isinstance(user, str))
        if isinstance(changed, list)
        else frozenset(),
        one_time_keys=_count(counts.get("signed_curve25519")) if isinstance(counts, dict) else None,
        needs_fallback_key=isinstance(unused, list) and "signed_curve25519" not in unused,
        odd=tuple(odd),
    )


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _rooms(rooms: JsonObject, odd: list[Odd]) -> Iterator[RoomPage]:
    for membership in ("join", "leave"):
        for room_id, value in _expect(dict, rooms.get(membership, {}), NAMELESS, odd).items():
            if not usable(room_id):
                odd.append((NAMELESS, {room_id: value}))
                continue
            room = _expect(dict, value, room_id, odd)
            state, timeline = (_expect(dict, room.get(name, {}), room_id, odd) for name in ("state", "timeline"))
            prev_batch = timeline.get("prev_batch")
            yield RoomPage(
                room_id=room_id,
                membership=membership,
                events=(*_events(room_id, state, odd), *_events(room_id, timeline, odd)),
                limited=bool(timeline.get("limited")),
                prev_batch=prev_batch if usable(prev_batch, MAX_TOKEN) else None,
                receipts=tuple(_receipts(_objects(_dict(_dict(room).get("ephemeral")).get("events")))),
            )


def _receipts(events: tuple[JsonObject, ...]) -> Iterator[Receipt]:
    """Each public receipt; private ones are nobody's business."""
    for event in events:
        for event_id, by_kind in _dict(event.get("content") if event.get("type") == "m.receipt" else None).items():
            for user_id, told in _dict(_dict(by_kind).get("m.read")).items():
                thread = _dict(told).get("thread_id")
                yield Receipt(event_id, user_id, _dict(told).get("ts"), thread if isinstance(thread, str) else "")


def _events(room_id: str, part: JsonObject, odd: list[Odd]) -> Iterator[JsonObject]:
    for event in _expect(list, part.get("events", []), room_id, odd):
        if isinstance(event, dict):
            yield event
        else:
            odd.append((room_id, event))


def _expect(kind: type[T], value: Any, room_id: str, odd: list[Odd]) -> T:
    """The value if it is of that kind; else an empty one, and the value among the odd ones."""
    if isinstance(value, kind):
        return value
    odd.append((room_id, value))
    return kind()
