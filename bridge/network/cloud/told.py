"""What a delivery tells beside messages: what became of ours, groups, contacts, the account, problems (Meta: webhooks)."""

from __future__ import annotations

from typing import Any

from bridge.network import (
    AccountChanged,
    ContactSynced,
    GroupChanged,
    HistoryProgress,
    Media,
    Named,
    NotUnderstood,
    NumberProblem,
    Receipt,
)
from bridge.network.cloud.delivery import objects
from bridge.network.cloud.parts import Contact, File, Problem, known, moment, number_of, words

CLOSED = ("group_delete", "group_suspend")


def ours(change: dict[str, Any]) -> tuple[str, str, str] | None:
    """(our key, WhatsApp's id, the number's id) of a message of ours, when a change is a status of it: then WhatsApp has it."""
    item = change.get("item") if change.get("kind") == "statuses" else None
    if not isinstance(item, dict):
        return None
    key, message_id = item.get("biz_opaque_callback_data"), item.get("id")
    if not (isinstance(key, str) and isinstance(message_id, str) and key and message_id):
        return None
    return key, message_id, number_of(change)


def receipt(change: dict[str, Any]) -> Receipt:
    """What became of a message of ours. Raises NotUnderstood."""
    item, value = _parts(change)
    message_id, state = words(item, "id"), words(item, "status")
    if not message_id or not state:
        raise NotUnderstood("the receipt names no message, or says nothing of it")
    in_group = words(item, "recipient_type") == "group"
    who = words(item, "recipient_participant_id" if in_group else "recipient_id").lstrip("+")
    user_id = words(item, "recipient_participant_user_id" if in_group else "recipient_user_id")
    problem = next(filter(None, (known(Problem, error) for error in objects(item.get("errors")))), None)
    return Receipt(
        number_id=number_of(change),
        message_id=message_id,
        state=state,
        at=moment(item.get("timestamp")),
        recipient=_named(value, who, user_id),
        group=words(item, "recipient_id") if in_group else "",
        key=words(item, "biz_opaque_callback_data"),
        code=problem.code if problem else None,
        reason=(problem.detail or problem.message or problem.title) if problem else "",
        raw=item,
    )


def contact(change: dict[str, Any]) -> ContactSynced:
    """A contact of the business phone. Raises NotUnderstood."""
    item, _ = _parts(change)
    card = item.get("contact")
    wa_id = "".join(letter for letter in words(card, "phone_number", "wa_id") if letter.isdecimal())
    if not wa_id:
        raise NotUnderstood("the contact has no number")
    stamp = item.get("metadata")
    at = moment(words(stamp, "timestamp")) or moment((words(stamp, "timestamp") or "x")[:-3])  # seconds, or milliseconds
    name = words(card, "full_name", "first_name")
    return ContactSynced(number_of(change), wa_id, name, words(item, "action") == "remove", at)


def group(change: dict[str, Any]) -> GroupChanged:
    """Something about a group. Raises NotUnderstood."""
    item, _ = _parts(change)
    group_id, kind = words(item, "group_id"), words(item, "type")
    if not group_id or not number_of(change):
        raise NotUnderstood("the news of a group names no group, or no number")
    errors = [problem for error in objects(item.get("errors")) if (problem := known(Problem, error))]
    settled = {name: _setting(item, name) for name in ("subject", "description")}
    picture = next((part for name in ("profile_picture", "picture", "icon") if isinstance(part := item.get(name), dict)), None)
    file = known(File, picture.get("media", picture)) if picture is not None else None
    asking = kind.startswith("group_join_request")
    return GroupChanged(
        number_id=number_of(change),
        group=group_id,
        change=kind or str(change.get("field")),
        at=moment(item.get("timestamp")),
        joined=_people(item, "added_participants", "participants" if kind in ("group_create", "group_participants_add") else ""),
        left=_people(item, "removed_participants", "participants" if kind == "group_participants_remove" else ""),
        asked=_people(item, "join_requests", "wa_id") if asking else (),
        by_us=words(item, "initiated_by") == "business",
        subject=settled["subject"],
        description=settled["description"],
        picture=Media(file.mime_type, "groep", file.id, file.sha256, url=file.url) if file and file.id else None,
        closed=kind in CLOSED and not errors,
        reason=words(item, "reason"),
        failed="; ".join(problem.detail or problem.message or problem.title for problem in errors),
        raw=item,
    )


