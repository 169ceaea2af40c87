"""What officials do in a storm: they say things, change them, react, send files, delete, and open rooms."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
import secrets
from dataclasses import dataclass

from tests.interop.client import Official

PATIENCE = 300.0  # seconds
KINDS = {"text": 64, "edit": 10, "reaction": 10, "file": 7, "deletion": 7, "room": 2}


@dataclass(frozen=True, slots=True)
class Saying:
    """Something that the homeserver has taken in, as its sender knows it."""

    kind: str
    room: str
    event_id: str
    target: str = ""  # what is edited, reacted to or deleted
    text: str = ""  # a text, an edit's new text, a reaction's key, a file's name
    digest: str = ""  # a file's SHA-256


class Talker:
    """One official, who goes on talking whatever happens; each request is made again until it is answered."""

    def __init__(self, official: Official, room: str, archiver: str, chance: random.Random) -> None:
        self.said: list[Saying] = []
        self._official = official
        self._rooms = [room]
        self._archiver = archiver
        self._chance = chance
        self._gone: set[str] = set()

    async def talk(self, done: asyncio.Event) -> None:
        """Talk until told to stop."""
        while not done.is_set():
            [kind] = self._chance.choices(list(KINDS), list(KINDS.values()))
            if kind == "room":
                await self._open_room()
            else:
                await self._say(kind)
            await asyncio.sleep(0.04)

    async def _open_room(self) -> None:
        """A room with the archiver in it, and its first words at once. When the answer is lost, so is the room to us."""
        try:
            opened = await self._official.do("create_room", name="In de storm", invite=[self._archiver], timeout=PATIENCE)
        except AssertionError:
            return
        # A client that has not yet been told of an invitation gives no key to who was invited.
        await self._official.do("wait_member", room=opened["room"], user=self._archiver, timeout=PATIENCE)
        self._rooms.append(opened["room"])
        await self._say("text", opened["room"])

    async def _say(self, kind: str, room: str = "") -> None:
        earlier = [one for one in self.said[-30:] if one.kind in ("text", "file") and one.event_id not in self._gone]
        texts = [one for one in earlier if one.kind == "text"]
        if kind == "edit" and texts:
            await self._edit(self._chance.choice(texts))
        elif kind == "reaction" and earlier:
            await self._react(self._chance.choice(earlier))
        elif kind == "deletion" and earlier:
            await self._delete(self._chance.choice(earlier))
        elif kind == "file":
            await self._send_file(room or self._chance.choice(self._rooms[-3:]))
        else:
            text = f"{secrets.token_hex(6)} in de storm"
            await self._send("text", room or self._chance.choice(self._rooms[-3:]), {"body": text}, text=text)

    async def _edit(self, one: Saying) -> None:
        text = f"{secrets.token_hex(6)} veranderd"
        content = {
            "msgtype": "m.text", "body": f"* {text}", "m.new_content": {"msgtype": "m.text", "body": text},
            "m.relates_to": {"rel_type": "m.replace", "event_id": one.event_id},
        }  # fmt: skip
        await self._send("edit", one.room, {"content": content}, target=one.event_id, text=text)

    async def _react(self, one: Saying) -> None:
        key = f"👍{secrets.token_hex(3)}"
        content = {"m.relates_to": {"rel_type": "m.annotation", "event_id": one.event_id, "key": key}}
        await self._send("reaction", one.room, {"type": "m.reaction", "content": content}, target=one.event_id, text=key)

    async def _delete(self, one: Saying) -> None:
        self._gone.add(one.event_id)
        await self._send("deletion", one.room, {"redacts": one.event_id, "reason": "spijt"}, target=one.event_id)

    async def _send_file(self, room: str) -> None:
        raw, name = self._chance.randbytes(self._chance.randrange(10, 60_000)), f"{secrets.token_hex(4)}.bin"
        file = {"name": name, "mime": "application/octet-stream", "base64": base64.b64encode(raw).decode()}
        await self._send("file", room, {"file": file}, text=name, digest=hashlib.sha256(raw).hexdigest())

    async def _send(self, kind: str, room: str, what: dict, *, target: str = "", text: str = "", digest: str = "") -> None:
        answer = await self._official.do("send_surely", room=room, timeout=PATIENCE, **what)
        self.said.append(Saying(kind, room, answer["event_id"], target, text, digest))
