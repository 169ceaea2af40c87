"""Somebody who takes part in conversations: matrix-nio, end-to-end encrypted, with a cross-signed device as a real client has.

The test pair of the canary and the sample people of the demo. The device is kept in a folder and used again: its Olm sessions,
its access token and the seeds of its cross-signing keys. Room keys are not kept, since nothing is read back: the folder does not
grow with what was said.
"""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any, Self

from nio import AsyncClient, AsyncClientConfig, ErrorResponse, MegolmEvent
from nio.crypto import InboundGroupSession
from nio.store import DefaultStore

from archiver.capture import cross_signing
from archiver.capture.client import Homeserver, MatrixError, homeserver, path
from archiver.capture.cross_signing import CrossSigningKeys

MSGTYPES = {"image": "m.image", "audio": "m.audio", "video": "m.video"}
TIMEOUT = 30.0  # seconds a request may take
TRIES = 3  # of a request that is not answered
FILTER = {"presence": {"types": []}, "account_data": {"types": []}, "room": {"timeline": {"limit": 20}}}


class ParticipantError(Exception):
    """Somebody could not do what they were told to do in a conversation; the message says what the homeserver said."""


class DeviceStore(DefaultStore):  # type: ignore[misc]
    """nio's own files, without the keys of what was said."""

    def save_inbound_group_session(self, session: InboundGroupSession) -> None:
        """Keep it in memory only."""


