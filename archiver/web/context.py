"""What every page needs: the opened archive, and who is asking."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from archiver.db import Pool
from archiver.export.language import Language
from archiver.ledger.files import FileStore
from archiver.ledger.sealing import Vault
from archiver.settings import Settings


@dataclass(frozen=True, slots=True)
class Archive:
    """The archive as the web application sees it."""

    settings: Settings
    pool: Pool
    vault: Vault
    files: FileStore


ARCHIVE = web.AppKey("archive", Archive)
LANGUAGE_COOKIE = "griffier_language"


def language(request: web.Request) -> Language:
    """The language asked for in the address, chosen before, or the organisation's."""
    asked = (
        request.query.get("lang") or request.cookies.get(LANGUAGE_COOKIE) or request.app[ARCHIVE].settings.organisation.language
    )
    return Language(asked)
