"""What is formatted on WhatsApp is shown so, and nothing that somebody writes becomes markup of ours."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.formatting import to_html


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("*vet*, _schuin_ en ~weg~", "<strong>vet</strong>, <em>schuin</em> en <del>weg</del>"),
        ("*_beide_*", "<strong><em>beide</em></strong>"),
        ("`code` en ```meer\ncode```", "<code>code</code> en <pre><code>meer\ncode</code></pre>"),
        ("- een\n* twee\nklaar", "<ul><li>een</li><li>twee</li></ul>klaar"),
        ("3. drie\n4. vier", '<ol start="3"><li>drie</li><li>vier</li></ol>'),
        ("> zei hij\nja", "<blockquote>zei hij</blockquote>ja"),
        ("*<b>*", "<strong>&lt;b&gt;</strong>"),
        ("https://x.nl/_a_/*b* *c*", "https://x.nl/_a_/*b* <strong>c</strong>"),
    ],
)
def test_formatting_is_shown(written, shown):
    assert to_html(written) == shown


@pytest.mark.parametrize("plain", ["gewoon", "2 * 3 * 4", "a*b*c", "snake_case_naam", "*los", "*niet\nover*", "1 < 2 & 3", "~~"])
def test_what_is_not_formatted_stays_plain(plain):
    assert to_html(plain) is None


class Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.seen = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.seen += data


@given(st.text(alphabet="ab <>&\"'*_~`->1.\n", max_size=60))
def test_every_letter_is_still_there_and_every_tag_is_ours(text):
    html = to_html(text)
    if html is None:
        return
    read = Text()
    read.feed(html)
    read.close()
    assert read.tags <= {"strong", "em", "del", "code", "pre", "ul", "ol", "li", "blockquote", "br"}
    letters = re.compile(r"[ab<&\"']")
    assert letters.findall(read.seen) == letters.findall(text)