class Participant:
    """An account with one device; an async context manager that signs in and catches up."""

    def __init__(self, url: str, user_id: str, password: str, folder: Path, device_name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        self.user_id = user_id
        self._url = url
        self._password = password
        self._device_name = device_name
        self._session = folder / "session.json"
        # Going on from the last sync, as clients do: Synapse answers an initial sync that was asked for before from its memory.
        limits = {"max_timeouts": TRIES, "max_limit_exceeded": TRIES, "request_timeout": TIMEOUT}
        config = AsyncClientConfig(store=DeviceStore, store_sync_tokens=True, **limits)
        self._client = AsyncClient(url, user_id, store_path=str(folder), config=config)
        self._said: dict[str, str | None] = {}

    async def __aenter__(self) -> Self:
        try:
            async with homeserver(self._url, TIMEOUT) as server:
                await self._sign_in(server)
            await self.sync(full=True)
            # A device may have changed in a sync whose end the last process did not live to see.
            self._client.olm.users_for_key_query.update(*(room.users for room in self._client.rooms.values() if room.encrypted))
            await self.sync()
        except BaseException:
            await self._client.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def _sign_in(self, server: Homeserver) -> None:
        """Go on as the device that the folder holds, or make one where there is none or it was signed out; sign it."""
        known = json.loads(self._session.read_text()) if self._session.exists() else {}
        keys = CrossSigningKeys.from_json(known["cross_signing"]) if known else CrossSigningKeys.generate()
        if known and await self._is_valid(server, known["access_token"]):
            self._client.restore_login(self.user_id, known["device_id"], known["access_token"])
        else:
            answer = await self._client.login(self._password, device_name=self._device_name)
            if not self._client.access_token:
                raise ParticipantError(f"{self.user_id} can't sign in: {answer}")
        if self._client.should_upload_keys:
            await self._client.keys_upload()
        device_id, server.token = self._client.device_id, self._client.access_token

        async def remember(keys: CrossSigningKeys) -> None:
            session = {"device_id": device_id, "access_token": server.token, "cross_signing": keys.to_json()}
            await asyncio.to_thread(_write_private, self._session, json.dumps(session))

        await remember(keys)
        if not await cross_signing.bootstrap(server, self.user_id, device_id, keys, self._sign, self._password, remember):
            raise ParticipantError(f"The homeserver does not show {device_id} of {self.user_id} as cross-signed.")

    async def _is_valid(self, server: Homeserver, token: str) -> bool:
        server.token = token
        try:
            return (await server.call("GET", path("v3", "account", "whoami"))).get("user_id") == self.user_id
        except MatrixError as error:
            if error.errcode != "M_UNKNOWN_TOKEN":
                raise
            return False

    def _sign(self, message: bytes) -> str:
        return str(self._client.olm.account.sign(message.decode()))

    async def sync(self, wait: int = 0, *, full: bool = False) -> None:
        """Take in what happened; `wait` in milliseconds; `full` is for a client that has only just started and knows no room."""
        page = await self._client.sync(wait, sync_filter=FILTER, full_state=full)
        for room in page.rooms.join.values() if hasattr(page, "rooms") else ():
            for event in room.timeline.events:
                self._said[event.event_id] = None if isinstance(event, MegolmEvent) else getattr(event, "body", None)
        if self._client.should_query_keys:
            await self._client.keys_query()
        if self._client.should_upload_keys:
            await self._client.keys_upload()

    async def make_room(self, name: str, members: list[Participant], *, encrypted: bool = True, direct: bool = False) -> str:
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
            raise ParticipantError(f"The room '{name}' could not be made: {made}")
        for member in members:
            await member.join(room_id)
        for member in (self, *members):
            await member.sync()
        return room_id

    def is_in(self, room_id: str) -> bool:
        """Whether this account is in a room, as of the last sync."""
        return room_id in self._client.rooms

    def members(self, room_id: str) -> set[str]:
        """Who is in a room or invited to it, as of the last sync."""
        return set(self._client.rooms[room_id].users)

    async def invite(self, room_id: str, user_id: str) -> None:
        """Invite somebody."""
        answer = await self._client.room_invite(room_id, user_id)
        if isinstance(answer, ErrorResponse):
            raise ParticipantError(f"{self.user_id} could not invite {user_id}: {answer}")

    async def join(self, room_id: str) -> None:
        """Accept an invitation."""
        answer = await self._client.join(room_id)
        if isinstance(answer, ErrorResponse):
            raise ParticipantError(f"{self.user_id} could not join a room: {answer}")

    async def wait_for_invite(self, seconds: float = 20) -> str:
        """Accept the next invitation; returns the room. Raises ParticipantError when none comes."""
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            await self.sync(500)
            for room_id in list(map(str, self._client.invited_rooms)):
                await self.join(room_id)
                await self.sync(500)
                return room_id
        raise ParticipantError(f"{self.user_id} was not invited to a conversation within {seconds:.0f} s.")

    async def hears(self, event_id: str, body: str, seconds: float = 10) -> bool:
        """Whether a message arrives here and reads so."""
        end = asyncio.get_running_loop().time() + seconds
        while event_id not in self._said and asyncio.get_running_loop().time() < end:
            await self.sync(500)
        return self._said.get(event_id) == body

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

    async def delete(self, room_id: str, event_id: str, reason: str = "") -> str:
        """Delete a message; returns the id of the deletion."""
        answer = await self._client.room_redact(room_id, event_id, reason or None)
        return self._event_id(answer)

    async def share(self, room_id: str, name: str, data: bytes, media_type: str, caption: str = "") -> str:
        """Share a file, encrypted where the room is."""
        encrypted = self._client.rooms[room_id].encrypted
        uploaded, keys = await self._client.upload(
            io.BytesIO(data), content_type=media_type, filename=name, encrypt=encrypted, filesize=len(data)
        )
        if not hasattr(uploaded, "content_uri"):
            raise ParticipantError(f"{self.user_id} could not upload a file: {uploaded}")
        content: dict[str, Any] = {
            "msgtype": MSGTYPES.get(media_type.partition("/")[0], "m.file"),
            "body": caption or name,
            "filename": name,
            "info": {"mimetype": media_type, "size": len(data)},
        }
        if encrypted:
            content["file"] = {**keys, "url": uploaded.content_uri}
        else:
            content["url"] = uploaded.content_uri
        return await self._send(room_id, "m.room.message", content)

    async def _send(self, room_id: str, kind: str, content: dict[str, Any]) -> str:
        await self.sync()
        return self._event_id(await self._client.room_send(room_id, kind, content, ignore_unverified_devices=True))

    def _event_id(self, answer: Any) -> str:
        event_id: str | None = getattr(answer, "event_id", None)
        if event_id is None:
            raise ParticipantError(f"{self.user_id} could not send a message: {answer}")
        return event_id


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.touch(0o600)
    partial.chmod(0o600)
    partial.write_text(text)
    partial.replace(path)
