"""All of the admin's pages. What has a name of its own comes before what any name fits."""

from __future__ import annotations

from archiver.web.admin import health, imports, numbers, officials, organisation

routes = [
    route for part in (imports.routes, officials.routes, organisation.routes, numbers.routes, health.routes) for route in part
]
