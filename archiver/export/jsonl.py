"""JSON Lines for machines: a line per message and, where asked for, per change in the room (`kind` is `state`) in its place."""

from __future__ import annotations

import json
from typing import Any

from archiver.export.happened import sentence
from archiver.export.language import Language
from archiver.export.transcript import Sink, Transcript
from archiver.reading.delivery import Delivery
from archiver.reading.happening import Happening
from archiver.reading.timeline import Entry


class Jsonl:
    """One JSON object per line, UTF-8."""

    name, suffix, media_type = "jsonl", ".jsonl", "application/x-ndjson"

    async def write(self, transcript: Transcript, out: Sink) -> int:
        count, portal = 0, transcript.room.portal.to_json() if transcript.room.portal else None
        language = Language(transcript.language)
        async for entry in transcript:
            if isinstance(entry, Happening):
                if transcript.changes:
                    out.write(json.dumps(change(entry, language), ensure_ascii=True) + "\n")
                continue
            # Escapes, not letters: what a message may not contain as UTF-8 survives as it was.
            out.write(json.dumps(line(entry, portal), ensure_ascii=True) + "\n")
            count += 1
        return count


def line(entry: Entry, portal: dict[str, Any] | None = None) -> dict[str, Any]:
    """A message as one JSON object; `portal` is the conversation on another network that its room is."""
    message, record = entry.message, entry.message.record
    deletion, attachment, later = message.deletion, entry.attachment, entry.later_check
    return {
        "event_id": record.event_id,
        "room_id": record.room_id,
        "sender": record.sender,
        "sender_name": entry.sender_name,
        "sent_at": record.sent_at.isoformat(),
        "captured_at": record.captured_at.isoformat(),
        "type": record.said_type,
        "kind": message.kind,
        "body": entry.body,
        "network": entry.network,
        "source": message.source or None,
        "portal": portal,
        "via": entry.via.to_json() if entry.via else None,
        "delivery": {
            **_delivery(message.outcome),
            "history": [_delivery(word) for word in message.deliveries],
        } if message.outcome else None,
        "disappears_after": message.seconds_to_live,
        "reply_to": message.reply_to,
        "thread": message.thread,
        "versions": [
            {
                "event_id": version.event_id, "sent_at": version.sent_at.isoformat(), "body": version.body,
                "deleted": version.deleted,
            }
            for version in message.versions
        ],
        "deleted": {
            "by": deletion.by, "at": deletion.at.isoformat(), "reason": deletion.reason, "by_timer": deletion.by_timer,
        } if deletion else None,
        "deleted_before_capture": message.pruned,
        "doubts": list(entry.doubts),
        "unreadable": message.unreadable,
        "filled": {
            "event_id": message.filling.event_id, "at": message.filling.at.isoformat(), "was": message.filling.lack,
        } if message.filling else None,
        "reactions": [
            {
                "event_id": reaction.event_id, "key": reaction.key, "sender": reaction.sender,
                "sent_at": reaction.sent_at.isoformat(), "deleted": reaction.deleted,
            }
            for reaction in message.reactions
        ],
        "place": message.place,
        "votes": [
            {
                "event_id": vote.event_id, "sender": vote.sender, "sent_at": vote.sent_at.isoformat(),
                "answers": list(vote.answers), "deleted": vote.deleted,
            }
            for vote in message.votes
        ],
        "poll_ended": {"by": message.poll_ended.by, "at": message.poll_ended.at.isoformat()} if message.poll_ended else None,
        "attachment": {
            "name": attachment.name, "media_type": attachment.media_type, "size": attachment.size, "state": attachment.state,
            "problem": attachment.problem,
            "scan": {
                "result": attachment.scan, "note": attachment.scan_note,
                "at": attachment.scanned_at.isoformat() if attachment.scanned_at else None,
            } if attachment.scan else None,
        } if attachment else None,
        "read_by": [
            {"user": reader.user_id, "at": reader.at.isoformat(), "thread": reader.thread or None} for reader in entry.read_by
        ],
        "checks": {
            "id": record.id_matches, "content": record.content_matches, "signed_by": record.signed_by,
            "not_verified": record.unsigned_by,
            "later": {
                "at": later.checked_at.isoformat(), "signed_by": later.signed_by, "not_verified": later.unsigned_by,
            } if later else None,
        },
    }  # fmt: skip


def change(entry: Happening, language: Language) -> dict[str, Any]:
    """What happened in a room as one JSON object: `body` says it in words, `content` and `before` as it was written."""
    record, deletion = entry.record, entry.deletion
    return {
        "event_id": record.event_id,
        "room_id": record.room_id,
        "sender": record.sender,
        "sender_name": entry.name(record.sender),
        "sent_at": record.sent_at.isoformat(),
        "captured_at": record.captured_at.isoformat(),
        "type": record.type,
        "kind": "state",
        "body": sentence(entry, language),
        "change": entry.kind,
        "state_key": record.state_key,
        "content": entry.after,
        "before": entry.before or None,
        "deleted": {"by": deletion.by, "at": deletion.at.isoformat(), "reason": deletion.reason} if deletion else None,
        "deleted_before_capture": entry.pruned,
        "checks": {
            "id": record.id_matches, "content": record.content_matches, "signed_by": record.signed_by,
            "not_verified": record.unsigned_by,
        },
    }  # fmt: skip


def _delivery(word: Delivery) -> dict[str, Any]:
    return {
        "event_id": word.event_id, "state": word.state, "at": word.at.isoformat(), "recipient": word.recipient, "code": word.code,
        "reason": word.reason,
    }  # fmt: skip
