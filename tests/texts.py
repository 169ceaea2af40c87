"""What lacks a translation, or has a wrong one: `make texts` lists it, and the unit tests want it to be nothing.

English texts stand in the code (`gettext`, `ngettext`, `pgettext`, `N_`) and in the templates (`_`, `trans`, `pgettext`), the
Dutch ones in archiver/locale/nl, one .po file for each subject.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po
from jinja2 import Environment

PRODUCT = Path(__file__).parents[1] / "archiver"
DUTCH = PRODUCT / "locale" / "nl"
METHODS = [("**.py", "python"), ("**/templates/**.html", "jinja2.ext:babel_extract")]
OPTIONS = {"**/templates/**.html": {"newstyle_gettext": "true", "silent": "false"}}
PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]")
MARKUP = re.compile(r"<[^>]*>")
BOTH = re.compile(r"[a-z][.!?]? · [A-Z]")
SET = re.compile(r"\{%-?\s*set\s+\w+\s*-?%\}.*?endset\s*-?%\}", re.DOTALL)
READ_ALOUD = ("alt", "aria-label", "placeholder", "title")  # attributes that people hear or see
NAMES = {"Griffier"}  # the same in every language
Key = tuple[str, str | None]  # the English text (of a plural, the form for one), and its context


def problems() -> list[str]:
    """Each thing that is wrong: where, what, and what to do about it."""
    english, dutch = extracted(), translated()
    return [
        *headers(),
        *twice(dutch),
        *lacking(english, dutch),
        *unused(english, dutch),
        *different(dutch),
        *percent(english, dutch),
        *unmarked(),
        *made(),
    ]


def extracted() -> dict[Key, Message]:
    """The English texts, with the places where they stand."""
    found = Catalog()
    for file, line, text, _, context in extract_from_dir(PRODUCT, METHODS, OPTIONS):
        found.add(text, locations=[(f"archiver/{file}", line)], context=context)
    return {_key(message): message for message in found if message.id}


def translated() -> dict[str, list[Message]]:
    """The translations of each file, in its order."""
    found = {}
    for file in sorted(DUTCH.glob("*.po")):
        # A file may have a text twice, and a catalogue only once.
        entries = re.split(r"\n\s*\n", file.read_text("utf-8"))
        read = [read_po(entry.encode().splitlines(keepends=True), locale="nl") for entry in entries[1:]]
        found[file.name] = [message for catalogue in read for message in catalogue if message.id]
    return found


def headers() -> Iterator[str]:
    wanted = {"language": "nl", "content-type": "text/plain; charset=utf-8", "plural-forms": "nplurals=2; plural=(n != 1);"}
    for file in sorted(DUTCH.glob("*.po")):
        head = file.read_text("utf-8").split("\n\n")[0]
        told = {name.lower(): value for name, value in re.findall(r'^"([\w-]+): (.*)\\n"$', head, re.MULTILINE)}
        for name, value in wanted.items():
            if told.get(name, "").lower() != value:
                yield f"{_po(file.name)}: its head must say {name}: {value}. Copy the head of general.po and its empty line."


def twice(dutch: dict[str, list[Message]]) -> Iterator[str]:
    where = defaultdict(list)
    for file, messages in dutch.items():
        for message in messages:
            where[_key(message)].append(file)
    for (text, _), files in where.items():
        if len(files) > 1:
            where_all = " and ".join(_po(file) for file in files)
            yield f"{where_all}: {text!r} is translated {len(files)} times. Keep one: in general.po when more subjects use it."


def lacking(english: dict[Key, Message], dutch: dict[str, list[Message]]) -> Iterator[str]:
    done = {_key(message): (file, message) for file, messages in dutch.items() for message in messages}
    for key, message in english.items():
        path, line = message.locations[0]
        file, told = done.get(key, (None, None))
        if told is None:
            yield f"{path}:{line}: no Dutch yet. Add to {_home(path, english, done)}:\n\n{_entry(message)}"
        elif told.fuzzy:
            yield f"{_po(file)}: {key[0]!r} is marked 'fuzzy', so nobody sees it. Correct it and remove that mark."
        elif message.pluralizable != told.pluralizable:
            yield f"{_po(file)}: {key[0]!r} has a plural in one place only. It stands in {path}:{line} as:\n\n{_entry(message)}"
        elif message.pluralizable and message.id != told.id:
            yield f"{_po(file)}: the plural of {key[0]!r} is another in {path}:{line}: {message.id[1]!r}."
        elif not all(_strings(told)):
            yield f"{_po(file)}: {key[0]!r} has no Dutch yet (msgstr is empty). It stands in {path}:{line}."


def unused(english: dict[Key, Message], dutch: dict[str, list[Message]]) -> Iterator[str]:
    for file, messages in dutch.items():
        for message in messages:
            if _key(message) not in english:
                text = _key(message)[0]
                yield f"{_po(file)}: {text!r} stands nowhere in the code or the templates. Remove it, or correct its msgid."


def different(dutch: dict[str, list[Message]]) -> Iterator[str]:
    """Placeholders and markup must be the same in each form: a text with a placeholder too many fails only when it is shown."""
    for file, messages in dutch.items():
        for message in messages:
            forms = [*(message.id if message.pluralizable else [message.id])]
            for kind, pattern in (("placeholders", PLACEHOLDER), ("markup", MARKUP)):
                wanted = sorted(pattern.findall(forms[0]))
                for form in [*forms[1:], *filter(None, _strings(message))]:
                    if sorted(pattern.findall(form)) != wanted:
                        yield f"{_po(file)}: {form!r} must have the same {kind} as {forms[0]!r}: {wanted or 'none'}."


def percent(english: dict[Key, Message], dutch: dict[str, list[Message]]) -> Iterator[str]:
    """Templates fill in every text they show, so a per cent sign of its own is written twice there."""
    for file, messages in dutch.items():
        for message in messages:
            found = english.get(_key(message))
            if found and any(path.endswith(".html") for path, _ in found.locations):
                for form in (*(message.id if message.pluralizable else [message.id]), *filter(None, _strings(message))):
                    if "%" in PLACEHOLDER.sub("", form.replace("%%", "")):
                        yield f"{_po(file)}: write %% for the per cent sign in {form!r}, here and where it is shown."


def unmarked() -> Iterator[str]:
    """Words in templates that extraction does not see."""
    for file in sorted(PRODUCT.glob("*/templates/**/*.html")):
        where, source = file.relative_to(PRODUCT.parent), file.read_text("utf-8")
        for number, line in enumerate(source.splitlines(), 1):
            if re.search(r"\bsay\(", line):
                yield f"{where}:{number}: say('…') has no texts any more. Write the English text: {{{{ _('…') }}}}."
        page = _Words()
        page.feed(bare(source))
        for number, words in page.found:
            mark = "{{ _('…') }} or {% trans %}…{% endtrans %}"
            yield f"{where}:{number}: {words!r} is shown without translation. Write {mark}."


def made() -> Iterator[str]:
    """Texts in code that extraction does not see."""
    for file in sorted(PRODUCT.glob("**/*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            where = f"{file.relative_to(PRODUCT.parent)}:{getattr(node, 'lineno', 0)}"
            if "web" in file.parts and isinstance(node, ast.Constant) and BOTH.search(str(node.value)):
                yield f"{where}: {node.value!r} is in two languages. Give the reader theirs: language(request).gettext(…)."
            asks = isinstance(node, ast.Call) and name_of(node) in {"gettext", "ngettext", "pgettext", "N_"}
            if asks and any(isinstance(argument, (ast.JoinedStr, ast.BinOp)) for argument in node.args):
                yield f"{where}: a text that is made has no translation. Write it out, with %(name)s for a part."


def bare(source: str) -> str:
    """A template without what Jinja makes, what it translates and what makes a part of a tag (`set`, macros `_…`)."""
    source = SET.sub(lambda found: "\n" * found[0].count("\n"), source)
    kept, aside, before = "", "", ("", "")
    for _, kind, text in Environment(extensions=["jinja2.ext.i18n"]).lex(source):
        if kind == "name" and (before == ("name", "macro") and text.startswith("_")):
            aside = "endmacro"
        elif kind == "name" and before[0] == "block_begin" and text in {"trans", aside}:
            aside = "endtrans" if text == "trans" else ""
        if kind == "data" and not aside:
            kept += text
        else:  # lines stay where they are, and a tag whose name is made is a tag
            kept += ("x" if kind == "variable_begin" and kept.endswith(("<", "</")) else "") + "\n" * text.count("\n")
        before = before if kind == "whitespace" else (kind, text)
    return kept


class _Words(HTMLParser):
    """The words of a page, outside what is translated."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, str]] = []
        self._skipping: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag in {"style", "script"} or told.get("translate") == "no":
            self._skipping.append(tag)
        for name in READ_ALOUD:
            self._note(told.get(name) or "")

    def handle_endtag(self, tag: str) -> None:
        if self._skipping and self._skipping[-1] == tag:
            self._skipping.pop()

    def handle_data(self, data: str) -> None:
        if not self._skipping:
            self._note(data)

    def _note(self, words: str) -> None:
        found = " ".join(word for word in words.split() if not re.search(r"[/=]", word))  # no address
        if re.search(r"[^\W\d_]{2,}", found) and found.strip(" –·:") not in NAMES:
            self.found.append((self.getpos()[0], found))


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _key(message: Message) -> Key:
    return (message.id[0] if message.pluralizable else message.id), message.context


def _strings(message: Message) -> tuple[str, ...]:
    return tuple(message.string) if message.pluralizable else (message.string,)


def _home(path: str, english: dict[Key, Message], done: dict[Key, tuple[str, Message]]) -> str:
    """The file in which most other texts of the same page are."""
    others = Counter(
        done[key][0]
        for key, message in english.items()
        if key in done and any(Path(path).parent == Path(other).parent for other, _ in message.locations)
        for other, _ in message.locations
        if other == path
    )
    return _po(others.most_common(1)[0][0]) if others else "the .po file of its subject in archiver/locale/nl"


def _po(file: str) -> str:
    return f"archiver/locale/nl/{file}"


def _entry(message: Message) -> str:
    lines = [f"msgctxt {_quoted(message.context)}"] if message.context else []
    if message.pluralizable:
        one, many = message.id
        lines += [f"msgid {_quoted(one)}", f"msgid_plural {_quoted(many)}", 'msgstr[0] "…"', 'msgstr[1] "…"']
    else:
        lines += [f"msgid {_quoted(message.id)}", 'msgstr "…"']
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return '"{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"))


if __name__ == "__main__":
    found = problems()
    print("\n".join(found) if found else "Every text has its translation.")
    sys.exit(bool(found))
