"""What an event is within its encryption."""

from __future__ import annotations

from typing import Any, cast

from mautrix.errors import DecryptionError
from mautrix.types import JSON, EncryptedEvent, SerializerError

from bridge.ghost import Account
from bridge.missed import Missed
from bridge.network import NotUnderstood, NotYet

UNREADABLE = (SerializerError, DecryptionError, KeyError, TypeError, AttributeError, ValueError, RecursionError)


class Opening:
    """Reads what people say in encrypted rooms, as the bot."""

    def __init__(self, bot: Account, missed: Missed) -> None:
        self._bot = bot
        self._missed = missed

    async def opened(self, event: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The type and the content of an event. Raises NotYet, NotUnderstood, MatrixRequestError."""
        kind, content = event["type"], event.get("content", {})
        if kind == "m.room.encrypted":
            try:
                decrypted = await self._decrypted(EncryptedEvent.deserialize(cast("JSON", event)))
                kind, content = str(decrypted.type), decrypted.content.serialize()
            except DecryptionError as error:
                raise NotYet(f"het kan niet worden gelezen · it can't be read ({type(error).__name__})") from None
            except UNREADABLE:
                raise NotUnderstood("de inhoud is onleesbaar · the content can't be understood") from None
        return kind, content if isinstance(content, dict) else {}

    async def _decrypted(self, event: EncryptedEvent) -> Any:
        """What an event says; when its key did not come, it is asked for first. Raises DecryptionError."""
        try:
            return await self._bot.olm.decrypt_megolm_event(event)
        except DecryptionError:
            if not await self._missed.fetch(event.room_id, event.content.session_id):
                raise
        return await self._bot.olm.decrypt_megolm_event(event)
