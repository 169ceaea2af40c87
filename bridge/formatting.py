"""WhatsApp's way of writing *bold*, _italic_, ~struck~, `code`, lists and quotes, as HTML that Matrix clients show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

BLOCK = re.compile(r"```(.+?)```", re.DOTALL)
# An address is shown as it is, whatever stands in it.
VERBATIM = re.compile(r"`([^`\n]+)`|(https?://\S+)")
# A mark opens before a letter and closes after one; within a word it is a letter like any other.
MARKS = tuple(
    (re.compile(rf"(?<![\w{mark}]){re.escape(mark)}(?![\s{mark}])([^{mark}\n]*[^\s{mark}])[{mark}](?![\w{mark}])"), tag)
    for mark, tag in (("*", "strong"), ("_", "em"), ("~", "del"))
)
ITEM = re.compile(r"[-*] (?=\S)")
NUMBERED = re.compile(r"(\d{1,9})\. (?=\S)")
QUOTE = re.compile(r"> ?")


def to_html(text: str) -> str | None:
    """The text as HTML, escaped; None when nothing in it is formatted, and the plain text says it all."""
    parts = BLOCK.split(text)
    pieces = [
        f"<pre><code>{escape(part.strip(chr(10)), quote=False)}</code></pre>" if odd % 2 else _lines(part)
        for odd, part in enumerate(parts)
    ]
    html = "".join(pieces)
    return html if len(parts) > 1 or html != plain(text) else None


def plain(text: str) -> str:
    """Text as HTML, with nothing in it but line ends."""
    return escape(text, quote=False).replace("\n", "<br>")


def _lines(text: str) -> str:
    """Lines, with those that form a list or a quotation taken together."""
    groups: list[tuple[str, str, list[str]]] = []  # (tag, start, lines)
    for line in text.split("\n"):
        tag, start, rest = _kind(line)
        if groups and groups[-1][0] == tag:
            groups[-1][2].append(rest)
        else:
            groups.append((tag, start, [rest]))
    return "".join(_written(groups))


def _kind(line: str) -> tuple[str, str, str]:
    if mark := ITEM.match(line):
        return "ul", "", line[mark.end() :]
    if number := NUMBERED.match(line):
        return "ol", number[1], line[number.end() :]
    if mark := QUOTE.match(line):
        return "blockquote", "", line[mark.end() :]
    return "", "", line


def _written(groups: list[tuple[str, str, list[str]]]) -> Iterator[str]:
    before = "start"
    for tag, start, lines in groups:
        inner = [_inline(line) for line in lines]
        if not tag:
            yield ("<br>" if before == "" else "") + "<br>".join(inner)
        elif tag == "blockquote":
            yield f"<blockquote>{'<br>'.join(inner)}</blockquote>"
        else:
            numbered = f' start="{start}"' if start not in ("", "1") else ""
            yield f"<{tag}{numbered}>{''.join(f'<li>{item}</li>' for item in inner)}</{tag}>"
        before = tag


def _inline(line: str) -> str:
    pieces, end = [], 0
    for found in VERBATIM.finditer(line):
        pieces.append(_marked(line[end : found.start()]))
        pieces.append(f"<code>{escape(found[1], quote=False)}</code>" if found[1] else escape(found[2], quote=False))
        end = found.end()
    return "".join([*pieces, _marked(line[end:])])


def _marked(text: str) -> str:
    html = escape(text, quote=False)
    for mark, tag in MARKS:
        html = mark.sub(rf"<{tag}>\1</{tag}>", html)
    return html
