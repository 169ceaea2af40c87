"""What is known of a message beside its words, as lexemes of the search index: its room, its sender, its time, what it has.

Words and facts are one index, so a word that occurs everywhere, in one room or in one month, is an intersection of two lists and
no walk past all that does not fit. Times are blocks of four sizes, so that any period is a few blocks. Like words they are blind:
made with the organisation's key, which keeps organisations apart in the index too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from archiver.reading.message import Message
from archiver.reading.words import BlindIndex

FILE, LINK, EDIT, DELETION = HAS = ("file", "link", "edit", "deletion")
UNIT = 1 << 14  # seconds in the smallest block: four and a half hours
STEP = 16  # blocks in the next larger one: three days, seven weeks, two years
SIZES = 4
LAST = (1 << 32) // UNIT - 1  # clocks that are past 2106 share one block
END = datetime(9999, 12, 31, tzinfo=UTC)
LINKED = re.compile(r"\b(?:https?|ftp)://\S|\bwww\.[\w-]+\.\w", re.IGNORECASE)
HAS_FILE = frozenset({"image", "file", "audio", "video"})


def facts(message: Message, index: BlindIndex) -> str:
    """A message's facts, as Postgres reads a tsvector."""
    record = message.record
    unit = block(record.sent_at)
    times = [_time(size, unit // STEP**size) for size in range(SIZES)]
    people = [f"sender {user}" for user in sorted(_whose(message))]
    found = [*times, f"room {record.room_id}", *people, *(f"has {what}" for what in has(message))]
    return " ".join(f"'{index.fact(each)}'" for each in found)


def has(message: Message) -> Iterator[str]:
    """What of HAS a message has, in any of its versions."""
    contents = [version.content for version in message.versions]
    if message.kind in HAS_FILE or any(
        isinstance(each.get("url"), str) or isinstance(each.get("file"), dict) for each in contents
    ):
        yield FILE
    if any(LINKED.search(text) for text in message.texts()):
        yield LINK
    if len(message.versions) > 1:
        yield EDIT
    if message.deletion is not None or message.pruned:
        yield DELETION


def wanted(index: BlindIndex, rooms: Iterable[str] | None, senders: Iterable[str] | None, what: Iterable[str]) -> list[str]:
    """Parts of a tsquery that must all hold: one of the rooms, one of the senders, each of `what`."""
    parts = [f"'{index.fact(f'has {each}')}'" for each in sorted(what)]
    for name, values in (("room", rooms), ("sender", senders)):
        if values is not None:
            parts.append(either(index.fact(f"{name} {value}") for value in sorted(values)))
    return parts


def either(lexemes: Iterable[str]) -> str:
    """A part of a tsquery of which one must hold; of none, nothing fits."""
    told = " | ".join(f"'{lexeme}'" for lexeme in lexemes)
    return f"({told})" if told else "'none'"


def block(moment: datetime) -> int:
    """The number of the smallest block that a moment is in."""
    return min(max(int(moment.timestamp()) // UNIT, 0), LAST)


def starts(number: int) -> datetime:
    """When a block begins; what comes after the last one, never."""
    return END if number > LAST else datetime.fromtimestamp(number * UNIT, UTC)


def period(index: BlindIndex, first: int, end: int) -> str:
    """A part of a tsquery: sent in the smallest blocks from `first` to before `end`; of 154 names at most."""
    found: list[str] = []
    for size in range(SIZES):
        largest = size == SIZES - 1
        while first < end and (largest or first % STEP):
            found.append(_time(size, first))
            first += 1
        while first < end and end % STEP:
            end -= 1
            found.append(_time(size, end))
        first, end = first // STEP, end // STEP
    return either(map(index.fact, found))


def _time(size: int, number: int) -> str:
    return f"time {size} {number}"


def _whose(message: Message) -> set[str]:
    """Whose message it is: its sender's, and of an official who wrote it in the network's own app also theirs."""
    official = message.source.get("official") if message.source.get("from_phone") is True else None
    return {message.record.sender, official} if isinstance(official, str) else {message.record.sender}
