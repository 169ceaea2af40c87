"""The device's Olm machine: nio's, with what nio leaves out.

Who gave a room key is remembered with it; a broken Olm session is noted wherever it shows, also for devices never seen before; a
key we asked for is taken from the device that made it; a fallback key serves when the one-time keys run out.
Source: Matrix specification, client-server API, "End-to-end encryption", "Recovering from undecryptable messages".
"""

from __future__ import annotations

import logging
from typing import Any

from nio.crypto import Olm
from nio.events import ForwardedRoomKeyEvent

from archiver.capture.keystore import KeyStore
from archiver.ledger.canonical import JsonObject

log = logging.getLogger(__name__)

MAX_BROKEN = 1000  # sessions noted between two syncs; whoever breaks more than this is not helped by us


class Machine(Olm):  # type: ignore[misc]
    """One device's Olm sessions and keys."""

    def __init__(self, user_id: str, device_id: str, store: KeyStore) -> None:
        super().__init__(user_id, device_id, store)
        self.broken: set[tuple[str, str]] = set()
        """(account, curve25519 key) of devices whose Olm session with us no longer works."""
        self.asked: set[tuple[str, str]] = set()
        """(room id, session id) of the keys we have asked for."""

    def note_broken(self, sender: str, sender_key: str) -> None:
        """Remember that messages of this device can't be read: archiver.capture.mending makes a new session."""
        if len(self.broken) < MAX_BROKEN:
            self.broken.add((sender, sender_key))

    def fallback_key(self) -> JsonObject:
        """A new fallback key, signed, for the body of `/keys/upload`; the account must be stored before it is sent."""
        account = self.account._account
        account.generate_fallback_key()
        keys = {}
        for key_id, key in account.fallback_key.items():
            told: JsonObject = {"key": key.to_base64(), "fallback": True}
            told["signatures"] = {self.user_id: {f"ed25519:{self.device_id}": self.sign_json(told)}}
            keys[f"signed_curve25519:{key_id}"] = told
        return keys

    # What nio calls.

    def _mark_device_for_unwedging(self, sender: str, sender_key: str) -> None:
        self.note_broken(sender, sender_key)

    def _handle_room_key_event(self, sender: str, sender_key: str, payload: dict[Any, Any]) -> Any:
        self.store.giver = sender
        try:
            return super()._handle_room_key_event(sender, sender_key, payload)
        finally:
            self.store.giver = self.user_id

    def _handle_forwarded_room_key_event(self, sender: str, sender_key: str, payload: dict[Any, Any]) -> Any:
        """Taken only when we asked for it, and only from the device whose session it is: nobody else can vouch for it."""
        event = ForwardedRoomKeyEvent.from_dict(payload, sender, sender_key)
        wanted = isinstance(event, ForwardedRoomKeyEvent) and (event.room_id, event.session_id) in self.asked
        if not wanted or payload["content"].get("sender_key") != sender_key:
            log.warning("A forwarded room key of %s was refused: not asked for, or not from the device that made it.", sender)
            return None
        content = payload["content"]
        chain = [*content["forwarding_curve25519_key_chain"], sender_key]
        session = Olm._import_group_session(
            content["session_key"], content["sender_claimed_ed25519_key"], sender_key, event.room_id, chain
        )
        if session is None or session.id != event.session_id:
            return None
        self.store.giver = sender
        self.save_inbound_group_session(session)
        self.store.giver = self.user_id
        self.asked.discard((event.room_id, event.session_id))
        return event
