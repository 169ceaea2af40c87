"""A piece of a message around the words that were asked for, with every form of those words marked. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from archiver.reading.message import Message
from archiver.reading.words import WORD, BlindIndex, fold

AROUND = 90  # characters before the first word
SHOWN = 320  # characters in all


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text, and whether it is a word that was asked for."""

    text: str
    marked: bool


def snippet(message: Message, wanted: AbstractSet[str], index: BlindIndex) -> tuple[Piece, ...]:
    """From the newest version that holds a word; the beginning of what the message says when none does."""
    texts = message.texts()[::-1]
    lexemes = {lexeme for word in wanted for lexeme in index.lexemes(word)}
    for text in texts if lexemes else ():
        if spans := list(_spans(text, lexemes, index)):
            return tuple(_cut(text, spans))
    return tuple(_cut(texts[0], [])) if texts else ()


def plain(pieces: Iterable[Piece]) -> str:
    """The text without marks."""
    return "".join(piece.text for piece in pieces)


def _spans(text: str, lexemes: AbstractSet[str], index: BlindIndex) -> Iterable[tuple[int, int]]:
    """Where the words stand: a word matches as the index matches it, by its stems."""
    for found in WORD.finditer(text):
        folded = fold(found.group())
        if folded and not lexemes.isdisjoint(index.lexemes(folded)):
            yield found.span()


def _cut(text: str, spans: list[tuple[int, int]]) -> Iterable[Piece]:
    start = max(spans[0][0] - AROUND, 0) if spans else 0
    if start:  # not in the middle of a word, where there is a space nearby
        space = text.find(" ", start, spans[0][0])
        start = space + 1 if space >= 0 else start
    end = min(start + SHOWN, len(text))
    if end < len(text):
        space = text.rfind(" ", max(start, spans[0][1] if spans else start), end)
        end = space if space > start else end
    at = start
    if start:
        yield Piece("… ", False)
    for first, last in spans:
        if first < at or last > end:
            continue
        if first > at:
            yield Piece(text[at:first], False)
        yield Piece(text[first:last], True)
        at = last
    if at < end:
        yield Piece(text[at:end], False)
    if end < len(text):
        yield Piece(" …", False)
