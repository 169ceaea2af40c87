"""What a person asks for, read: words, phrases, AND, OR, NOT and brackets, and how the blind index is asked for it. Pure.

    query   = all ( OR all )*              OF means OR
    all     = part ( AND? part )*          EN means AND; words beside each other must all occur
    part    = ( NOT | - )* ( word | "a phrase" | ( query ) )      NIET means NOT

An operator is written in capitals: "of" and "not" are words. What is no word and no operator (a full stop, an ampersand) says
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from archiver.reading.words import BlindIndex, NothingToSearch, words

AND, OR, NOT = frozenset({"AND", "EN"}), frozenset({"OR", "OF"}), frozenset({"NOT", "NIET"})
QUOTES = '"“”„‟«»'  # also as word processors write them
PART = re.compile(rf"\s+|(?P<bracket>[()])|(?P<quote>[{QUOTES}])|(?P<minus>-+)(?=[^\s)])|(?P<bare>[^\s(){QUOTES}]+)")
CLOSING = re.compile(f"[{QUOTES}]")
MAX_LENGTH, MAX_WORDS, MAX_DEPTH = 1000, 60, 20


class UnclearQuery(NothingToSearch):
    """A query that can't be understood: `kind` says why (the key of PROBLEMS), `at` at which character, counted from 1."""

    def __init__(self, kind: str, at: int = 1) -> None:
        super().__init__(PROBLEMS[kind].format(at=at))
        self.kind, self.at = kind, at


PROBLEMS = {
    "nothing": "There is no word to search for. Give at least one word that must occur.",
    "only-not": "What stands at position {at} only says what must not occur. Give a word that must occur beside it.",
    "open-quote": "The quotation mark at position {at} is never closed.",
    "open-bracket": "The bracket at position {at} is never closed.",
    "close-bracket": "The closing bracket at position {at} has no opening one before it.",
    "empty-bracket": "There is nothing to search for between the brackets at position {at}.",
    "dangling": "At position {at} an operator (AND, OR, NOT) lacks the word that it is about.",
    "too-long": f"The query has more than {MAX_LENGTH:,} characters.",
    "too-much": f"The query has more than {MAX_WORDS} words, or brackets more than {MAX_DEPTH} deep (position {{at}}).",
}


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words that follow each other; often one."""

    words: tuple[str, ...]
    at: int = field(compare=False, default=1)


@dataclass(frozen=True, slots=True)
class Not:
    """What must not occur."""

    part: Query
    at: int = field(compare=False, default=1)


@dataclass(frozen=True, slots=True)
class All:
    """What must all occur."""

    parts: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class Any:
    """Of which one must occur."""

    parts: tuple[Query, ...]


Query = Phrase | Not | All | Any


def read(text: str, *, alone: bool = True) -> Query:
    """A person's query. `alone`: nothing else narrows the search, so a word must occur. Raises UnclearQuery."""
    if len(text) > MAX_LENGTH:
        raise UnclearQuery("too-long")
    found = _Reader(text).whole()
    if alone and (loose := _unanchored(found)) is not None:
        raise UnclearQuery("only-not", loose)
    return found


def sought(query: Query) -> Iterator[str]:
    """The words that are to occur, for marking them."""
    if isinstance(query, Phrase):
        yield from query.words
    elif not isinstance(query, Not):
        for part in query.parts:
            yield from sought(part)


def tsquery(query: Query, index: BlindIndex) -> str:
    """The query as Postgres reads one."""
    if isinstance(query, Phrase):
        made = [_any(word, index) for word in query.words]
        return made[0] if len(made) == 1 else f"({' <-> '.join(made)})"
    if isinstance(query, Not):
        return f"!{tsquery(query.part, index)}"
    operator = " & " if isinstance(query, All) else " | "
    return f"({operator.join(tsquery(part, index) for part in query.parts)})"


def outline(query: Query, index: BlindIndex, *, only_wanted: bool = False) -> str | None:
    """A tsquery without phrases that holds wherever the query holds; None when that is everywhere.

    An index keeps no positions: what it finds for a phrase must be looked at row by row. So it is asked for the words of the
    phrase, and the rows that it gives can be counted. `only_wanted`: for who sees less than the index knows: it is not asked
    what does not occur, because what they may not see would then decide what they find.
    """
    return _outline(_without_not(query) if only_wanted else query, index, wanted=True)


def has_phrase(query: Query) -> bool:
    """Whether the order of words matters in it."""
    if isinstance(query, Phrase):
        return len(query.words) > 1
    if isinstance(query, Not):
        return has_phrase(query.part)
    return any(has_phrase(part) for part in query.parts)


