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


def language_cookie(settings: Settings) -> str:
    """The cookie that keeps the chosen language; over https bound to this host, as the session's is."""
    return "__Host-griffier_language" if public_url(settings).startswith("https:") else "griffier_language"


def language(request: web.Request) -> ReaderLanguage:
    """The language asked for in the address, chosen before, or the organisation's."""
    settings = request.app[ARCHIVE].settings
    chosen = request.cookies.get(language_cookie(settings))
    return ReaderLanguage(request.query.get("lang") or chosen or settings.organisation.language)


def public_url(settings: Settings) -> str:
    """The address at which people reach the web application, without a slash at its end."""
    return settings.web.oidc.public_url.rstrip("/") or f"http://{settings.web.host}:{settings.web.port}"
