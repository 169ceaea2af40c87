"""What every page needs: the opened archive, and who is asking."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from archiver.db import Pool
from archiver.ledger.files import FileStore
from archiver.ledger.sealing import Vault
from archiver.settings import Settings
from archiver.web.language import ReaderLanguage


@dataclass(frozen=True, slots=True)
class Archive:
    """The archive as the web application sees it."""

    settings: Settings
    pool: Pool
    vault: Vault
    files: FileStore


ARCHIVE = web.AppKey("archive", Archive)
LANGUAGE_COOKIE = "griffier_language"


def language(request: web.Request) -> ReaderLanguage:
    """The language asked for in the address, chosen before, or the organisation's."""
    asked = (
        request.query.get("lang") or request.cookies.get(LANGUAGE_COOKIE) or request.app[ARCHIVE].settings.organisation.language
    )
    return ReaderLanguage(asked)


def public_url(settings: Settings) -> str:
    """The address at which people reach the web application, without a slash at its end."""
    return settings.web.oidc.public_url.rstrip("/") or f"http://{settings.web.host}:{settings.web.port}"
