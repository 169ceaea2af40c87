import ast
import secrets
from datetime import UTC, datetime
from html import unescape

import pytest

from archiver.capture import media
from archiver.db import tenant_tx
from archiver.export import reasons
from archiver.export.language import Language
from archiver.web import roles
from archiver.web.acts import ACTS
from archiver.web.language import ReaderLanguage
from archiver.web.refusals import WHY
from archiver.web.roles import Role, grant
from tests import texts
from tests.unit.web.signed_in import browsing, session_of, use

WINTER, SUMMER = datetime(2026, 3, 1, 11, 5, 9, 120, tzinfo=UTC), datetime(2026, 7, 31, 22, 30, tzinfo=UTC)
HEAD = r"""# A page.
msgid ""
msgstr ""
"Language: nl\n"
"Content-Type: text/plain; charset=UTF-8\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\n"

"""
GOOD = """msgid "%(count)s room"
msgid_plural "%(count)s rooms"
msgstr[0] "%(count)s gesprek"
msgstr[1] "%(count)s gesprekken"

msgid "Read <b>this</b>"
msgstr "Lees <b>dit</b>"

msgctxt "of a page"
msgid "Read"
msgstr "Lees"
"""
PAGE = """<h1>{{ _('Read <b>this</b>') }}</h1> {{ pgettext('of a page', 'Read') }}
{% trans count=n %}{{ count }} room{% pluralize %}{{ count }} rooms{% endtrans %} <b>Griffier</b>"""


