"""Matrix's HTML as WhatsApp writes it: *bold*, _italic_, ~struck~, `code`, quotes, lists; and texts in parts.

Nothing of the HTML itself reaches WhatsApp, whatever it is; no text is lost (Matrix specification, m.room.message msgtypes).
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import groupby
from urllib.parse import unquote, urlsplit

MARKS = {
    "b": "*", "strong": "*", "h1": "*", "h2": "*", "h3": "*", "h4": "*", "h5": "*", "h6": "*", "th": "*", "summary": "*",
    "i": "_", "em": "_", "del": "~", "s": "~", "strike": "~", "code": "`", "tt": "`",
}  # fmt: skip
PARAGRAPHS = frozenset({"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "blockquote", "pre", "table", "hr", "details"})
BLOCKS = PARAGRAPHS | frozenset({"div", "li", "tr", "caption", "summary", "section", "article", "header", "footer", "dt", "dd"})
UNSEEN = frozenset({"script", "style", "mx-reply", "head", "title", "template"})
VOID = frozenset({"br", "hr", "img", "input", "wbr", "area", "base", "col", "embed", "link", "meta", "source", "track"})
DEPTH = 6  # of quotes and lists that is still shown
PART_OF = 24  # characters kept free in each part: its number, and a code block closed and opened again
CONTROL = dict.fromkeys([*range(9), 11, 12, *range(14, 32), 127])

Run = tuple[str, tuple[str, ...]]


def plain(text: str) -> str:
    """Text that JSON and WhatsApp take: without control characters and halves of characters."""
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("\r\n", "\n").replace("\r", "\n").translate(CONTROL)


def to_whatsapp(html: str) -> str:
    """HTML as WhatsApp's text; empty when nothing of it can be seen."""
    writer = _Writer()
    writer.feed(plain(html))
    writer.close()
    return writer.text()


def length(text: str) -> int:
    """Characters as WhatsApp counts them at the most: UTF-16 code units."""
    return len(text) + sum(letter > "\uffff" for letter in text)


def in_parts(text: str, limit: int) -> list[str]:
    """A text as one part, or as several of at most `limit` characters that say which they are: "(1/3) …"."""
    if length(text) <= limit:
        return [text]
    pieces, rest, fenced = [], text, False
    while rest:
        piece, rest = _first(rest, limit - PART_OF)
        opened = "```" if fenced else ""
        fenced = fenced != (piece.count("```") % 2 == 1)
        pieces.append(f"{opened}{piece}{'```' if fenced else ''}")
    return [f"({number}/{len(pieces)}) {piece}" for number, piece in enumerate(pieces, 1)]