def _without_not(query: Query) -> Query:
    """The query in which anything may be where something must not be: ALL of nothing."""
    if isinstance(query, Phrase):
        return query
    if isinstance(query, Not):
        return All(())
    return type(query)(tuple(_without_not(part) for part in query.parts))


def _outline(query: Query, index: BlindIndex, *, wanted: bool) -> str | None:
    if isinstance(query, Phrase):
        if not wanted:  # of a phrase that must not occur, each word may
            return f"!{_any(query.words[0], index)}" if len(query.words) == 1 else None
        return f"({' & '.join(_any(word, index) for word in query.words)})"
    if isinstance(query, Not):
        return _outline(query.part, index, wanted=not wanted)
    parts = [_outline(part, index, wanted=wanted) for part in query.parts]
    told = list(dict.fromkeys(part for part in parts if part is not None))
    if isinstance(query, All) == wanted:  # all of them hold
        return f"({' & '.join(told)})" if told else None
    return f"({' | '.join(told)})" if None not in parts else None


def _any(word: str, index: BlindIndex) -> str:
    return "(" + " | ".join(f"'{lexeme}'" for lexeme in index.lexemes(word)) + ")"


def _unanchored(query: Query) -> int | None:
    """Where a part stands that nothing need occur for; None when some word must."""
    if isinstance(query, Phrase):
        return None
    if isinstance(query, Not):
        return query.at
    found = [_unanchored(part) for part in query.parts]
    if isinstance(query, All):
        return None if None in found else found[0]
    return next((at for at in found if at is not None), None)


class _Reader:
    """Recursive descent over the parts of a text; each is (kind, its words, position)."""

    def __init__(self, text: str) -> None:
        self._parts = list(_parts(text))
        self._next = self._depth = 0
        if sum(len(said) for _, said, _ in self._parts) > MAX_WORDS:
            raise UnclearQuery("too-much", self._parts[-1][2])

    def whole(self) -> Query:
        if not any(kind == "words" for kind, _, _ in self._parts):
            raise UnclearQuery("nothing")
        found = self._any()
        if self._next < len(self._parts):
            raise UnclearQuery("close-bracket", self._parts[self._next][2])
        return found

    def _peek(self) -> str:
        return self._parts[self._next][0] if self._next < len(self._parts) else "end"

    def _take(self) -> tuple[str, tuple[str, ...], int]:
        self._next += 1
        return self._parts[self._next - 1]

    def _any(self) -> Query:
        parts = [self._all()]
        while self._peek() == "or":
            self._take()
            parts.append(self._all())
        return parts[0] if len(parts) == 1 else Any(tuple(parts))

    def _all(self) -> Query:
        parts = [self._part()]
        while self._peek() in ("and", "not", "words", "("):
            if self._peek() == "and":
                self._take()
            parts.append(self._part())
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _part(self) -> Query:
        if self._peek() == "end":
            raise UnclearQuery("dangling", self._parts[-1][2])
        kind, said, at = self._take()
        if kind == "words":
            return Phrase(said, at)
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise UnclearQuery("too-much", at)
        if kind == "not":
            found: Query = Not(self._part(), at)
        elif kind == "(":
            if self._peek() == ")":
                raise UnclearQuery("empty-bracket", at)
            found = self._any()
            if self._peek() != ")":
                raise UnclearQuery("open-bracket", at)
            self._take()
        elif self._next == 1 and kind == ")":
            raise UnclearQuery("close-bracket", at)
        else:
            raise UnclearQuery("dangling", at)
        self._depth -= 1
        return found


def _parts(text: str) -> Iterator[tuple[str, tuple[str, ...], int]]:
    place = 0
    while place < len(text):
        found = PART.match(text, place)
        if found is None:  # a minus before a space or a bracket
            place += 1
            continue
        at, place = found.start() + 1, found.end()
        if found["bracket"]:
            yield found["bracket"], (), at
        elif found["quote"]:
            closing = CLOSING.search(text, place)
            if closing is None:
                raise UnclearQuery("open-quote", at)
            if said := tuple(words(text[place : closing.start()])):
                yield "words", said, at
            place = closing.end()
        elif found["minus"]:
            yield "not", (), at
        elif bare := found["bare"]:
            kind = "or" if bare in OR else "and" if bare in AND else "not" if bare in NOT else "words"
            said = tuple(words(bare)) if kind == "words" else ()
            if said or kind != "words":
                yield kind, said, at
