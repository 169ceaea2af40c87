"""One message of a delivery as what it says: parsed once, here; what is unknown is kept (Meta: webhooks, messages)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from bridge.network import Incoming, Named, NotUnderstood, Preview
from bridge.network.cloud.bodies import READERS
from bridge.network.cloud.delivery import objects
from bridge.network.cloud.parts import Contact, Context, Message, known, moment, number_of, words

ADDRESS = re.compile(r"[0-9A-Za-z._:+@=-]{1,160}")
TIMERS = ("expiration", "ephemeral_duration", "ephemeral_expiration", "disappearing_timer", "ephemeral", "disappearing")


def read(change: dict[str, Any]) -> Incoming:
    """What a message says. Raises NotUnderstood."""
    item, value = change.get("item"), change.get("value")
    if not isinstance(item, dict) or not isinstance(value, dict):
        raise NotUnderstood("what stands among the messages is none")
    message = known(Message, item) or known(Message, _certain(item))
    if message is None:
        missing = ", ".join(name for name in ("id", "timestamp", "type") if not words(item, name)) or "id, timestamp, type"
        raise NotUnderstood(f"the message can't be understood: {missing}")
    metadata = value.get("metadata")
    number = number_of(change)
    earlier = change.get("kind") == "history"
    ours = {words(metadata, "display_phone_number").lstrip("+")} - {""}
    from_us = change.get("kind") == "message_echoes" or (bool(message.to) and earlier) or (earlier and message.sender in ours)
    person = _person(message, value, from_us=from_us)
    if not number or not (person.address or message.group_id):
        raise NotUnderstood("the message names no number, or no contact that could be one")
    context = known(Context, item.get("context")) or Context()
    bare = Incoming(
        number_id=number,
        person=person,
        message_id=message.id,
        sent_at=moment(message.timestamp),
        kind="unsupported",
        network_type=message.type,
        reply_to=context.id,
        group=message.group_id,
        forwarded=context.forwarded or context.frequently_forwarded,
        forwarded_often=context.frequently_forwarded,
        from_us=from_us,
        history=earlier or change.get("field") == "history",
        view_once=bool(item.get("view_once")),
        expires_after=_seconds(item),
        whole=False,
        raw=item,
    )
    reader = READERS.get(message.type)
    told = reader(item | {"type": message.type}) if reader is not None else None
    if told is None:
        return bare
    fields: dict[str, Any] = {"whole": True, **told}
    said = replace(bare, **fields)
    if said.kind in ("notice", "moved") and message.type == "system":
        said = replace(said, timer=_timer(item.get("system")), expires_after=None)
    return _beside(said, item)


def _beside(said: Incoming, item: dict[str, Any]) -> Incoming:
    """What goes along with a message: the advertisement or the product that it was a reaction to."""
    lines = []
    referral, context = item.get("referral"), item.get("context")
    if isinstance(referral, dict):
        url, title = words(referral, "source_url"), words(referral, "headline")
        lines.append(f"Via een advertentie · From an advertisement: {' '.join(filter(None, (title, url))) or '?'}")
        if url:
            said = replace(said, preview=Preview(url, title, words(referral, "body")))
    product = context.get("referred_product") if isinstance(context, dict) else None
    if isinstance(product, dict):
        lines.append(f"Over een product · About a product: {words(product, 'product_retailer_id') or '?'}")
    errors = item.get("errors")
    if lines or (errors and said.kind != "unsupported"):
        said = replace(said, whole=False)
    return replace(said, beside=tuple(lines))


def _certain(item: dict[str, Any]) -> dict[str, Any]:
    """Of a message that has parts of another form than we know, those that say whose it is."""
    names = ("id", "timestamp", "type", "from", "from_user_id", "to", "to_user_id", "group_id")
    return {name: words(item, name) for name in names if words(item, name)}


def _person(message: Message, value: dict[str, Any], *, from_us: bool) -> Named:
    """The other side, by everything that the delivery says of them."""
    if from_us:
        wa_id, user_id, parent = message.to, message.to_user_id, message.to_parent_user_id
    else:
        wa_id, user_id, parent = message.sender, message.from_user_id, message.from_parent_user_id
    thread = value.get("thread")
    if isinstance(thread, dict):  # history: the other side is whose thread it is, whoever of the two says it
        about = thread.get("context")
        wa_id = words(thread, "id") or wa_id
        user_id = words(thread, "user_id") or words(about, "user_id") or user_id
        wa_id = words(about, "wa_id") or wa_id
        if not wa_id.lstrip("+").isdecimal() and not user_id:
            wa_id, user_id = "", wa_id
    wa_id = wa_id.lstrip("+")
    wa_id, user_id, parent = (name if ADDRESS.fullmatch(name) else "" for name in (wa_id, user_id, parent))
    bare = Named(wa_id, user_id, parent)
    for other in objects(value.get("contacts")):
        contact = known(Contact, other)
        if contact is None:
            continue
        if (wa_id and wa_id in (contact.wa_id, contact.input)) or (user_id and user_id == contact.user_id):
            extra = [name if ADDRESS.fullmatch(name) else "" for name in (contact.wa_id, contact.user_id, contact.parent_user_id)]
            username = contact.username or contact.profile.username
            return Named(wa_id or extra[0], user_id or extra[1], parent or extra[2], username[:100], contact.profile.name)
    return bare


def _timer(part: Any) -> int | None:
    """The timer that a system message sets for a conversation: 0 when messages stay from now on."""
    seconds = _seconds(part)
    if seconds is None and any(name in words(part, "type") for name in ("ephemeral", "disappearing")):
        return _whole(words(part, "duration", "timer", "value"))
    return seconds


def _seconds(part: Any) -> int | None:
    """A timer among a part's fields, in seconds."""
    for name in TIMERS if isinstance(part, dict) else ():
        value = part.get(name)
        if isinstance(value, dict):
            value = words(value, "duration", "expiration", "timer", "seconds")
        if (found := _whole(value)) is not None:
            return found
    return None


def _whole(value: Any) -> int | None:
    try:
        number = int(value) if not isinstance(value, bool) else -1
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 <= number < 10 * 366 * 86_400 else None
