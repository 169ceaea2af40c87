"""What an official writes in a Matrix client reads on WhatsApp as it was meant, and nothing of its HTML is seen there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.markup import in_parts, length, plain, to_whatsapp

TAGS = [
    "b", "strong", "i", "em", "del", "s", "code", "pre", "p", "br", "ul", "ol", "li", "blockquote", "a", "h1", "table", "tr",
    "td", "span", "script", "style", "mx-reply", "img", "hr", "details", "summary", "onbekend",
]  # fmt: skip


@pytest.mark.parametrize(
    ("html", "said"),
    [
        ("<b>vet</b> en <i>schuin</i> en <del>weg</del>", "*vet* en _schuin_ en ~weg~"),
        ("<strong>heel <em>erg</em></strong>", "*heel _erg_*"),
        ("<b> ruim </b>gezet", "*ruim* gezet"),
        ("<b>vet <b>en vet</b></b>", "*vet en vet*"),
        ("<b>over<br>regels</b>", "*over*\n*regels*"),
        ("gebruik <code>ls -l</code>", "gebruik `ls -l`"),
        ("<pre><code>a  b\n  c</code></pre>", "```\na  b\n  c\n```"),
        ("<p>een</p><p>twee</p>", "een\n\ntwee"),
        ("<ul><li>een</li><li>twee<ul><li>diep</li></ul></li></ul>", "- een\n- twee\n  - diep"),
        ('<ol start="3"><li>drie</li><li>vier</li></ol>', "3. drie\n4. vier"),
        ("<blockquote>gezegd<br>en gedaan</blockquote>antwoord", "> gezegd\n> en gedaan\nantwoord"),
        ("<h2>Kop</h2>tekst", "*Kop*\n\ntekst"),
        ('<a href="https://rijk.example/x">stuk</a>', "stuk (https://rijk.example/x)"),
        ('<a href="https://rijk.example">https://rijk.example</a>', "https://rijk.example"),
        ('<a href="javascript:alert(1)">klik</a>', "klik"),
        ('<a href="https://matrix.to/#/@jan:rijk.example">Jan</a>, kijk', "@Jan, kijk"),
        ('<a href="https://matrix.to/#/%40jan%3Arijk.example">Jan</a>', "@Jan"),
        ("<mx-reply><blockquote>oud</blockquote></mx-reply>nieuw", "nieuw"),
        ("a &lt;b&gt; &amp; c", "a <b> & c"),
        ("<script>kwaad</script>goed", "goed"),
        ("<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>", "*a* | *b*\n1 | 2"),
        ('<img src="mxc://x/y" alt=":smiley:">', ":smiley:"),
        ("half <b open", "half <b open"),
        ("een\n   regel", "een regel"),
        ("", ""),
    ],
)
def test_each_form_is_written_as_whatsapp_writes_it(html, said):
    assert to_whatsapp(html) == said


trees = st.recursive(
    st.text(alphabet=st.characters(exclude_characters="<>&", exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.builds(
        lambda tag, attribute, children, closed: f"<{tag}{attribute}>{''.join(children)}{f'</{tag}>' if closed else ''}",
        st.sampled_from(TAGS),
        st.sampled_from(["", ' href="https://x.example"', " href='javascript:x'", ' start="99999999999"', ' alt="<plaatje>"']),
        st.lists(inner, max_size=4),
        st.booleans(),
    ),
    max_leaves=20,
)


@given(trees)
def test_no_tag_is_seen_on_whatsapp_whatever_the_html(html):
    said = to_whatsapp(html).replace("<plaatje>", "")
    assert "<" not in said
    assert "href" not in said
    assert "javascript:" not in said


@given(st.text(max_size=200))
def test_no_text_whatever_makes_it_fail(html):
    plain(to_whatsapp(html)).encode()


def test_what_is_nested_without_end_costs_no_more_than_it_is_long():
    deep = "<blockquote><ul><li><b>" * 5000 + "diep"
    assert to_whatsapp(deep).endswith("*diep*")


@given(st.text(alphabet="ab \n😀`", max_size=3000), st.integers(60, 300))
def test_parts_fit_and_leave_nothing_out(text, limit):
    made = in_parts(text, limit)
    assert all(length(part) <= limit for part in made)
    if len(made) == 1:
        assert made == [text]
    else:
        whole = "".join(part.split(" ", 1)[1] for part in made)
        assert [letter for letter in whole if letter not in " \n`"] == [letter for letter in text if letter not in " \n`"]
        assert [part.split(" ")[0] for part in made] == [f"({n}/{len(made)})" for n in range(1, len(made) + 1)]


def test_a_code_block_that_is_cut_is_a_code_block_in_each_part():
    made = in_parts("```\n" + "regel\n" * 60 + "```", 150)
    assert len(made) > 2
    assert all(part.count("```") == 2 for part in made)


def test_halves_of_characters_and_control_characters_do_not_pass():
    assert plain("a\ud800b\0c\r\nd") == "a\N{REPLACEMENT CHARACTER}bc\nd"
