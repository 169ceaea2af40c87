"""What goes to WhatsApp is what WhatsApp takes: its forms, its sizes, its pace; and what it refuses is told in plain words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.departing.receipts import ORDER, advances
from bridge.network import Filled, Media, NotUnderstood, Outgoing
from bridge.network.cloud import Cloud, files, sending
from bridge.network.cloud.pace import PAIR_BURST, Pace
from bridge.network.cloud.refusals import CODES, error, refusal
from bridge.network.cloud.templates import in_order, read
from bridge.network.cloud.vcards import contacts

CLOUD = Cloud(None, "http://127.0.0.1:1", "v25.0", str, 1000)  # type: ignore[arg-type] - calls nobody
JPEG, PNG, WEBP = b"\xff\xd8\xff" + b"x" * 40, b"\x89PNG\r\n\x1a\n" + b"x" * 40, b"RIFF0000WEBPVP8 " + b"x" * 40
MOVING = b"RIFF0000WEBPVP8X0000\x02" + b"x" * 40
MB = 1024 * 1024


def outgoing(**more) -> Outgoing:
    return Outgoing(**({"contact": "31612345678", "kind": "text", "text": "hoi", "key": "$e"} | more))


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (outgoing(), {"type": "text", "to": "31612345678", "text": {"body": "hoi", "preview_url": False}}),
        (outgoing(text="zie https://x.nl"), {"text": {"body": "zie https://x.nl", "preview_url": True}}),
        (outgoing(contact="NL.1349"), {"recipient": "NL.1349", "recipient_type": "individual"}),
        (outgoing(contact="US.ENT.118ab"), {"recipient": "US.ENT.118ab"}),
        (outgoing(contact="Y2FwaV9ncm91cDox", group=True), {"to": "Y2FwaV9ncm91cDox", "recipient_type": "group"}),
        (outgoing(reply_to="wamid.1"), {"context": {"message_id": "wamid.1"}}),
        (outgoing(kind="reaction", text="👍", target="wamid.1"), {"reaction": {"message_id": "wamid.1", "emoji": "👍"}}),
        (outgoing(kind="reaction", text="", target="wamid.1"), {"reaction": {"message_id": "wamid.1", "emoji": ""}}),
        (outgoing(kind="place", text="", place=(52.0, 4.3)), {"location": {"latitude": 52.0, "longitude": 4.3}}),
        (
            outgoing(kind="template", template=Filled("hallo", "nl")),
            {"type": "template", "template": {"name": "hallo", "language": {"code": "nl"}}},
        ),
    ],
)
def test_each_kind_has_its_own_form(message, told):
    body = sending.body(message)
    assert {name: body[name] for name in told} == told
    assert body["biz_opaque_callback_data"] == "$e"
    assert ("to" in body) != ("recipient" in body)


@pytest.mark.parametrize("kind", ["reaction", "place", "cards"])
def test_what_groups_do_not_take_is_said(kind):
    with pytest.raises(NotUnderstood, match="groepen"):
        sending.body(outgoing(kind=kind, group=True))


@pytest.mark.parametrize(
    ("media", "content", "kind"),
    [
        (Media("image/jpeg", "a.jpg"), JPEG, "image"),
        (Media("image/jpg", "a.jpg"), JPEG, "image"),
        (Media("image/png", "a.png"), JPEG, "image"),
        (Media("application/octet-stream", "a.jpg"), JPEG, "image"),
        (Media("image/gif", "a.gif"), b"GIF89a" + b"x", "document"),
        (Media("image/heic", "a.heic"), b"x", "document"),
        (Media("image/webp", "a.webp"), WEBP, "sticker"),
        (Media("image/webp", "a.webp"), MOVING + b"x" * 400 * 1024, "sticker"),
        (Media("image/webp", "a.webp"), WEBP + b"x" * 400 * 1024, "document"),
        (Media("audio/ogg; codecs=opus", "s.ogg", voice=True), b"OggS", "audio"),
        (Media("audio/wav", "s.wav"), b"RIFF", "document"),
        (Media("video/mp4", "v.mp4"), b"x" * 15 * MB, "video"),
        (Media("application/pdf", "b.pdf"), b"%PDF-1.7", "document"),
        (Media("", "b.pdf"), b"x", "document"),
        (Media("onzin\n/../", "x"), b"x", "document"),
    ],
)
def test_a_file_goes_as_what_whatsapp_takes_it_for(media, content, kind):
    assert files.as_sent(media, content)[0] == kind


def test_every_text_is_a_text_to_whatsapp():
    assert files.as_sent(Media("text/csv", "lijst.csv"), b"a,b")[1].media_type == "text/plain"


def test_only_ogg_is_a_voice_message():
    assert files.as_sent(Media("audio/ogg", "s.ogg", voice=True), b"OggS")[1].voice
    assert not files.as_sent(Media("audio/mpeg", "s.mp3", voice=True), b"ID3")[1].voice


def test_a_file_that_is_too_large_is_refused_beforehand_with_what_to_do():
    with pytest.raises(NotUnderstood, match=r"de video is 17 MB en WhatsApp neemt ten hoogste 16 MB aan\. Maak het kleiner"):
        files.as_sent(Media("video/mp4", "v.mp4"), bytes(17 * MB))
    with pytest.raises(NotUnderstood, match=r"101 MB.*100 MB.*kleiner"):
        files.as_sent(Media("application/pdf", "b.pdf"), bytes(100 * MB + 1))
    with pytest.raises(NotUnderstood, match="leeg"):
        files.as_sent(Media("application/pdf", "b.pdf"), b"")


def test_a_long_text_goes_in_numbered_parts_of_which_the_first_answers():
    made = CLOUD.fitted(outgoing(text="woord " * 2000, reply_to="wamid.1"))
    assert [part.key for part in made] == ["$e 1/3", "$e 2/3", "$e 3/3"]
    assert [part.reply_to for part in made] == ["wamid.1", "", ""]
    assert all(len(part.text) <= 4096 for part in made)
    assert made[0].text.startswith("(1/3) ")


def test_words_that_a_file_can_not_carry_come_after_it():
    voice = outgoing(kind="media", text="luister", media=Media("audio/ogg", "s.ogg"), content=b"OggS")
    assert [(part.kind, part.text) for part in CLOUD.fitted(voice)] == [("media", ""), ("text", "luister")]
    picture = outgoing(kind="media", text="kijk", media=Media("image/jpeg", "a.jpg"), content=JPEG)
    assert [(part.kind, part.text) for part in CLOUD.fitted(picture)] == [("media", "kijk")]


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_is_told_in_two_languages_and_without_a_stop(code):
    what = CODES[code]
    assert what.dutch != what.english
    assert " · " not in what.dutch + what.english
    assert not what.text.endswith(".")


@pytest.mark.parametrize(
    ("code", "status", "final", "scope", "unsure"),
    [
        (131047, 400, True, "message", False),
        (131026, 400, True, "message", False),
        (131056, 400, False, "message", False),
        (130429, 400, False, "number", False),
        (190, 401, False, "number", False),
        (200, 403, False, "number", False),
        (80007, 400, False, "number", False),
        (131000, 500, False, "message", False),
        (0, 502, False, "message", True),
        (999999, 400, True, "message", False),
        (999999, 503, False, "message", True),
        (0, 400, True, "message", False),
    ],
)
def test_each_refusal_is_final_or_passes_and_holds_for_what_it_holds(code, status, final, scope, unsure):
    raised = error(code, status)
    assert (raised.final, raised.scope, raised.unsure) == (final, scope, unsure)
    assert raised.final or raised.after > 0
    assert refusal(code, status).text == str(raised)


def test_how_long_to_wait_is_what_whatsapp_says_or_else_what_makes_sense():
    assert error(80007, 400, 17).after == 17
    assert error(80007, 400).after == 60


@given(st.lists(st.tuples(st.sampled_from(["een", "twee"]), st.floats(0, 0.2)), max_size=200))
def test_a_number_never_goes_faster_than_it_may_and_keeps_its_order(calls):
    now = [0.0]
    pace, due = Pace(lambda _: 20.0, lambda: now[0]), []
    for contact, later in calls:
        now[0] += later
        due.append(now[0] + pace.wait("106", contact))
    assert due == sorted(due) or len({contact for contact, _ in calls}) > 1
    for start in range(len(due)):
        assert sum(due[start] <= moment < due[start] + 0.999 for moment in due) <= 20


def test_one_person_gets_a_burst_and_then_one_every_six_seconds():
    pace = Pace(lambda _: 1e9, lambda: 0.0)
    waits = [pace.wait("106", "316") for _ in range(PAIR_BURST + 2)]
    assert waits[PAIR_BURST - 1] == pytest.approx(0, abs=1e-6)
    assert waits[PAIR_BURST:] == pytest.approx([6.0, 12.0])


TEMPLATE = {
    "name": "afspraak", "language": "nl", "status": "APPROVED", "category": "UTILITY", "parameter_format": "POSITIONAL",
    "components": [
        {"type": "HEADER", "format": "TEXT", "text": "Afspraak {{1}}"},
        {"type": "BODY", "text": "Beste {{1}}, tot {{2}}. Groet, {{1}}"},
        {"type": "FOOTER", "text": "Ministerie"},
        {"type": "BUTTONS", "buttons": [{"type": "QUICK_REPLY", "text": "Ja"}, {"type": "URL", "text": "Kaart", "url": "https://x/{{1}}"}]},
    ],
}  # fmt: skip


def test_a_template_is_filled_in_in_the_order_in_which_it_is_read():
    template = read(TEMPLATE)
    assert template is not None
    filled = template.filled(["vrijdag", "Jan", "drie uur", "k1"])
    assert [component["type"] for component in filled.components] == ["header", "body", "button"]
    assert [part["text"] for part in filled.components[1]["parameters"]] == ["Jan", "drie uur"]
    assert filled.components[2] == {
        "type": "button", "sub_type": "url", "index": "1", "parameters": [{"type": "text", "text": "k1"}]
    }  # fmt: skip
    said = "*Afspraak vrijdag*\nBeste Jan, tot drie uur. Groet, Jan\n_Ministerie_\n[Ja]\n[Kaart] https://x/k1"
    assert template.rendered(["vrijdag", "Jan", "drie uur", "k1"]) == said


def test_named_variables_go_by_their_names():
    body = [{"type": "BODY", "text": "Tot {{dag}}"}]
    template = read(TEMPLATE | {"parameter_format": "NAMED", "components": body})
    assert template is not None
    parameter = {"type": "text", "parameter_name": "dag", "text": "vrijdag"}
    assert template.filled(["vrijdag"]).components == ({"type": "body", "parameters": [parameter]},)


@pytest.mark.parametrize(
    ("values", "told"),
    [([], "4 waarden en kreeg er 0"), (["a", "b", "c\nd", "e"], "nieuwe regels"), (["", "b", "c", "d"], "leeg")],
)
def test_values_that_can_not_be_are_refused_before_whatsapp_does(values, told):
    template = read(TEMPLATE)
    assert template is not None
    with pytest.raises(NotUnderstood, match=told):
        template.filled(values)


@pytest.mark.parametrize(
    "change",
    [
        {"status": "PENDING"},
        {"category": "AUTHENTICATION"},
        {"components": [{"type": "HEADER", "format": "IMAGE"}, {"type": "BODY", "text": "x"}]},
        {"components": [{"type": "BODY", "text": "x"}, {"type": "BUTTONS", "buttons": [{"type": "COPY_CODE"}]}]},
        {"components": [{"type": "BODY", "text": "x"}, {"type": "CAROUSEL"}]},
        {"components": "onzin"},
        {"name": 5},
    ],
)
def test_a_template_that_can_not_be_sent_from_a_chat_is_not_offered(change):
    assert read(TEMPLATE | change) is None


def test_dutch_templates_come_first():
    made = [
        read(TEMPLATE | {"name": name, "language": language}) for name, language in (("a", "en_US"), ("b", "de"), ("c", "nl"))
    ]
    assert [one.name for one in in_order([one for one in made if one])] == ["c", "a", "b"]


@given(st.lists(st.sampled_from(sorted(ORDER)), max_size=12))
def test_a_message_never_goes_back_from_read_to_delivered(states):
    reached: list[str] = []
    for state in states:
        if advances(reached[-1] if reached else None, state):
            reached.append(state)
    assert reached == sorted(reached, key=ORDER.__getitem__)
    assert len(set(reached)) == len(reached)
    if states:
        assert reached[-1] == max(states, key=ORDER.__getitem__)


def test_a_state_that_nobody_knows_changes_nothing():
    assert not advances(None, "warehoused")


CARD = """BEGIN:VCARD
VERSION:3.0
N:Vries;Jan;;dr.;
FN:dr. Jan Vries
ORG:Ministerie;Beleid
TEL;TYPE=CELL,VOICE:+31 6 1234
 5678
