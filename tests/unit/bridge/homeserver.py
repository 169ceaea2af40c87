"""A homeserver as far as portals need one: rooms, members, state and events, without encryption, in memory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

V3 = "/_matrix/client/v3"


@dataclass
class Room:
    """A room's present state and all that was said in it."""

    state: dict[tuple[str, str], Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    maker: str = ""
    by: dict[str, str] = field(default_factory=dict)  # whose word each membership is

    def member(self, user: str, membership: str, sender: str = "") -> None:
        self.state["m.room.member", user] = {"membership": membership}
        self.by[user] = sender or user

    def said(self) -> list[str]:
        """The texts, edits taken in and deleted ones left out."""
        gone = {event["redacts"] for event in self.events if event["type"] == "m.room.redaction"}
        shown: dict[str, str] = {}
        for event in self.events:
            relation = event["content"].get("m.relates_to", {})
            if relation.get("rel_type") == "m.replace":
                shown[relation["event_id"]] = event["content"]["m.new_content"]["body"]
            elif event["type"] in ("m.room.message", "m.sticker") and event["event_id"] not in gone:
                shown[event["event_id"]] = event["content"]["body"]
        return list(shown.values())


@dataclass
class Homeserver:
    """What the bridge has made of it."""

    url: str = ""
    rooms: dict[str, Room] = field(default_factory=dict)
    profiles: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: list[bytes] = field(default_factory=list)
    txns: dict[tuple[str, str], str] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)  # of state: how, and which
    made: Callable[[], Awaitable[int]] | None = None  # called when a room was made; returns the status that is answered
    moved: Callable[[str], Awaitable[int]] | None = None  # called before somebody is invited or removed; returns the same

    async def handle(self, request: web.Request) -> web.Response:
        user, raw = request.query.get("user_id", ""), await request.read()
        if request.path.startswith("/_matrix/media"):
            self.files.append(raw)
            return web.json_response({"content_uri": f"mxc://x/{len(self.files)}"})
        body = json.loads(raw or b"{}")
        match request.path.removeprefix(V3).strip("/").split("/"):
            case ["register"]:
                return web.json_response({"user_id": body["username"]})
            case ["profile", who, key]:
                if request.method == "PUT":
                    self.profiles.setdefault(who, {}).update(body)
                return web.json_response({key: self.profiles.get(who, {}).get(key)})
            case ["joined_rooms"]:
                there = [
                    id_ for id_, room in self.rooms.items() if room.state.get(("m.room.member", user)) == {"membership": "join"}
                ]
                return web.json_response({"joined_rooms": there})
            case ["createRoom"]:
                answer = self._create(user, body)
                status = await self.made() if self.made else 200
                return answer if status == 200 else web.json_response({"errcode": "M_UNKNOWN"}, status=status)
            case ["rooms", room_id, *rest] if room_id in self.rooms:
                if rest[0] in ("invite", "kick") and self.moved and (status := await self.moved(rest[0])) != 200:
                    return web.json_response({"errcode": "M_UNKNOWN"}, status=status)
                return self._room(request, self.rooms[room_id], user, body, rest)
        return web.json_response({"errcode": "M_NOT_FOUND"}, status=404)

    def _create(self, user: str, body: dict[str, Any]) -> web.Response:
        room_id = f"!{len(self.rooms)}:x"
        room = self.rooms[room_id] = Room(maker=user)
        room.state["m.room.create", ""] = body["creation_content"]
        room.state["m.room.name", ""] = {"name": body["name"]}
        room.state["m.room.topic", ""] = {"topic": body["topic"]}
        room.state["m.room.power_levels", ""] = body.get("power_level_content_override")
        for event in body["initial_state"]:
            room.state[event["type"], event["state_key"]] = event["content"]
        room.member(user, "join")
        for other in body["invite"]:
            room.member(other, "invite")
        return web.json_response({"room_id": room_id})

    def _room(self, request: web.Request, room: Room, user: str, body: dict[str, Any], rest: list[str]) -> web.Response:
        match rest:
            case ["members"]:
                found = [
                    {"state_key": key, "sender": room.by.get(key, ""), "content": content}
                    for (kind, key), content in room.state.items()
                    if kind == "m.room.member"
                ]
                return web.json_response({"chunk": found})
            case ["join" | "leave"] if ("m.room.member", user) not in room.state:
                return web.json_response({"errcode": "M_FORBIDDEN"}, status=403)
            case ["join" | "leave" | "invite" | "kick" as move]:
                room.member(body.get("user_id", user), "leave" if move == "kick" else move, user)
            case ["state", "m.room.create"] if request.query.get("format") == "event":
                return web.json_response({"sender": room.maker, "content": room.state["m.room.create", ""]})
            case ["state", kind, *key]:
                place = kind, "/".join(key)
                self.asked.append((request.method, kind))
                if request.method == "GET":
                    there = place in room.state
                    return web.json_response(room.state.get(place, {"errcode": "M_NOT_FOUND"}), status=200 if there else 404)
                room.state[place] = body
            case ["event", event_id]:
                return web.json_response(next(event for event in room.events if event["event_id"] == event_id))
            case ["send" | "redact" as how, what, txn]:
                event = {"type": what} if how == "send" else {"type": "m.room.redaction", "redacts": what}
                return self._say(request, room, user, {**event, "content": body}, txn)
        return web.json_response({})

    def _say(self, request: web.Request, room: Room, user: str, event: dict[str, Any], txn: str) -> web.Response:
        if room.state.get(("m.room.member", user)) != {"membership": "join"}:
            return web.json_response({"errcode": "M_FORBIDDEN"}, status=403)
        if (user, txn) not in self.txns:
            event_id = self.txns[user, txn] = f"$e{len(self.txns)}"
            room.events.append({**event, "event_id": event_id, "sender": user, "ts": request.query.get("ts")})
        return web.json_response({"event_id": self.txns[user, txn]})


@asynccontextmanager
async def homeserver() -> AsyncIterator[Homeserver]:
    """A homeserver on a free port."""
    made, app = Homeserver(), web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()
