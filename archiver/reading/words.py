"""The blind index (DESIGN D10): a message's words as HMAC-ed stems in a tsvector, with positions.

AND, OR, NOT and phrases work on it as on plain text: archiver.reading.query.

The database sees which messages share a word, never the word. What this gives up: searching by the beginning of a word, and
secrecy of how often a word occurs.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata

import Stemmer

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
MAX_POSITION = 16_383  # Postgres keeps no higher position
MAX_PLACES = 255  # nor more places of one lexeme
MAX_WORD = 100
MAX_KNOWN = 50_000  # words whose lexemes are remembered
STEMMERS = {"nl": Stemmer.Stemmer("dutch"), "en": Stemmer.Stemmer("english")}


class NothingToSearch(ValueError):  # noqa: N818 - it names what is the matter
    """The query holds no word that can be searched for."""


def fold(word: str) -> str:
    """A word without case, compatibility forms and accents: Élise, élise and ELISE are one word."""
    if word.isascii():
        return word.lower()[:MAX_WORD]
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", word).casefold())
    return "".join(letter for letter in plain if not unicodedata.combining(letter))[:MAX_WORD]


def words(text: str) -> list[str]:
    """The folded words of a text, in order."""
    return [folded for match in WORD.finditer(text) if (folded := fold(match.group()))]


class BlindIndex:
    """Makes lexemes with the organisation's search key."""

    def __init__(self, search_key: bytes) -> None:
        self._key = search_key
        self._known: dict[str, tuple[str, ...]] = {}
        self._written: dict[str, tuple[str, ...]] = {}  # by the word as it was written
        self._facts: dict[str, str] = {}

    def lexemes(self, word: str) -> tuple[str, ...]:
        """The blind lexemes of a folded word: its Dutch and its English stem."""
        known = self._known.get(word)
        if known is None:
            stems = sorted({stemmer.stemWord(word) for stemmer in STEMMERS.values()})
            known = tuple(self._blind(stem) for stem in stems)
            if len(self._known) > MAX_KNOWN:
                self._known.clear()
            self._known[word] = known
        return known

    def _of(self, written: str) -> tuple[str, ...]:
        """The blind lexemes of a word as it was written; none when nothing of it is left once folded."""
        known = self._written.get(written)
        if known is None:
            folded = fold(written)
            known = self.lexemes(folded) if folded else ()
            if len(self._written) > MAX_KNOWN:
                self._written.clear()
            self._written[written] = known
        return known

    def _blind(self, stem: str) -> str:
        return hmac.digest(self._key, b"stem|" + stem.encode("utf-8", "surrogatepass"), hashlib.sha256)[:8].hex()

    def fact(self, what: str) -> str:
        """The blind lexeme of something that is known of a message beside its words (archiver.reading.facts)."""
        known = self._facts.get(what)
        if known is None:
            if len(self._facts) > MAX_KNOWN:
                self._facts.clear()
            known = hmac.digest(self._key, b"fact|" + what.encode("utf-8", "surrogatepass"), hashlib.sha256)[:6].hex()
            self._facts[what] = known
        return known

    def vector(self, texts: list[str]) -> str:
        """The tsvector of a message and all its versions, as Postgres reads one."""
        places: dict[str, list[int]] = {}
        position = 0
        for text in texts:
            for word in WORD.findall(text):
                lexemes = self._of(word)
                if lexemes and position < MAX_POSITION:
                    position += 1
                for lexeme in lexemes:
                    at = places.get(lexeme)
                    if at is None:
                        places[lexeme] = [position]
                    elif len(at) < MAX_PLACES and at[-1] != position:
                        at.append(position)
            position = min(position + 2, MAX_POSITION)  # no phrase runs from one version into the next
        return " ".join([f"'{lexeme}':{','.join(map(str, at))}" for lexeme, at in places.items()])
