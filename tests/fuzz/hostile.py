"""Hostile input: real events and pages of a homeserver, bent at random in every way that JSON allows."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parent / "corpus" / "sync.json"
DEEP = 3_000  # levels: deeper than a homeserver lets through, less deep than the archive reads

Place = tuple[Any, Any]
"""A container and the key or index of one of its values."""


def real_page() -> dict[str, Any]:
    """A `/sync` answer of a real Synapse."""
    return json.loads(CORPUS.read_text())


def real_events() -> list[dict[str, Any]]:
    """The events on it."""
    rooms = real_page()["rooms"]["join"].values()
    return [event for room in rooms for part in ("state", "timeline") for event in room[part]["events"]]


def places(value: Any, levels: int = 20) -> Iterator[Place]:
    """Every value within a value, by where it stands, so many levels down."""
    if levels and isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key], levels - 1)


def copied(value: Any) -> Any:
    """A copy, however deep the value is."""
    return json.loads(json.dumps(value))


class Hostile:
    """Bends JSON; the same seed bends it the same way."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._events = real_events()

    def event(self) -> dict[str, Any]:
        """A real event, bent."""
        event = copied(self._chance.choice(self._events))
        for _ in range(self._chance.choice((1, 1, 1, 2, 3, 6))):
            event = self.bend(event)
        return event if isinstance(event, dict) else {"content": event}

    def bent(self, value: Any, seed: int) -> Any:
        """The same change to the same value, each time for this seed."""
        self._chance.seed(seed)
        return self.bend(value)

    def bend(self, value: Any) -> Any:
        """One change somewhere in a value, or of the whole of it."""
        found = list(places(value))
        if not found or self._chance.random() < 0.01:
            return self.junk()
        # What stands at the top is as likely to be bent as all that stands within.
        near = [place for place in found if place[0] is value]
        container, key = self._chance.choice(near if near and self._chance.random() < 0.4 else found)
        self._chance.choice(self._ways)(container, key, found)
        return value

    @property
    def _ways(self) -> list[Callable[[Any, Any, list[Place]], None]]:
        return [
            self._replace,
            self._replace,
            self._remove,
            self._rename,
            self._wrap,
            self._swap,
            self._add,
            self._twist,
            self._spoil,
            self._spoil,
        ]

    def _replace(self, container: Any, key: Any, _: list[Place]) -> None:
        container[key] = self.junk()

    def _remove(self, container: Any, key: Any, _: list[Place]) -> None:
        del container[key]

    def _rename(self, container: Any, key: Any, _: list[Place]) -> None:
        if isinstance(container, dict):
            container[self.text()] = container.pop(key)

    def _wrap(self, container: Any, key: Any, _: list[Place]) -> None:
        container[key] = self._chance.choice(([container[key]], {"": container[key]}, {"body": container[key]}))

    def _swap(self, container: Any, key: Any, found: list[Place]) -> None:
        other, place = self._chance.choice(found)
        container[key] = copied(other[place])

    def _add(self, container: Any, key: Any, found: list[Place]) -> None:
        if isinstance(container, dict):
            container[self.text()] = self.junk()
        else:
            container.append(self.junk())

    def _twist(self, container: Any, key: Any, _: list[Place]) -> None:
        """A value almost as it was."""
        value = container[key]
        if isinstance(value, str) and value:
            at = self._chance.randrange(len(value))
            container[key] = value[:at] + self._chance.choice(("", "\0", "\ud800", "é", "A", " ")) + value[at + 1 :]
        elif isinstance(value, int):
            container[key] = value + self._chance.choice((-1, 1, 2**31, 2**53, 2**63, -(2**64)))
        else:
            container[key] = self.junk()

    def _spoil(self, container: Any, key: Any, found: list[Place]) -> None:
        """A text somewhere in which stands what a database or an encoder can't take."""
        texts = [(within, at) for within, at in found if isinstance(within[at], str)]
        if texts:
            within, at = self._chance.choice(texts)
            within[at] += self._chance.choice(("\0", "\ud800", " " * 300, "\U0001f4a5" * 600, "'\\\""))

    def text(self) -> str:
        """A string that somebody may not have thought of."""
        return self._chance.choice(
            (
                "", " ", "\0", "a\0b", "\ud800", "\udfff\ud800", "\ufeff", "\u202e", "!zaal:x", "@iemand:x", "@iemand",
                "\U0001f4a5" * self._chance.choice((1, 300, 3000)), "x" * self._chance.choice((256, 600, 5_000, 70_000)), "mxc://x/y",
                "mxc://", "m.room.message", "m.room.encrypted", "m.room.create", "m.room.redaction", "m.replace", "m.annotation",
                "m.thread", "content", "m.relates_to", "event_id", "type", "12", "ed25519:a", "ed25519:", "x'; DROP TABLE record",
                "".join(chr(self._chance.randrange(0x110000)) for _ in range(self._chance.randrange(12))),
            )
        )  # fmt: skip

    def junk(self) -> Any:
        """A value that somebody may not have thought of."""
        kind = self._chance.randrange(12)
        if kind < 4:
            return self.text()
        if kind < 7:
            return self._chance.choice(
                (
                    0,
                    -1,
                    1,
                    2**31,
                    2**53,
                    2**53 + 1,
                    -(2**53),
                    2**63 - 1,
                    2**63,
                    -(2**63) - 1,
                    10**30,
                    10**400,
                    253402300800000,
                    10**15,
                )
            )
        if kind < 8:
            return self._chance.choice((0.5, -0.0, 1e308, 5e-324, float("nan"), float("inf"), float("-inf"), 1764000000000.7))
        if kind < 10:
            return self._chance.choice((None, True, False, [], {}, [[]], [None], {"": {}}, [{}], {"body": None}, ["$x", {}]))
        if kind < 11:
            return {self.text(): self.junk() for _ in range(self._chance.randrange(4))}
        return self.nested(self._chance.choice((3, 30, 300, DEEP)) if self._chance.random() < 0.1 else 5)

    def nested(self, levels: int) -> Any:
        """A value within a value within a value."""
        value: Any = self._chance.choice((None, "diep", 1))
        wrap = self._chance.choice((lambda inner: [inner], lambda inner: {"a": inner}))
        for _ in range(levels):
            value = wrap(value)
        return value

    def raw(self, event: Any) -> str:
        """An event as text: now and then with a key twice, which of the two readers differ in believing."""
        text = json.dumps(event, ensure_ascii=True)
        if event and isinstance(event, dict) and self._chance.random() < 0.1:
            key = self._chance.choice(("type", "content", "sender", "room_id", "event_id", "hashes", "state_key"))
            twice = f"{json.dumps(key)}:{json.dumps(self.junk())}"
            text = f"{{{twice},{text[1:]}" if self._chance.random() < 0.5 else f"{text[:-1]},{twice}}}"
        return text

    def torn(self, raw: bytes) -> bytes:
        """Bytes that are JSON no more, mostly."""
        at = self._chance.randrange(max(1, len(raw)))
        return self._chance.choice(
            (
                raw[:at], raw[at:], raw[:at] + b"\xff\xfe" + raw[at:], raw[:at] + b"\0" + raw[at:], b"\xef\xbb\xbf" + raw,
                raw[:at] + b"9" * 5_000 + raw[at:], raw + raw, b"[" * 100_000, b"", b"null", b"[]", b'"x"', b"[" + raw + b"]",
                raw[:at] + bytes([self._chance.randrange(256)]) + raw[at + 1 :],
            )
        )  # fmt: skip
