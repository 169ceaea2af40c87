"""The admin's pages: officials, the organisation, health, bridged numbers."""

from __future__ import annotations

from aiohttp import web


def routes() -> list[web.AbstractRouteDef]:
    """All of their routes. What has a name of its own comes before what any name fits."""
    from archiver.web.admin import health, imports, numbers, officials, organisation

    parts = (imports.routes, officials.routes, organisation.routes, numbers.routes, health.routes)
    return [route for part in parts for route in part]