def test_every_text_has_its_translation_in_one_place_and_says_the_same():
    found = texts.problems()
    assert not found, "\n\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("page", "dutch", "told"),
    [
        (PAGE, GOOD, ""),
        (PAGE + "{{ _('Wait') }}", GOOD, 'page.html:2: no Dutch yet. Add to archiver/locale/nl/page.po:\n\nmsgid "Wait"'),
        (PAGE, GOOD.replace("Lees <b>dit</b>", ""), "'Read <b>this</b>' has no Dutch yet (msgstr is empty)"),
        (PAGE, GOOD.replace('[1] "%(count)s gesprekken"', '[1] ""'), "'%(count)s room' has no Dutch yet"),
        (PAGE, GOOD.replace("%(count)s gesprekken", "%(aantal)s gesprekken"), "must have the same placeholders"),
        (PAGE, GOOD.replace("<b>dit</b>", "<i>dit</i>"), "must have the same markup"),
        (PAGE, "#, fuzzy\n" + GOOD, "is marked 'fuzzy'"),
        (PAGE, GOOD + '\nmsgid "Gone"\nmsgstr "Weg"\n', "'Gone' stands nowhere"),
        (PAGE, GOOD + '\nmsgid "Read <b>this</b>"\nmsgstr "Lees <b>dit</b>"\n', "is translated 2 times"),
        (PAGE, GOOD.replace('msgctxt "of a page"\n', ""), 'msgctxt "of a page"\nmsgid "Read"'),
        (PAGE.replace("{% pluralize %}{{ count }} rooms", ""), GOOD, "has a plural in one place only"),
        (PAGE.replace("}} rooms", "}} chats"), GOOD, "the plural of '%(count)s room' is another"),
        (PAGE.replace("Read <b>", "100% <b>"), GOOD.replace('"Read <b>', '"100% <b>'), "write %% for the per cent sign"),
        (PAGE.replace("Read <b>", "100%% <b>"), GOOD.replace("Read <b>", "100%% <b>"), ""),
        (PAGE + "<p>Bare words</p>", GOOD, "page.html:2: 'Bare words' is shown without translation"),
        (PAGE + "\n<p title='Bare'></p>", GOOD, "page.html:3: 'Bare' is shown without translation"),
        (PAGE + "{# Words {{ x }} #}<{{ 'a' if n else 'b' }} class='no words'></{{ n }}>", GOOD, ""),
        (PAGE + "{{ say('room') }}", GOOD, "say('…') has no texts any more"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_text_is_told_with_its_place(monkeypatch, tmp_path, page, dutch, told):
    for folder in ("web/templates", "locale/nl"):
        (tmp_path / "archiver" / folder).mkdir(parents=True)
    monkeypatch.setattr(texts, "PRODUCT", tmp_path / "archiver")
    monkeypatch.setattr(texts, "DUTCH", tmp_path / "archiver/locale/nl")
    (tmp_path / "archiver/web/templates/page.html").write_text(page, "utf-8")
    (tmp_path / "archiver/locale/nl/page.po").write_text(HEAD + dutch, "utf-8")
    found = texts.problems()
    assert told in "\n".join(found)
    assert bool(found) == bool(told)


def test_a_text_made_in_the_code_or_in_two_languages_is_told(monkeypatch, tmp_path):
    (tmp_path / "archiver/web").mkdir(parents=True)
    monkeypatch.setattr(texts, "PRODUCT", tmp_path / "archiver")
    code = """say.gettext(f"{name} wrote")\nraise Refused("Log eerst in. · Sign in first.")"""
    (tmp_path / "archiver/web/page.py").write_text(code, "utf-8")
    made, both = texts.made()
    assert made.startswith("archiver/web/page.py:1: a text that is made has no translation.")
    assert both.startswith("archiver/web/page.py:2: 'Log eerst in. · Sign in first.' is in two languages.")


def test_every_act_that_is_noted_has_words():
    without = [f"{where}: {act!r}" for where, act in acts() if act not in ACTS]
    assert not without, f"Add to archiver/web/acts.py, and the Dutch to the .po file of its subject: {without}"


def test_every_code_has_words():
    files = {
        media.TOO_LARGE, media.ALTERED, media.BAD_KEY, media.BAD_ADDRESS, media.GONE, media.REFUSED, media.UNREACHABLE,
        media.NO_ROOM,
    }  # fmt: skip
    assert set(reasons.FILES) == files
    assert set(roles.Role) == set(roles.NAMES)
    assert set(roles.WHY) <= set(WHY)
    without = [f"{where}: {code!r}" for where, code in refusals() if code not in WHY]
    assert not without, f"Add to archiver/web/refusals.py, and the Dutch to signing_in.po: {without}"


@pytest.mark.parametrize(
    ("code", "day", "moment", "summer"),
    [
        (
            "nl",
            "zondag 1 maart 2026",
            "zondag 1 maart 2026 12:05:09 (UTC+01:00)",
            "zaterdag 1 augustus 2026 00:30:00 (UTC+02:00)",
        ),
        ("en", "Sunday 1 March 2026", "Sunday 1 March 2026 12:05:09 (UTC+01:00)", "Saturday 1 August 2026 00:30:00 (UTC+02:00)"),
    ],
)
def test_days_and_moments_are_those_of_the_netherlands(code, day, moment, summer):
    say = Language(code)
    assert (say.day(WINTER), say.time(WINTER), say.moment(WINTER)) == (day, "12:05", moment)
    assert say.moment(SUMMER) == summer
    assert say.stamp(WINTER) == f'<time datetime="{WINTER.isoformat()}">{moment}</time>'


def test_durations_sizes_and_numbers_are_as_people_write_them():
    dutch, english = Language("nl"), Language("en")
    seconds = (7 * 86_400, 86_400, 3600, 7200, 60, 90, 1, 0)
    assert [dutch.duration(each) for each in seconds] == [
        "7 dagen", "1 dag", "1 uur", "2 uur", "1 minuut", "90 seconden", "1 seconde", "0 seconden",
    ]  # fmt: skip
    assert [english.duration(each) for each in seconds] == [
        "7 days", "1 day", "1 hour", "2 hours", "1 minute", "90 seconds", "1 second", "0 seconds",
    ]  # fmt: skip
    sizes = (1, 999, 1500, 2_000_000, 12_345_678)
    assert [dutch.size(each) for each in sizes] == ["1 byte", "999 bytes", "1,5 kB", "2,0 MB", "12,3 MB"]
    assert [english.size(each) for each in sizes] == ["1 byte", "999 bytes", "1.5 kB", "2.0 MB", "12.3 MB"]
    assert (dutch.number(1_234_567), english.number(1_234_567)) == ("1.234.567", "1,234,567")


def test_codes_are_told_in_words_and_unknown_ones_as_they_are():
    say = ReaderLanguage("nl")
    assert say.reason("withheld:m.new") == "de app van de afzender geeft de sleutel niet (m.new)"
    assert say.reason("no-key") == "de sleutel is niet ontvangen"
    assert (say.reason("bridge:new"), say.advice("bridge:new")) == ("bridge:new", "")
    assert say.advice("withheld:m.new") == "Vraag de afzender waarom, en om het bericht opnieuw te sturen."
    assert (say.gap(None), say.gap("new")) == ("het wordt nog gezocht", "de homeserver geeft het niet (new)")
    assert (say.call("m.call.hangup"), say.call("m.call.candidates")) == ("Oproep beëindigd", "Oproep")
    assert (say.cause("new"), say.delivery("failed"), say.file_problem("new")) == ("een andere oorzaak", "NIET aangekomen", "new")
    assert (say.act("sign in"), say.act("new"), say.role("admin")) == ("ingelogd", "new", "beheerder")
    assert Language("fr").code == "nl"


@pytest.mark.postgres
@pytest.mark.parametrize(
    ("code", "role", "told"),
    [
        ("nl", Role.ADMIN, "zowel 'beheerder' als 'archivaris' zijn: wie rollen toekent, leest geen gesprekken"),
        ("en", Role.ADMIN, "both 'admin' and 'records officer': who gives roles does not read conversations"),
        ("nl", Role.RECORDS_OFFICER, "heeft de rol 'archivaris' al"),
        ("en", Role.RECORDS_OFFICER, "already has the role 'records officer'"),
    ],
)
async def test_an_admin_reads_in_their_language_why_a_role_was_not_given(archive, tmp_path, code, role, told):
    person = f"100%<b>{secrets.token_hex(4)}"
    async with tenant_tx(archive.pool, 1) as tx:
        await grant(tx, 1, "beheer", person, Role.RECORDS_OFFICER)
    async with browsing(archive, tmp_path, Role.ADMIN, person="taal") as client:
        wish = {
            "person": person,
            "role": role.value,
            "form_token": use(client, await session_of(archive, Role.ADMIN, person="taal")),
        }
        answer = await client.post(f"/people/roles?lang={code}", data=wish)
        page = await answer.text()
    assert answer.status == 409
    assert told in unescape(page)
    assert "<b>" not in page


@pytest.mark.postgres
@pytest.mark.parametrize(("code", "told"), [("nl", "De datum is niet te lezen"), ("en", "The date can't be read")])
async def test_what_went_wrong_is_told_in_the_language_of_the_reader(archive, tmp_path, code, told):
    async with browsing(archive, tmp_path, Role.AUDITOR) as client:
        answer = await client.get("/audit.csv", params={"from": "gisteren", "lang": code})
        assert answer.status == 400
        assert told in unescape(await answer.text())


def acts() -> list[tuple[str, str]]:
    """The acts that the code notes in the audit trail, with where."""
    return [
        (where, call.args[3].value)
        for where, call in calls("note")
        if len(call.args) > 3 and isinstance(call.args[3], ast.Constant)
    ]


def refusals() -> list[tuple[str, str]]:
    """The codes with which the code refuses somebody, with where."""
    names = {"SignInRefused": 0, "ProviderError": 0, "ClaimsError": 0, "refuse": 1}
    return [
        (where, call.args[place].value)
        for name, place in names.items()
        for where, call in calls(name)
        if len(call.args) > place and isinstance(call.args[place], ast.Constant)
    ]


def calls(name: str) -> list[tuple[str, ast.Call]]:
    return [
        (f"{file.relative_to(texts.PRODUCT.parent)}:{node.lineno}", node)
        for file in sorted(texts.PRODUCT.glob("**/*.py"))
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call) and texts.name_of(node) == name
    ]
