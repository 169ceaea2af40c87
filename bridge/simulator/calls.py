"""What the calls of the control API have in common: who may call, what comes in, and how long an answer waits."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from bridge.simulator.errors import GraphError
from bridge.simulator.phones import NotPossibleError
from bridge.simulator.webhook import Update, Webhook
from bridge.simulator.world import Contact, Number, World

PATIENCE = 60  # seconds that a call waits for its webhook to be answered
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
Route = tuple[str, str, Answer]


class Calls:
    """A part of the control API."""

    def __init__(self, world: World, webhook: Webhook) -> None:
        self._world = world
        self._webhook = webhook

    def _number(self, request: web.Request) -> Number:
        return self._world.number(request.match_info["number"])

    def _who(self, request: web.Request) -> Contact:
        return self._world.meet(request.match_info["who"])

    def _to(self, body: dict[str, Any]) -> Number:
        """The business number that something is for: `to`, or the first there is."""
        to = str(body.get("to") or "")
        return self._world.number(to) if to else next(self._world.numbers())

    async def _after(self, update: Update | None, told: dict[str, Any], body: dict[str, Any] | None = None) -> web.Response:
        """Answer once the webhook was answered, unless `"wait": false` or silence says not to."""
        if update is not None and (body or {}).get("wait", True) and not self._world.knobs.silence:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(update.done.wait(), PATIENCE)
        return web.json_response(told)


def guarded(call: Answer) -> Answer:
    """A call for this machine only: from loopback, to a loopback name, and from no other site's page."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if not local(request):
            return web.json_response({"error": "the control API is for this machine only"}, status=403)
        try:
            return await call(request)
        except NotPossibleError as error:
            return web.json_response({"error": str(error)}, status=409)
        except GraphError as error:
            return web.json_response({"error": f"{error}: {error.details}"}, status=404)
        except ValidationError as error:
            told = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
            return web.json_response({"error": told}, status=400)
        except KeyError as error:
            return web.json_response({"error": f"{error} is missing"}, status=400)
        except (ValueError, TypeError, AttributeError) as error:
            return web.json_response({"error": str(error)}, status=400)

    return answer


def local(request: web.Request) -> bool:
    """Whether a request comes from this machine and not from a page of elsewhere."""
    try:
        near = ipaddress.ip_address(request.remote or "").is_loopback
    except ValueError:
        near = False
    origin = request.headers.get("Origin")
    named = request.url.host in ("127.0.0.1", "localhost", "::1")
    return near and named and origin in (None, f"http://{request.host}")


def set_fields(thing: Any, body: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        if name in body:
            setattr(thing, name, type(getattr(thing, name))(body[name]))


async def body_of(request: web.Request) -> dict[str, Any]:
    raw = await request.read()
    body = json.loads(raw) if raw else {}
    if not isinstance(body, dict):
        raise ValueError("the body is no JSON object")  # noqa: TRY004 - told as any wrong body
    return body