item1.EMAIL;TYPE=work:jan@rijk.example
ADR;TYPE=home:;;Straat 1\\, hoog;Den Haag;;2500 AA;NL
BDAY:1980-01-02
END:VCARD
"""


def test_a_vcard_is_a_contact_on_whatsapp():
    [card] = contacts(CARD.encode())
    assert card["name"] == {"formatted_name": "dr. Jan Vries", "last_name": "Vries", "first_name": "Jan", "prefix": "dr."}
    assert card["phones"] == [{"phone": "+31 6 12345678", "type": "CELL"}]
    assert card["emails"] == [{"email": "jan@rijk.example", "type": "WORK"}]
    assert card["addresses"] == [{"street": "Straat 1, hoog", "city": "Den Haag", "zip": "2500 AA", "country": "NL"}]
    assert (card["org"], card["birthday"]) == ({"company": "Ministerie"}, "1980-01-02")


@pytest.mark.parametrize("text", ["", "onzin", "BEGIN:VCARD\nTEL:1\nEND:VCARD\n", CARD * 300, "BEGIN:VCARD\n" * 3000])
def test_what_is_no_vcard_stays_a_file(text):
    assert contacts(text.encode()) == ()


@given(st.text(max_size=300))
def test_no_vcard_makes_it_fail(text):
    contacts(f"BEGIN:VCARD\n{text}\nEND:VCARD\n".encode("utf-8", "replace"))
