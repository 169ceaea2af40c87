"""Whose request to the API it is, by its token; and how often they may ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from aiohttp import hdrs, web

from archiver.db import tenant_tx
from archiver.web import roles
from archiver.web.api import tokens
from archiver.web.api.problem import API, Handler, answer
from archiver.web.api.tokens import PersonalToken
from archiver.web.context import ARCHIVE, Archive
from archiver.web.limit import Limit, Taken, address
from archiver.web.roles import Role
from archiver.web.sessions import digest

PER_ADDRESS = 4  # times as often as one token: colleagues share an address


@dataclass(frozen=True, slots=True)
class Limits:
    """How often a token, and an address, may ask."""

    token: Limit
    address: Limit


LIMITS = web.AppKey("api limits", Limits)


async def limits_of(app: web.Application) -> AsyncIterator[None]:
    """The counters, for as long as the application runs."""
    number = app[ARCHIVE].settings.web.api_limit
    app[LIMITS] = Limits(Limit(number), Limit(number * PER_ADDRESS))
    yield


def sent(request: web.Request) -> str | None:
    """The token that came along, whatever it is worth; None when nobody authenticates by a header."""
    told = request.headers.get(hdrs.AUTHORIZATION)
    if told is None:
        return None
    scheme, _, token = told.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def holder(archive: Archive, token: str) -> tuple[PersonalToken | None, frozenset[Role], str | None]:
    """The live token, with the roles and the Matrix id that its owner has now."""
    async with tenant_tx(archive.pool, archive.vault.org) as tx:
        found = await tokens.find(tx, archive.vault.org, token)
        if found is None:
            return None, frozenset(), None
        given = await roles.assigned(tx, archive.vault.org, found.person)
    # What the identity provider said holds for some time only: who has left does not sign in again.
    fresh = found.claimed_at > datetime.now(UTC) - timedelta(days=archive.settings.web.token_claims)
    held = frozenset({*(map(Role, found.roles) if fresh else ()), *(Role(change.role) for change in given)})
    matrix_id = next((change.matrix_id for change in given if change.matrix_id), found.matrix_id if fresh else None)
    return found, held, matrix_id


@web.middleware
async def hold_back(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Not more requests to the API than there may be, and on each answer how many are left."""
    if not request.path.startswith(API):
        return await handler(request)
    limits, settings = request.app[LIMITS], request.app[ARCHIVE].settings.web
    token = sent(request)
    tried = [("address", limits.address, limits.address.take(address(request, settings.proxies)))]
    if token and tokens.well_formed(token):
        tried.append(("token", limits.token, limits.token.take(digest(token).hex())))
    name, limit, taken = min(tried, key=lambda each: (each[2].allowed, each[2].left))
    response = await handler(request) if taken.allowed else answer(request, "too-many")
    if not response.prepared:
        _tell(response, name, limit, taken)
    return response


def _tell(response: web.StreamResponse, name: str, limit: Limit, taken: Taken) -> None:
    """The fields of draft-ietf-httpapi-ratelimit-headers-10."""
    response.headers["RateLimit-Policy"] = f'"{name}";q={limit.number};w=60'
    response.headers["RateLimit"] = f'"{name}";r={taken.left};t={taken.wait}'
    if not taken.allowed:
        response.headers["Retry-After"] = str(taken.wait)
