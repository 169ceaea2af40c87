"""A bridge played by hand: the demo's application service, speaking as its bot and its ghosts as mautrix-go does."""

from __future__ import annotations

import secrets
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from tests.conftest import RunningStack


class Bridge:
    """The bot, and any ghost."""

    def __init__(self, stack: RunningStack) -> None:
        self._stack = stack
        self.bot = f"@whatsappbot:{stack.server_name}"

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(headers={"Authorization": f"Bearer {self._stack.secret('as_token')}"})
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._http.close()

    def ghost(self, name: str) -> str:
        return f"@whatsapp_{name}:{self._stack.server_name}"

    async def call(self, method: str, what: str, user: str = "", at: int | None = None, **body: Any) -> dict[str, Any]:
        """One request in the name of an account, as of a moment (milliseconds); fails on a refusal."""
        query = {"user_id": user or self.bot} | ({"ts": str(at)} if at is not None else {})
        url = f"{self._stack.homeserver}/_matrix/client/v3/{what}"
        async with self._http.request(method, url, params=query, json=None if method == "GET" else body) as answer:
            told = await answer.json()
            assert answer.status == 200, (what, told)
            return told

    async def register(self, user: str, name: str) -> None:
        """Make a ghost and give it its name."""
        localpart = user.partition(":")[0].removeprefix("@")
        url = f"{self._stack.homeserver}/_matrix/client/v3/register"
        body = {"type": "m.login.application_service", "username": localpart, "inhibit_login": True}
        async with self._http.post(url, json=body) as answer:
            told = await answer.json()
            assert answer.status == 200 or told["errcode"] == "M_USER_IN_USE", told
        await self.rename(user, name)

    async def rename(self, user: str, name: str) -> None:
        await self.call("PUT", f"profile/{quote(user)}/displayname", user, displayname=name)

    async def send(self, room: str, content: dict[str, Any], user: str = "", at: int | None = None, **more: Any) -> str:
        """Send an event; its type is a message's unless `kind` says otherwise."""
        kind = more.pop("kind", "m.room.message")
        what = f"rooms/{quote(room)}/send/{kind}/{secrets.token_hex(8)}"
        return str((await self.call("PUT", what, user, at, **content))["event_id"])

    async def state(self, room: str, kind: str, content: dict[str, Any], user: str = "", key: str = "") -> str:
        what = f"rooms/{quote(room)}/state/{kind}/{quote(key, safe='')}"
        return str((await self.call("PUT", what, user, **content))["event_id"])

    async def redact(self, room: str, event_id: str, user: str = "", **content: Any) -> None:
        await self.call("PUT", f"rooms/{quote(room)}/redact/{quote(event_id)}/{secrets.token_hex(8)}", user, **content)

    async def portal(self, official: str, ghosts: list[str], number: str, name: str, **info: Any) -> str:
        """A portal as mautrix-whatsapp makes one: its state, then its members."""
        told = {
            "bridgebot": self.bot, "creator": self.bot,
            "protocol": {"id": "whatsapp", "displayname": "WhatsApp", "external_url": "https://whatsapp.com"},
            "channel": {"id": "31600000707@s.whatsapp.net", "displayname": name, "fi.mau.receiver": number},
            "com.beeper.room_type": "dm", "com.beeper.room_type.v2": "dm",
        } | info  # fmt: skip
        key = f"{self._stack.server_name}/whatsapp"
        state = [{"type": kind, "state_key": key, "content": told} for kind in ("m.bridge", "uk.half-shot.bridge")]
        answer = await self.call(
            "POST", "createRoom", preset="private_chat", name=name, invite=[official, *ghosts], initial_state=state,
            power_level_content_override={"users": {self.bot: 9001}, "events": {"com.beeper.disappearing_timer": 0}},
            room_version="11",
        )  # fmt: skip
        for ghost in ghosts:
            await self.call("POST", f"rooms/{quote(answer['room_id'])}/join", ghost)
        return str(answer["room_id"])
