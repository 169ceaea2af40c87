"""The shapes in which webhooks tell what happened (Cloud API, "Webhooks"; facts of 2026: BSUIDs and user names)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from typing import Any
from urllib.parse import urlencode

from bridge.simulator.errors import GraphError
from bridge.simulator.world import Account, Contact, Message, Number, World

URL_LIFE = 300  # seconds that the address of a file is good for
SERVICE = {"billable": False, "pricing_model": "PMP", "type": "free_customer_service", "category": "service"}


def metadata(number: Number) -> dict[str, str]:
    return {"display_phone_number": number.digits, "phone_number_id": number.id}


def value(number: Number, **parts: Any) -> dict[str, Any]:
    """The value of a change that concerns a number."""
    return {"messaging_product": "whatsapp", "metadata": metadata(number), **parts}


def contact(person: Contact, portfolio: str) -> dict[str, Any]:
    """Somebody in `contacts`."""
    profile = {"name": person.name or person.wa_id} | ({"username": person.username} if person.username else {})
    known = {} if person.hidden else {"wa_id": person.wa_id}
    return {"profile": profile, **known, "user_id": person.bsuid(portfolio)}


def sender(person: Contact, portfolio: str) -> dict[str, str]:
    """Who a message is from."""
    known = {} if person.hidden else {"from": person.wa_id}
    return {**known, "from_user_id": person.bsuid(portfolio)}


def receiver(person: Contact, portfolio: str) -> dict[str, str]:
    """Who an echo is to."""
    known = {} if person.hidden else {"to": person.wa_id}
    return {**known, "to_user_id": person.bsuid(portfolio)}


def participant(person: Contact, portfolio: str) -> dict[str, str]:
    """Somebody in a group."""
    known = {} if person.hidden else {"wa_id": person.wa_id}
    name = {"username": person.username} if person.username else {}
    return {**known, "user_id": person.bsuid(portfolio), **name}


def file(world: World, media_id: str, more: dict[str, Any], *, hexadecimal: bool = False) -> dict[str, Any]:
    """A file as messages have it; the digest is base64, in history hexadecimal."""
    stored = world.media[media_id]
    digest = stored.digest.hex() if hexadecimal else base64.b64encode(stored.digest).decode()
    told = {"id": media_id, "mime_type": stored.media_type, "sha256": digest, **more}
    return told if hexadecimal else told | {"url": address(world, media_id)}


def address(world: World, media_id: str) -> str:
    """A link to a file that is good for five minutes, with its token."""
    until = int(world.now()) + URL_LIFE
    query = urlencode({"mid": media_id, "ext": until, "hash": link_hash(world, media_id, until)})
    return f"http://{world.host}:{world.port}/attachments/?{query}"


def link_hash(world: World, media_id: str, until: int) -> str:
    """What makes a link to a file impossible to guess."""
    key = world.accounts[0].access_token.encode()
    return hmac.digest(key, f"{media_id}|{until}".encode(), hashlib.sha256).hex()[:32]


def status(
    world: World, account: Account, message: Message, state: str, who: Contact | None, error: GraphError | None
) -> dict[str, Any]:
    """One status of a message that a business sent. `who` is None where it is the whole group's."""
    told: dict[str, Any] = {"id": message.id, "status": state, "timestamp": world.stamp()}
    if message.chat in world.groups:
        told |= {"recipient_id": message.chat, "recipient_type": "group"}
        if who is not None:
            told |= {"recipient_participant_id": who.wa_id} if not who.hidden else {}
            told["recipient_participant_user_id"] = who.bsuid(account.portfolio)
    elif who is not None:
        told |= {"recipient_id": who.wa_id} if message.by_number or not who.hidden else {}
        told["recipient_user_id"] = who.bsuid(account.portfolio)
    if message.callback:
        told["biz_opaque_callback_data"] = message.callback
    if state in ("sent", "delivered"):
        service = message.category == "service"
        told["pricing"] = SERVICE if service else SERVICE | {"billable": True, "type": "regular", "category": message.category}
    if error is not None:
        told["errors"] = [error.told()]
    return told


def account_update(account: Account, event: str, reason: str = "", **more: Any) -> dict[str, Any]:
    """The value of an `account_update`; leaving coexistence has its reason (`disconnection_info`)."""
    told: dict[str, Any] = {"event": event}
    if account.numbers:
        told["phone_number"] = account.numbers[0].digits
    if event.startswith(("PARTNER_", "ACCOUNT_OFF", "ACCOUNT_RE")):
        told["waba_info"] = {"waba_id": account.id, "owner_business_id": account.portfolio}
    if reason:
        told["disconnection_info"] = {"reason": reason}
    return told | more


def envelope(entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "whatsapp_business_account", "entry": entries}


def entry(account: Account, changes: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": account.id, "time": int(time.time()), "changes": changes}
