"""Texts in Dutch and English (gettext).

The English ones stand in the code and the templates, the Dutch ones in `archiver/locale/nl`: a subject's translations are one
.po file there, and all of them together the catalogue.
"""

from __future__ import annotations

import io
from functools import cache
from gettext import GNUTranslations, NullTranslations
from importlib.resources import files

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

LANGUAGES = ("nl", "en")


def N_(text: str) -> str:  # noqa: N802 - the name by which extraction knows it
    """Mark a text that is translated where it is shown, because a code chooses it."""
    return text


@cache
def translations(code: str) -> NullTranslations:
    """The catalogue of a language: the texts as they are written, for English."""
    folder = files("archiver") / "locale" / code
    if code not in LANGUAGES or not folder.is_dir():
        return NullTranslations()
    whole = Catalog(locale=code)
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        with file.open("rb") as source:
            for message in read_po(source, locale=code):
                if message.id:
                    whole[message.id] = message
    compiled = io.BytesIO()
    write_mo(compiled, whole)
    compiled.seek(0)
    return GNUTranslations(compiled)
