"""What WhatsApp's errors hold for: a message, a number or the account, how long, and whether it may have the message."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from bridge.network import NetworkError, Outgoing
from bridge.network.cloud import Cloud

MESSAGE = Outgoing("31612345678", "text", "dag", key="$1")


async def refused(status: int, code: int, headers: dict[str, str]) -> NetworkError:
    """The error of a message that the Graph API answers so."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"error": {"message": "x", "code": code}}, status=status, headers=headers)

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        cloud = Cloud(http, str(server.make_url("/")).rstrip("/"), "v25.0", lambda _: "token", 1000)
        with pytest.raises(NetworkError) as raised:
            await cloud.send("31", MESSAGE)
    return raised.value


@pytest.mark.parametrize(
    ("status", "code", "headers", "final", "scope", "after", "unsure"),
    [
        (400, 131047, {}, True, "message", 0, False),  # the 24 hours are over
        (429, 130429, {"Retry-After": "7"}, False, "number", 7, False),  # throughput
        (400, 131056, {}, False, "message", 0, False),  # too much to this one contact
        (503, 2, {"Retry-After": "999999"}, False, "message", 3600, True),
        (429, 130429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, False, "number", 0, False),
    ],
)
async def test_what_an_answer_of_whatsapp_holds_for(status, code, headers, final, scope, after, unsure):
    error = await refused(status, code, headers)
    assert (error.final, error.scope, error.unsure) == (final, scope, unsure)
    assert after <= error.after <= 3600  # as long as it asks for, at least


async def test_who_was_never_reached_has_nothing_and_who_hung_up_may_have_it():
    async def hang_up(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    app = web.Application()
    app.router.add_post("/{path:.*}", hang_up)
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        for url, unsure in ((f"http://127.0.0.1:{unused_port()}", False), (str(server.make_url("/")).rstrip("/"), True)):
            with pytest.raises(NetworkError) as raised:
                await Cloud(http, url, "v25.0", lambda _: "token", 1000).send("31", MESSAGE)
            assert (raised.value.scope, raised.value.unsure) == ("account", unsure)
