"""POST /{phone}/messages: what Meta accepts from a business, and what it refuses with which code."""

from __future__ import annotations

from typing import Any

from bridge.simulator.checks import KINDS, Checks
from bridge.simulator.errors import GraphError
from bridge.simulator.receipts import Receipts
from bridge.simulator.webhook import Webhook
from bridge.simulator.world import BSUID, Account, Contact, Message, Number, World, digits, wamid

GROUP_TYPES = frozenset({"text", "image", "video", "audio", "document", "sticker", "template", "reaction"})


class Sending:
    """Takes in what businesses send."""

    def __init__(self, world: World, webhook: Webhook, receipts: Receipts) -> None:
        self._world = world
        self._webhook = webhook
        self._receipts = receipts
        self._checks = Checks(world)

    def send(self, account: Account, number: Number, body: dict[str, Any], failure: GraphError | None = None) -> dict[str, Any]:
        """Accept a message and answer as Meta does; with `failure` it is accepted and fails after that. Raises GraphError."""
        if body.get("messaging_product") != "whatsapp":
            raise GraphError(100, "The parameter messaging_product is required.")
        if not number.registered:
            raise GraphError(133010)
        if body.get("status") == "read":
            return self._mark_read(number, body)
        kind = body.get("type", "text")
        part = body.get(kind) if isinstance(kind, str) else None
        if not isinstance(kind, str) or kind not in KINDS:
            raise GraphError(100, f"Param type must be one of {{{', '.join(sorted(KINDS)).upper()}}} - got {kind!r}.")
        if not part or not isinstance(part, dict | list):
            raise GraphError(100, f"The parameter {kind} is required.")
        if body.get("recipient_type", "individual") == "group":
            return self._to_group(account, number, body, kind, part, failure)
        return self._to_person(account, number, body, kind, part, failure)

    def _to_person(
        self, account: Account, number: Number, body: dict[str, Any], kind: str, part: Any, failure: GraphError | None
    ) -> dict[str, Any]:
        to = str(body.get("to") or "")
        person = self._recipient(account, body, to)
        if person.wa_id == number.digits:
            raise GraphError(131021)
        text, category = self._checks.check(account, kind, part)
        self._limits(number, person)
        late = self._undeliverable(number, person, kind)
        if late is not None and self._world.knobs.refusals == "answer":
            raise late
        made = self._accept(number, body, kind, part, person.wa_id, text, category)
        self._start(made, failure or late)
        told: dict[str, Any] = {"input": to or str(body.get("recipient", ""))}
        told |= {"wa_id": person.wa_id} if to else {"user_id": person.bsuid(account.portfolio)}
        return _accepted(told, made.id)

    def _to_group(
        self, account: Account, number: Number, body: dict[str, Any], kind: str, part: Any, failure: GraphError | None
    ) -> dict[str, Any]:
        group = self._world.group(str(body.get("to", "")))
        if group.number_id != number.id:
            raise GraphError(131041)
        if kind not in GROUP_TYPES:
            raise GraphError(131051, f"Messages of type {kind} can't be sent to groups.")
        if group.suspended:
            raise GraphError(131207)
        if not group.participants:
            raise GraphError(131020)
        text, category = self._checks.check(account, kind, part)
        self._limits(number, None)
        made = self._accept(number, body, kind, part, group.id, text, category)
        self._start(made, failure)
        return _accepted({"input": group.id, "wa_id": group.id}, made.id)

    def _recipient(self, account: Account, body: dict[str, Any], to: str) -> Contact:
        """Who it is for: `to` is a phone number, `recipient` a BSUID; the number goes before."""
        if to:
            if BSUID.fullmatch(to) or not 7 <= len(digits(to)) <= 15 or set(to) - set("0123456789+ -()"):
                raise GraphError(100, "Param to must be a phone number; a business-scoped user id goes in recipient.")
            return self._world.meet(to)
        who = str(body.get("recipient") or "")
        if not who:
            raise GraphError(100, "The parameter to is required.")
        if not BSUID.fullmatch(who):
            raise GraphError(131009, "recipient is no business-scoped user id.")
        person = self._world.find(who)
        if person is None and self._world.knobs.strict:
            raise GraphError(131009, "recipient is not known to this business portfolio.")
        if person is not None and who not in (person.user_id, person.bsuid(account.portfolio)):
            raise GraphError(131009, "recipient belongs to another business portfolio.")
        return person or self._world.meet(who)

    def _undeliverable(self, number: Number, person: Contact, kind: str) -> GraphError | None:
        """Why WhatsApp will not bring it: nobody there, or the 24-hour window closed."""
        if not person.on_whatsapp or (self._world.knobs.strict and not person.seen):
            return GraphError(131026)
        judged = self._world.knobs.strict or person.seen
        if kind != "template" and judged and not person.open_for(number.id, self._world.now()):
            return GraphError(131047)
        return None

    def _limits(self, number: Number, person: Contact | None) -> None:
        knobs, now = self._world.knobs, self._world.now()
        if knobs.throughput:
            number.sent_at = [at for at in number.sent_at if now - at < 1]
            if len(number.sent_at) >= knobs.throughput:
                raise GraphError(130429)
            number.sent_at.append(now)
        if knobs.pair_messages and person is not None:
            recent = [at for at in person.paired.get(number.id, []) if now - at < knobs.pair_seconds]
            if len(recent) >= knobs.pair_messages:
                raise GraphError(131056)
            person.paired[number.id] = [*recent, now]

    def _accept(self, number: Number, body: dict[str, Any], kind: str, part: Any, chat: str, text: str, category: str) -> Message:
        to = str(body.get("to") or body["recipient"])
        message_id = wamid(number.digits if chat in self._world.groups else digits(to) if body.get("to") else to, outgoing=True)
        self._world.sent.append({"id": message_id, "phone_number_id": number.id, "at": self._world.now(), **body, "to": to})
        context = body.get("context")
        content = {"contacts": part} if isinstance(part, list) else part | ({"rendered": text} if text else {})
        message = Message(
            message_id,
            number.id,
            chat,
            "",
            self._world.now(),
            kind,
            content,
            "api",
            reply_to=str(context.get("message_id", "")) if isinstance(context, dict) else "",
            callback=str(body.get("biz_opaque_callback_data", "")),
            category=category,
            by_number=bool(body.get("to")),
        )
        if kind == "reaction":
            self.react(part, "")
        return self._world.add(message)

    def react(self, part: dict[str, Any], who: str) -> None:
        """Put a reaction on the message that it is to, or take it away."""
        target = self._world.messages.get(str(part.get("message_id")))
        if target is not None:
            target.reactions.pop(who, None)
            if part.get("emoji"):
                target.reactions[who] = str(part["emoji"])
            self._world.changed(target.chat)

    def _start(self, message: Message, failure: GraphError | None) -> None:
        follow = self._receipts.report(message, "failed", failure) if failure else self._receipts.follow(message)
        self._webhook.soon(follow)

    def _mark_read(self, number: Number, body: dict[str, Any]) -> dict[str, Any]:
        message_id = str(body.get("message_id") or "")
        if not message_id:
            raise GraphError(131008, "The parameter message_id is required.")
        message = self._world.messages.get(message_id)
        if message is None and self._world.knobs.strict:
            raise GraphError(131009, "message_id is not found.")
        if message is not None:
            for earlier in reversed(self._world.talks[message.number_id, message.chat].values()):
                if earlier.sender and earlier.at <= message.at:
                    if earlier.status == "read":
                        break
                    earlier.status = "read"
            self._world.changed(message.chat)
        self._world.marked.append({"phone_number_id": number.id, **body})
        return {"success": True}


def _accepted(contact: dict[str, Any], message_id: str) -> dict[str, Any]:
    messages = [{"id": message_id, "message_status": "accepted"}]
    return {"messaging_product": "whatsapp", "contacts": [contact], "messages": messages}
