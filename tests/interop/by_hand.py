"""A client made by hand with libolm: it says exactly what a test wants said, to the server and to the archiver's device."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
import olm
from canonicaljson import encode_canonical_json

from tests.conftest import RunningStack


class ByHand:
    """One device of one account."""

    def __init__(self, stack: RunningStack, user_id: str, password: str) -> None:
        self._stack = stack
        self._password = password
        self.user_id = user_id
        self.device_id = ""
        self.account = olm.Account()
        self._since = ""

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession()
        self._token = ""
        identifier = {"type": "m.id.user", "user": self.user_id}
        answer = await self.call("POST", "login", type="m.login.password", identifier=identifier, password=self._password)
        self._token, self.device_id = answer["access_token"], answer["device_id"]
        keys = self.signed(
            {
                "user_id": self.user_id, "device_id": self.device_id,
                "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
                "keys": {f"{kind}:{self.device_id}": key for kind, key in self.account.identity_keys.items()},
            }
        )  # fmt: skip
        self.account.generate_one_time_keys(20)
        one_time = {
            f"signed_curve25519:{key_id}": self.signed({"key": key})
            for key_id, key in self.account.one_time_keys["curve25519"].items()
        }
        await self.call("POST", "keys/upload", device_keys=keys, one_time_keys=one_time)
        self.account.mark_keys_as_published()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._http.close()

    async def call(self, method: str, what: str, **body: Any) -> dict[str, Any]:
        """One request of the client-server API; fails on a refusal."""
        url = f"{self._stack.homeserver}/_matrix/client/v3/{what}"
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        async with self._http.request(method, url, json=None if method == "GET" else body, headers=headers) as answer:
            told = await answer.json()
            assert answer.status == 200, (what, told)
            return told

    def signed(self, value: dict[str, Any]) -> dict[str, Any]:
        signature = self.account.sign(encode_canonical_json(value).decode())
        return {**value, "signatures": {self.user_id: {f"ed25519:{self.device_id}": signature}}}

    async def make_room(self, *invite: str) -> str:
        """An encrypted room."""
        state = [{"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}]
        return (await self.call("POST", "createRoom", preset="private_chat", invite=invite, initial_state=state))["room_id"]

    async def say(self, room: str, session: olm.OutboundGroupSession, *bodies: str) -> list[str]:
        """Encrypted messages, to whose key nobody is helped."""
        ids = []
        for body in bodies:
            payload = {"type": "m.room.message", "room_id": room, "content": {"msgtype": "m.text", "body": body}}
            content = {
                "algorithm": "m.megolm.v1.aes-sha2", "ciphertext": session.encrypt(json.dumps(payload)), "session_id": session.id,
                "sender_key": self.account.identity_keys["curve25519"], "device_id": self.device_id,
            }  # fmt: skip
            what = f"rooms/{quote(room, safe='')}/send/m.room.encrypted/{secrets.token_hex(8)}"
            ids.append((await self.call("PUT", what, **content))["event_id"])
        return ids

    async def read(self, room: str, event_id: str) -> None:
        """Say publicly that everything up to an event was read."""
        await self.call("POST", f"rooms/{quote(room, safe='')}/receipt/m.read/{quote(event_id, safe='')}")

    async def to_device(self, kind: str, user_id: str, device_id: str, content: dict[str, Any]) -> None:
        await self.call("PUT", f"sendToDevice/{kind}/{secrets.token_hex(8)}", messages={user_id: {device_id: content}})

    async def withhold(self, room: str, session_id: str, code: str, to: tuple[str, str]) -> None:
        """Tell a device (account, device id) that it does not get a key."""
        content = {
            "algorithm": "m.megolm.v1.aes-sha2", "room_id": room, "session_id": session_id, "code": code, "reason": "",
            "sender_key": self.account.identity_keys["curve25519"],
        }  # fmt: skip
        await self.to_device("m.room_key.withheld", *to, content)

    async def whisper(self, kind: str, content: dict[str, Any], to: tuple[str, str]) -> None:
        """An Olm message to a device (account, device id), over a session of its own."""
        user_id, device_id = to
        shown = (await self.call("POST", "keys/query", device_keys={user_id: []}))["device_keys"][user_id][device_id]["keys"]
        wanted = {user_id: {device_id: "signed_curve25519"}}
        claimed = (await self.call("POST", "keys/claim", one_time_keys=wanted))["one_time_keys"][user_id][device_id]
        [one_time] = claimed.values()
        curve = shown[f"curve25519:{device_id}"]
        session = olm.OutboundSession(self.account, curve, one_time["key"])
        payload = {
            "type": kind, "content": content, "sender": self.user_id, "sender_device": self.device_id, "recipient": user_id,
            "recipient_keys": {"ed25519": shown[f"ed25519:{device_id}"]},
            "keys": {"ed25519": self.account.identity_keys["ed25519"]},
        }  # fmt: skip
        message = session.encrypt(json.dumps(payload))
        ciphertext = {curve: {"type": message.message_type, "body": message.ciphertext}}
        sealed = {
            "algorithm": "m.olm.v1.curve25519-aes-sha2", "sender_key": self.account.identity_keys["curve25519"],
            "ciphertext": ciphertext,
        }  # fmt: skip
        await self.to_device("m.room.encrypted", user_id, device_id, sealed)

    async def share(self, room: str, session_id: str, session_key: str, to: tuple[str, str]) -> None:
        """Give a device the room key (m.room_key)."""
        content = {
            "algorithm": "m.megolm.v1.aes-sha2", "room_id": room, "session_id": session_id, "session_key": session_key,
        }  # fmt: skip
        await self.whisper("m.room_key", content, to)

    async def forward(self, room: str, session: olm.InboundGroupSession, to: tuple[str, str]) -> None:
        """Give a device the room key as an answer to its request (m.forwarded_room_key)."""
        content = {
            "algorithm": "m.megolm.v1.aes-sha2", "room_id": room, "session_id": session.id,
            "session_key": session.export_session(session.first_known_index), "forwarding_curve25519_key_chain": [],
            "sender_key": self.account.identity_keys["curve25519"],
            "sender_claimed_ed25519_key": self.account.identity_keys["ed25519"],
        }  # fmt: skip
        await self.whisper("m.forwarded_room_key", content, to)

    async def wait_to_device(self, kind: str, seconds: float = 30) -> dict[str, Any]:
        """The content of the next to-device message of a kind."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            answer = await self.call("GET", f"sync?timeout=1000{self._since}")
            self._since = f"&since={answer['next_batch']}"
            for event in answer.get("to_device", {}).get("events", []):
                if event["type"] == kind:
                    return event["content"]
            await asyncio.sleep(0.1)
        raise AssertionError(f"no {kind} came within {seconds} s")