def _first(text: str, limit: int) -> tuple[str, str]:
    """The first part and the rest; cut between paragraphs, lines or words where that leaves a part that is not too short."""
    end, units = 0, 0
    while end < len(text) and units + 1 + (text[end] > "\uffff") <= limit:
        units += 1 + (text[end] > "\uffff")
        end += 1
    if end == len(text):
        return text, ""
    for border in ("\n\n", "\n", " "):
        place = text.rfind(border, end // 2, end + 1)
        if place > 0:
            return text[:place], text[place + len(border) :]
    return text[:end], text[end:]


class _Writer(HTMLParser):
    """Writes lines while it is told of tags: no tree, so that depth costs nothing."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._done: list[str] = []
        self._runs: list[Run] = []
        self._marks: list[tuple[str, str]] = []  # (tag, mark) of the inline tags that are open
        self._within: list[str] = []  # quotes and lists that are open
        self._counts: list[int] = []
        self._bullet = ""
        self._unseen: list[str] = []
        self._pre = 0
        self._links: list[tuple[str, int]] = []

    def text(self) -> str:
        """What was written."""
        self._end_line()
        return re.sub(r"\n{3,}", "\n\n", "\n".join(self._done)).strip("\n")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in UNSEEN:
            self._unseen.append(tag)
        if self._unseen:
            return
        given = {name: value or "" for name, value in attrs}
        if tag in BLOCKS:
            self._block(tag)
        self._open(tag, given)
        if tag in MARKS and not (self._pre and tag == "code"):
            self._marks.append((tag, MARKS[tag]))

    def _open(self, tag: str, given: dict[str, str]) -> None:
        match tag:
            case "blockquote" | "ul" | "ol":
                self._within.append(tag)
                start = given.get("start", "")
                self._counts.append(int(start) - 1 if start.isdecimal() and len(start) < 7 else 0)
            case "li":
                self._item()
            case "br":
                self._end_line(even_if_empty=True)
            case "hr":
                self._runs.append(("———", ()))
                self._end_line()
            case "pre":
                self._pre += 1
                self._done.append(f"{self._prefix()}```")
            case "img":
                self._say(given.get("alt") or given.get("title", ""))
            case "td" | "th" if self._runs:
                self._runs.append((" | ", ()))
            case "a":
                self._links.append((given.get("href", ""), len(self._runs)))

    def handle_endtag(self, tag: str) -> None:
        if self._unseen:
            if tag == self._unseen[-1]:
                self._unseen.pop()
            return
        if tag == "a" and self._links:
            self._link(*self._links.pop())
        if tag == "p" or tag in BLOCKS:
            self._block(tag)
        if tag == "pre" and self._pre:
            self._pre -= 1
            self._done.append(f"{self._prefix()}```")
            self._done.append("")
        if tag in ("blockquote", "ul", "ol") and tag in self._within:
            place = len(self._within) - 1 - self._within[::-1].index(tag)
            del self._within[place:], self._counts[place:]
        for place in range(len(self._marks) - 1, -1, -1):
            if self._marks[place][0] == tag:
                del self._marks[place]
                break

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID and tag in UNSEEN | MARKS.keys() | {"a"}:
            self.handle_endtag(tag)

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self._say(data)

    def unknown_decl(self, data: str) -> None:
        """`<![CDATA[…`: no text in HTML."""

    def _say(self, data: str) -> None:
        if self._pre:
            first, *more = data.split("\n")
            self._runs.append((first, ()))
            for line in more:
                self._end_line(even_if_empty=True)
                self._runs.append((line, ()))
            return
        data = re.sub(r"[ \t\n\f\r]+", " ", data)
        if not self._runs or self._runs[-1][0].endswith(" "):
            data = data.removeprefix(" ")
        if data:
            self._runs.append((data, tuple(dict.fromkeys(mark for _, mark in self._marks))))

    def _link(self, href: str, start: int) -> None:
        said = "".join(text for text, _ in self._runs[start:])
        url = _address(href)
        if url and said.strip() and url not in (said.strip(), "mailto:" + said.strip(), "tel:" + said.strip()):
            self._runs.append((f" ({url})", ()))
        elif _mentions(href) and said and not said.startswith("@"):
            self._runs.insert(start, ("@", self._runs[start][1]))

    def _block(self, tag: str) -> None:
        self._end_line()
        if tag in PARAGRAPHS and not self._within and not self._pre and self._done and self._done[-1]:
            self._done.append("")

    def _item(self) -> None:
        self._end_line()
        if self._counts:
            self._counts[-1] = min(self._counts[-1] + 1, 9_999_999)
            self._bullet = f"{self._counts[-1]}. " if self._within[-1] == "ol" else "- "

    def _prefix(self) -> str:
        """What stands before a line: one `> ` however deep the quote, for WhatsApp knows no deeper; two blanks for each list."""
        lists = min(DEPTH, sum(kind != "blockquote" for kind in self._within))
        return ("> " if "blockquote" in self._within else "") + "  " * max(0, lists - 1)

    def _end_line(self, *, even_if_empty: bool = False) -> None:
        line = _marked(self._runs, 0) if not self._pre else "".join(text for text, _ in self._runs)
        line = line if self._pre else line.rstrip(" ")
        self._links = [(href, 0) for href, _ in self._links]
        self._runs = []
        if line or (even_if_empty and (self._pre or self._done)):
            self._done.append(f"{self._prefix()}{self._bullet if line else ''}{line}")
            self._bullet = "" if line else self._bullet


def _marked(runs: list[Run], depth: int) -> str:
    """Runs with their marks, each mark against a letter: WhatsApp sees no `* bold *`."""
    written = []
    for mark, group in groupby(runs, lambda run: run[1][depth] if len(run[1]) > depth else ""):
        marked = list(group)
        inner = _marked(marked, depth + 1) if mark else "".join(text for text, _ in marked)
        core = inner.strip(" ")
        if mark and core:
            start = inner.index(core)
            inner = f"{inner[:start]}{mark}{core}{mark}{inner[start + len(core) :]}"
        written.append(inner)
    return "".join(written)


def _address(href: str) -> str:
    """The address of a link that means something outside Matrix; empty otherwise."""
    if not re.match(r"(https?://|mailto:|tel:)[^\s\x00-\x20]+\Z", href, re.IGNORECASE):
        return ""
    try:
        return "" if urlsplit(href).hostname == "matrix.to" else href
    except ValueError:
        return ""


def _mentions(href: str) -> bool:
    """Whether a link names a person."""
    return unquote(href).startswith(("https://matrix.to/#/@", "matrix:u/"))
