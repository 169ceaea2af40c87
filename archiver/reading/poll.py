"""Polls as people see them: the question, the answers, who voted what, and the end (MSC3381, in its stable and unstable form)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from archiver.ledger.canonical import JsonObject
from archiver.ledger.record import Record

START = frozenset({"m.poll.start", "org.matrix.msc3381.poll.start"})
RESPONSE = frozenset({"m.poll.response", "org.matrix.msc3381.poll.response"})
END = frozenset({"m.poll.end", "org.matrix.msc3381.poll.end"})


@dataclass(frozen=True, slots=True)
class Vote:
    """What somebody voted at one moment; a later vote of the same person takes its place."""

    event_id: str
    sender: str
    sent_at: datetime
    answers: tuple[str, ...]
    deleted: bool


@dataclass(frozen=True, slots=True)
class Ending:
    """Who closed a poll, and when."""

    by: str
    at: datetime


def text(content: JsonObject) -> str:
    """A poll's question and answers; empty when the content is no poll's."""
    start = _start(content)
    if not start:
        return ""
    answers = [f"– {told}" for _, told in _answers(content) if told]
    question = _text(start.get("question"))
    return "\n".join([question, *answers]) if question or answers else ""


def votes(poll: JsonObject, related: list[Record], deleted: set[str]) -> tuple[Vote, ...]:
    """The votes among the records that relate to a poll, the earliest first."""
    known = dict(_answers(poll)) if related else {}
    found = []
    for record in related:
        if record.said_type in RESPONSE:
            chosen = _list(_part(record.content, "poll.response").get("answers"))
            answers = tuple(known.get(one, one) for one in chosen if isinstance(one, str))
            found.append(Vote(record.event_id, record.sender, record.sent_at, answers, record.event_id in deleted))
    return tuple(found)


def ending(related: list[Record]) -> Ending | None:
    """The first end of a poll, if there is one."""
    return next((Ending(record.sender, record.sent_at) for record in related if record.said_type in END), None)


def _start(content: JsonObject) -> JsonObject:
    return _part(content, "poll.start") or _part(content, "poll")


def _part(content: JsonObject, name: str) -> JsonObject:
    for prefix in ("m.", "org.matrix.msc3381."):
        value = content.get(prefix + name)
        if isinstance(value, dict):
            return value
    return {}


def _answers(content: JsonObject) -> Iterator[tuple[str, str]]:
    """(id, text) of each answer."""
    for answer in _list(_start(content).get("answers")):
        if isinstance(answer, dict):
            identity = answer.get("m.id") or answer.get("id")
            yield identity if isinstance(identity, str) else "", _text(answer)


def _text(value: Any) -> str:
    """An extensible event's text, in the stable or the unstable form (MSC1767)."""
    if isinstance(value, dict):
        for name in ("m.text", "org.matrix.msc1767.text", "body"):
            told = value.get(name)
            told = told[0].get("body") if isinstance(told, list) and told and isinstance(told[0], dict) else told
            if isinstance(told, str):
                return told
    return ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
