"""The provisioning API: what an admin can do, for the web pages. /_griffier/provision/v1, JSON, with a bearer token.

Errors are application/problem+json (RFC 9457). /openapi.json describes it, made from the same models that check what comes in.
"""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

import asyncpg
from aiohttp import web
from pydantic import BaseModel, ValidationError

from bridge.network import NetworkError
from bridge.office import provisioned as shapes
from bridge.office.administration import Administration, Refusal
from bridge.office.importing import Imports
from bridge.relay.relay import column
from bridge.settings import Bridge

log = logging.getLogger(__name__)

PREFIX = "/_griffier/provision/v1"
PROBLEM = "application/problem+json"

Work = Callable[[web.Request, Any, str], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: its place, what goes in and what comes out."""

    method: str
    path: str
    about: str
    work: Work
    takes: type[BaseModel] | None
    gives: type[BaseModel]


class Provisioning:
    """The API's operations and how they are called."""

    def __init__(self, settings: Bridge, administration: Administration, imports: Imports) -> None:
        self._settings = settings
        self._office = administration
        self._imports = imports
        number, none = "/numbers/{number}", None
        self.operations = (
            Operation("GET", "/accounts", "The business accounts that have a token.", self._accounts, none, shapes.Accounts),
            Operation(
                "POST", "/accounts", "Add an account, or give it a new token.", self._connect, shapes.NewAccount, shapes.Found
            ),
            Operation("DELETE", "/accounts/{account}", "Forget an account.", self._forget, none, shapes.Done),
            Operation("GET", "/numbers", "The numbers that are served.", self._numbers, none, shapes.Numbers),
            Operation("POST", "/numbers", "Add a number, or give it to another.", self._assign, shapes.NewNumber, shapes.Number),
            Operation("GET", f"{number}/assignments", "Whose it was, and when.", self._assignments, none, shapes.Assignments),
            Operation("POST", f"{number}/pause", "Carry nothing over.", self._pause, none, shapes.Number),
            Operation("POST", f"{number}/resume", "Carry over again.", self._resume, none, shapes.Number),
            Operation("POST", f"{number}/test", "Ask WhatsApp about it now.", self._test, none, shapes.Probe),
            Operation("POST", f"{number}/history", "Have WhatsApp send the phone's history.", self._history, none, shapes.Done),
            Operation("GET", f"{number}/history", "How far WhatsApp is with it.", self._progress, none, shapes.History),
            Operation("DELETE", number, "Serve it no longer.", self._remove, none, shapes.Done),
            Operation("PUT", f"{number}/colleagues/{{user}}", "Let a colleague speak for it.", self._add, none, shapes.Number),
            Operation("DELETE", f"{number}/colleagues/{{user}}", "Take that back.", self._take, none, shapes.Number),
            Operation(
                "GET", "/interruptions", "What was not covered, the newest first.", self._breaks, none, shapes.Interruptions
            ),
            Operation(
                "GET", "/failed", "What could not be carried over; nothing of its content.", self._failed, none, shapes.Failures
            ),
            Operation(
                "POST",
                "/failed/retry",
                "Try it again: one, or all of WhatsApp's.",
                self._retry,
                shapes.Retry,
                shapes.Done,
            ),
            Operation("GET", "/health", "How every number is.", self._health, none, shapes.Health),
        )

    def routes(self) -> list[web.RouteDef]:
        """Where it answers."""
        routes = [web.route(each.method, PREFIX + each.path, self._called(each)) for each in self.operations]
        return [*routes, web.get(f"{PREFIX}/openapi.json", self._openapi)]

    def _called(self, operation: Operation) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handler(request: web.Request) -> web.Response:
            if not self._may(request):
                return problem(401, "The bearer token is missing or wrong.", {"WWW-Authenticate": "Bearer"})
            try:
                asked = operation.takes.model_validate_json(await request.read() or b"{}") if operation.takes else None
                by = column(request.headers.get("X-On-Behalf-Of", ""))[:100] or "provisioning"
                given = await operation.work(request, asked, by)
            except ValidationError as error:
                # Where it is wrong, never what stood there: it may have been a token.
                places = ", ".join(sorted({".".join(map(str, part["loc"])) or "the body" for part in error.errors()}))
                return problem(422, f"This can't be used: {places}.")
            except Refusal as refusal:
                return problem(refusal.status, refusal.english, dutch=refusal.dutch)
            except (asyncpg.DataError, UnicodeError):
                return problem(422, "This holds characters that can't be kept.")
            except NetworkError as error:
                return problem(502, str(error))
            return web.json_response(text=operation.gives.model_validate(given).model_dump_json(by_alias=True))

        return handler

    def _may(self, request: web.Request) -> bool:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        token = self._settings.provisioning_token.get_secret_value()
        same = hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())
        return bool(token) and scheme.casefold() == "bearer" and same

    async def _openapi(self, request: web.Request) -> web.Response:
        return web.json_response(self.openapi()) if self._may(request) else problem(401, "The bearer token is missing or wrong.")

    def openapi(self) -> dict[str, Any]:
        """The description of this API (OpenAPI 3.1)."""
        schemas: dict[str, Any] = {}

        def reference(model: type[BaseModel]) -> dict[str, Any]:
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}", by_alias=True)
            schemas.update(schema.pop("$defs", {}))
            schemas[model.__name__] = schema
            return {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}

        paths: dict[str, Any] = {}
        for each in self.operations:
            names = [part[1:-1] for part in each.path.split("/") if part.startswith("{")]
            described: dict[str, Any] = {
                "summary": each.about,
                "parameters": [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names],
                "responses": {
                    "200": {"description": "Done.", "content": reference(each.gives)},
                    "default": {
                        "description": "It could not be done; says why.",
                        "content": {PROBLEM: reference(shapes.Problem)["application/json"]},
                    },
                },
            }
            if each.takes:
                described["requestBody"] = {"required": True, "content": reference(each.takes)}
            paths.setdefault(PREFIX + each.path, {})[each.method.lower()] = described
        return {
            "openapi": "3.1.0",
            "info": {"title": "Griffier: the WhatsApp bridge's provisioning API", "version": "1"},
            "paths": paths,
            "security": [{"token": []}],
            "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        }

    # The operations.

    async def _accounts(self, request: web.Request, asked: None, by: str) -> Any:
        return {"accounts": [{"waba_id": one.waba_id, "name": one.name} for one in self._office.accounts()]}

    async def _connect(self, request: web.Request, asked: shapes.NewAccount, by: str) -> Any:
        secret = asked.app_secret.get_secret_value() if asked.app_secret else ""
        found = await self._office.connect(asked.waba_id, asked.token.get_secret_value(), secret, asked.name, by)
        return {"numbers": found}

    async def _forget(self, request: web.Request, asked: None, by: str) -> Any:
        await self._office.disconnect_account(request.match_info["account"], by)
        return {"done": 1}

    async def _numbers(self, request: web.Request, asked: None, by: str) -> Any:
        return {"numbers": [asdict(number) for number in self._office.numbers()]}

    async def _assign(self, request: web.Request, asked: shapes.NewNumber, by: str) -> Any:
        display, waba_id, label = asked.display_phone_number, asked.waba_id, asked.label
        return asdict(await self._office.assign(asked.id, asked.official, by, display=display, waba_id=waba_id, label=label))

    async def _assignments(self, request: web.Request, asked: None, by: str) -> Any:
        return {"assignments": await self._office.assignments(request.match_info["number"])}

    async def _pause(self, request: web.Request, asked: None, by: str) -> Any:
        return asdict(await self._office.pause(request.match_info["number"], by))

    async def _resume(self, request: web.Request, asked: None, by: str) -> Any:
        return asdict(await self._office.resume(request.match_info["number"], by))

    async def _test(self, request: web.Request, asked: None, by: str) -> Any:
        result = await self._office.test(request.match_info["number"])
        return asdict(result) | {"good": result.good}

    async def _history(self, request: web.Request, asked: None, by: str) -> Any:
        await self._office.history(request.match_info["number"], by)
        return {"done": 1}

    async def _progress(self, request: web.Request, asked: None, by: str) -> Any:
        number = self._office.number(request.match_info["number"])
        return {"phases": [asdict(phase) for phase in await self._imports.of(number.id)]}

    async def _remove(self, request: web.Request, asked: None, by: str) -> Any:
        await self._office.remove(request.match_info["number"], by)
        return {"done": 1}

    async def _add(self, request: web.Request, asked: None, by: str) -> Any:
        return asdict(await self._office.add_colleague(request.match_info["number"], request.match_info["user"], by))

    async def _take(self, request: web.Request, asked: None, by: str) -> Any:
        return asdict(await self._office.remove_colleague(request.match_info["number"], request.match_info["user"], by))

    async def _breaks(self, request: web.Request, asked: None, by: str) -> Any:
        found = await self._office.interruptions(request.query.get("number", ""))
        return {"interruptions": [asdict(one) for one in found]}

    async def _failed(self, request: web.Request, asked: None, by: str) -> Any:
        return {"failed": await self._office.failed()}

    async def _retry(self, request: web.Request, asked: shapes.Retry, by: str) -> Any:
        return {"done": await self._office.retry(asked.item)}

    async def _health(self, request: web.Request, asked: None, by: str) -> Any:
        health = await self._office.health()
        return {
            "numbers": [
                {"number": asdict(number), "probe": asdict(probe) | {"good": probe.good} if probe else None, "probed_at": at}
                for number, probe, at in health.numbers
            ],
            "interruptions": [asdict(one) for one in health.interruptions],
            "alarms": [asdict(alarm) for alarm in health.alarms],
            "waiting": health.waiting,
        }


def problem(status: int, detail: str, headers: dict[str, str] | None = None, *, dutch: str = "") -> web.Response:
    """An error for a program and the person behind it."""
    told = {"type": "about:blank", "status": status, "title": detail, "detail": dutch or detail}
    return web.Response(text=json.dumps(told), status=status, content_type=PROBLEM, headers=headers)
