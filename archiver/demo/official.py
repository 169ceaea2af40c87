"""A sample person's client: matrix-nio with end-to-end encryption and a cross-signed device, as a real client would be."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any, Self

from nio import AsyncClient, AsyncClientConfig

from archiver.capture import cross_signing
from archiver.capture.client import homeserver
from archiver.demo.people import Person, user_id
from archiver.demo.ports import DemoError

MSGTYPES = {"image": "m.image", "audio": "m.audio", "video": "m.video"}


class Official:
    """Somebody at the ministry, chatting."""

    def __init__(self, url: str, person: Person, password: str, store: Path) -> None:
        store.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.user_id = user_id(person)
        self._url = url
        self._password = password
        self._client = AsyncClient(url, self.user_id, store_path=str(store), config=AsyncClientConfig(encryption_enabled=True))

    async def __aenter__(self) -> Self:
        answer = await self._client.login(self._password, device_name="Voorbeeld")
        if not self._client.access_token:
            raise DemoError(f"{self.user_id} can't sign in: {answer}")
        await self._client.keys_upload()
        async with homeserver(self._url, 30) as server:
            server.token = self._client.access_token
            keys = cross_signing.CrossSigningKeys.generate()
            await cross_signing.bootstrap(
                server, self.user_id, self._client.device_id, keys, self._sign, self._password, lambda _: asyncio.sleep(0)
            )
        await self.sync()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    def _sign(self, message: bytes) -> str:
        return str(self._client.olm.account.sign(message.decode()))

    async def sync(self, wait: int = 0) -> None:
        """Take in what happened; `wait` in milliseconds."""
        await self._client.sync(wait)
        if self._client.should_query_keys:
            await self._client.keys_query()

    async def make_room(self, name: str, members: list[Official], *, encrypted: bool = True, direct: bool = False) -> str:
        """A room with these people in it; everybody has joined on return."""
        state = (
            [{"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}]
            if encrypted
            else []
        )
        invite = [member.user_id for member in members]
        made = await self._client.room_create(name=name or None, invite=invite, is_direct=direct, initial_state=state)
        room_id: str | None = getattr(made, "room_id", None)
        if room_id is None:
            raise DemoError(f"The sample room '{name}' could not be made: {made}")
        for member in members:
            await member.join(room_id)
        for member in (self, *members):
            await member.sync()
        return room_id

    async def join(self, room_id: str) -> None:
        """Accept an invitation."""
        await self._client.join(room_id)

    async def wait_for_invite(self, seconds: float = 20) -> str:
        """Accept the next invitation; returns the room. Raises DemoError when none comes."""
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            await self.sync(500)
            for room_id in list(map(str, self._client.invited_rooms)):
                await self.join(room_id)
                await self.sync(500)
                return room_id
        raise DemoError(f"{self.user_id} was not invited to the WhatsApp conversation; look in logs/bridge.log")

    async def say(self, room_id: str, body: str, *, reply_to: str = "", edit: str = "") -> str:
        """Say something; returns the event id."""
        content: dict[str, Any] = {"msgtype": "m.text", "body": body}
        if reply_to:
            content["m.relates_to"] = {"m.in_reply_to": {"event_id": reply_to}}
        if edit:
            new = {"msgtype": "m.text", "body": body}
            content |= {"body": f"* {body}", "m.new_content": new, "m.relates_to": {"rel_type": "m.replace", "event_id": edit}}
        return await self._send(room_id, "m.room.message", content)

    async def react(self, room_id: str, event_id: str, key: str) -> None:
        """React with an emoji."""
        relation = {"rel_type": "m.annotation", "event_id": event_id, "key": key}
        await self._send(room_id, "m.reaction", {"m.relates_to": relation})

    async def delete(self, room_id: str, event_id: str, reason: str = "") -> None:
        """Delete a message."""
        await self._client.room_redact(room_id, event_id, reason or None)

    async def share(self, room_id: str, path: Path, media_type: str, caption: str = "") -> str:
        """Share a file, encrypted where the room is."""
        data = await asyncio.to_thread(path.read_bytes)
        encrypted = self._client.rooms[room_id].encrypted
        uploaded, keys = await self._client.upload(
            io.BytesIO(data), content_type=media_type, filename=path.name, encrypt=encrypted, filesize=len(data)
        )
        content: dict[str, Any] = {
            "msgtype": MSGTYPES.get(media_type.partition("/")[0], "m.file"),
            "body": caption or path.name,
            "filename": path.name,
            "info": {"mimetype": media_type, "size": len(data)},
        }
        if encrypted:
            content["file"] = {**keys, "url": uploaded.content_uri}
        else:
            content["url"] = uploaded.content_uri
        return await self._send(room_id, "m.room.message", content)

    async def _send(self, room_id: str, kind: str, content: dict[str, Any]) -> str:
        await self.sync()
        sent = await self._client.room_send(room_id, kind, content, ignore_unverified_devices=True)
        event_id: str | None = getattr(sent, "event_id", None)
        if event_id is None:
            raise DemoError(f"{self.user_id} could not send a sample message: {sent}")
        return event_id