def account(change: dict[str, Any]) -> AccountChanged:
    """Something about the account, or what we have never heard of."""
    value = change.get("value")
    value = value if isinstance(value, dict) else {"value": value, "item": change.get("item")}
    info = value.get("disconnection_info")
    return AccountChanged(
        account_id=words(change, "account"),
        topic=words(change, "field") or "?",
        event=words(value, "event", "current_limit", "decision"),
        reason=words(info, "reason") or words(value, "reason"),
        number_id=number_of(change),
        number=words(value, "phone_number", "display_phone_number"),
        raw=value,
    )


def problem(change: dict[str, Any]) -> NumberProblem:
    """An error of no message in particular. Raises NotUnderstood."""
    item, _ = _parts(change)
    told = known(Problem, item) or Problem(title=words(item, "title", "message") or "?")
    refused = change.get("kind") == "history_errors"
    return NumberProblem(
        number_id=number_of(change),
        cause="history-refused" if refused else "error",
        code=told.code,
        title=told.title or told.message,
        detail=told.detail,
        at=moment(change.get("time")),
        raw=item,
    )


def progress(change: dict[str, Any]) -> HistoryProgress:
    """How far WhatsApp is in telling what was said before. Raises NotUnderstood."""
    item, _ = _parts(change)
    about = item.get("metadata")

    def number(name: str) -> int:
        found = words(about, name)
        return int(found) if found.isdecimal() and len(found) < 10 else 0

    return HistoryProgress(number_of(change), number("phase"), number("chunk_order"), number("progress"))


def _parts(change: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    item, value = change.get("item"), change.get("value")
    if not isinstance(item, dict) or not isinstance(value, dict):
        raise NotUnderstood(f"what stands under {words(change, 'kind')} is none")
    return item, value


def _named(value: dict[str, Any], wa_id: str, user_id: str) -> Named:
    for other in objects(value.get("contacts")):
        told = known(Contact, other)
        if told is not None and ((wa_id and wa_id == told.wa_id) or (user_id and user_id == told.user_id)):
            return _contact(told, wa_id or told.wa_id)
    return Named(wa_id, user_id)


def _people(item: dict[str, Any], *names: str) -> tuple[Named, ...]:
    """The participants under one of these names; those whom WhatsApp gives no id of are left out, and kept in the payload."""
    found = []
    for name in names:
        for part in objects(item.get(name)):
            told = known(Contact, part)
            if told is not None and (told.wa_id or told.user_id or told.input):
                found.append(_contact(told, told.wa_id or ("" if told.user_id else told.input)))
    if not found and "wa_id" in names and (words(item, "wa_id") or words(item, "user_id")):
        found.append(Named(words(item, "wa_id").lstrip("+"), words(item, "user_id")))
    return tuple(found)


def _contact(told: Contact, wa_id: str) -> Named:
    username = told.username or told.profile.username
    return Named(wa_id.lstrip("+"), told.user_id, told.parent_user_id, username, told.profile.name)


def _setting(item: dict[str, Any], name: str) -> str | None:
    """A group's new subject or description: the text itself, or an object that says whether it was changed."""
    part = item.get(name, item.get(f"group_{name}"))
    if isinstance(part, dict):
        if part.get("update_successful") is False:
            return None
        part = part.get("text", part.get(name, part.get("value")))
    return str(part) if isinstance(part, str | int) and not isinstance(part, bool) else None
