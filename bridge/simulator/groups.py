"""The Groups API: groups that a business makes and people join by a link (at most eight of them)."""

from __future__ import annotations

import base64
import secrets
from typing import Any

from bridge.simulator import bodies
from bridge.simulator.errors import GraphError
from bridge.simulator.webhook import Update, Webhook
from bridge.simulator.world import Contact, Group, Number, World

MOST = 8


class Groups:
    """Makes and changes groups, and tells the business that owns them."""

    def __init__(self, world: World, webhook: Webhook) -> None:
        self._world = world
        self._webhook = webhook

    def create(self, number: Number, body: dict[str, Any], group_id: str = "") -> tuple[Group, str]:
        """Make a group; returns it and the id of the request. Raises GraphError."""
        subject = str(body.get("subject") or "").strip()
        if not subject:
            raise GraphError(131008, "The parameter subject is required.")
        self._fits(subject, str(body.get("description") or ""))
        approval = body.get("join_approval_mode", "auto_approve")
        if approval not in ("auto_approve", "approval_required"):
            raise GraphError(100, "Param join_approval_mode must be one of {auto_approve, approval_required}.")
        made = base64.b64encode(f"capi_group:{number.digits}:1203630{secrets.randbelow(10**11):011}".encode()).decode()
        group = Group(group_id or made, number.id, subject, str(body.get("description") or ""), approval, int(self._world.now()))
        self._world.groups[group.id] = group
        request = secrets.token_hex(8)
        more = {"subject": subject, "invite_link": group.link, "join_approval_mode": approval}
        more |= {"description": group.description} if group.description else {}
        self._tell(group, "group_lifecycle_update", "group_create", request_id=request, **more)
        return group, request

    def _fits(self, subject: str, description: str) -> None:
        if len(subject) > 128 or len(description) > 2048:
            raise GraphError(100, "A subject may be 128 characters long, a description 2048.")

    def change(self, group: Group, body: dict[str, Any]) -> str:
        """Set the subject or the description; returns the id of the request."""
        self._fits(str(body.get("subject") or "-"), str(body.get("description") or ""))
        request, told = secrets.token_hex(8), {}
        if "subject" in body:
            if not str(body["subject"]).strip():
                raise GraphError(100, "Param subject can't be empty.")
            group.subject = str(body["subject"]).strip()
            told["group_subject"] = {"text": group.subject, "update_successful": True}
        if "description" in body:
            group.description = str(body["description"])
            told["group_description"] = {"text": group.description, "update_successful": True}
        self._tell(group, "group_settings_update", "group_settings_update", request_id=request, **told)
        return request

    def delete(self, group: Group) -> str:
        """Delete a group with everybody in it."""
        group.deleted = True
        request = secrets.token_hex(8)
        self._tell(group, "group_lifecycle_update", "group_delete", request_id=request)
        return request

    def suspend(self, group: Group, suspended: bool) -> Update:
        """WhatsApp suspends a group, or ends that."""
        group.suspended = suspended
        return self._tell(group, "group_status_update", "group_suspend" if suspended else "group_suspend_cleared")

    def join(self, group: Group, person: Contact) -> str:
        """Somebody follows the link; returns the id of a join request where one is needed. Raises GraphError."""
        if person.wa_id in group.removed:
            raise GraphError(131009, "Who was removed from a group can't join it again.")
        if person.wa_id in group.participants:
            return ""
        if len(group.participants) >= MOST:
            raise GraphError(131204)
        portfolio = self._portfolio(group)
        if group.approval == "approval_required":
            request = base64.b64encode(f"{person.wa_id}:{secrets.token_hex(4)}".encode()).decode()
            group.requests[request] = (person.wa_id, int(self._world.now()))
            told = bodies.participant(person, portfolio)
            self._tell(group, "group_participants_update", "group_join_request_created", join_request_id=request, **told)
            return request
        group.participants.append(person.wa_id)
        self._joined(group, [bodies.participant(person, portfolio)])
        return ""

    def withdraw(self, group: Group, person: Contact) -> None:
        """Somebody takes their join request back."""
        for request, (wa_id, _) in list(group.requests.items()):
            if wa_id == person.wa_id:
                del group.requests[request]
                told = bodies.participant(person, self._portfolio(group))
                self._tell(group, "group_participants_update", "group_join_request_revoked", join_request_id=request, **told)

    def answer(self, group: Group, requests: list[str], *, approve: bool) -> dict[str, Any]:
        """Approve or reject join requests; returns Graph's answer."""
        known = [request for request in requests if request in group.requests]
        added = []
        for request in known:
            wa_id, _ = group.requests.pop(request)
            if approve:
                group.participants.append(wa_id)
                person = self._world.contacts[wa_id]
                added.append({"input": wa_id, **bodies.participant(person, self._portfolio(group))})
        if added:
            self._joined(group, added)
        told: dict[str, Any] = {"messaging_product": "whatsapp"}
        told["approved_join_requests" if approve else "rejected_join_requests"] = known
        failed = [request for request in requests if request not in known]
        if failed:
            errors = [GraphError(131009).told()]
            told |= {"failed_join_requests": [{"join_request_id": one, "errors": errors} for one in failed], "errors": errors}
        return told

    def leave(self, group: Group, person: Contact) -> None:
        """Somebody goes by themselves."""
        if person.wa_id in group.participants:
            group.participants.remove(person.wa_id)
            told = [bodies.participant(person, self._portfolio(group))]
            self._gone(group, removed_participants=told, initiated_by="participant")

    def remove(self, group: Group, users: list[str]) -> str:
        """The business removes people; returns the id of the request."""
        request, removed, failed = secrets.token_hex(8), [], []
        for user in users:
            person = self._world.find(user)
            if person is not None and person.wa_id in group.participants:
                group.participants.remove(person.wa_id)
                group.removed.add(person.wa_id)
                removed.append({"input": user})
            else:
                failed.append({"input": user, "errors": [GraphError(131009, "Not a participant.").told()]})
        parts = {name: people for name, people in (("removed_participants", removed), ("failed_participants", failed)) if people}
        self._gone(group, request_id=request, initiated_by="business", **parts)
        return request

    def _joined(self, group: Group, people: list[dict[str, str]]) -> None:
        self._tell(group, "group_participants_update", "group_participants_add", reason="invite_link", added_participants=people)

    def _gone(self, group: Group, **more: Any) -> None:
        self._tell(group, "group_participants_update", "group_participants_remove", **more)

    def _portfolio(self, group: Group) -> str:
        return self._world.account_of(group.number_id).portfolio

    def _tell(self, group: Group, field: str, kind: str, **more: Any) -> Update:
        told = {"timestamp": self._world.stamp(), "group_id": group.id, "type": kind, **more}
        value = bodies.value(self._world.number(group.number_id), groups=[told])
        self._world.changed(group.id)
        return self._webhook.emit(self._world.account_of(group.number_id), field, value)


def described(world: World, group: Group, fields: list[str]) -> dict[str, Any]:
    """GET /{group}?fields=…"""
    portfolio = world.account_of(group.number_id).portfolio
    everything: dict[str, Any] = {
        "subject": group.subject,
        "description": group.description,
        "suspended": group.suspended,
        "creation_timestamp": group.created,
        "total_participant_count": len(group.participants),
        "participants": [bodies.participant(world.contacts[wa_id], portfolio) for wa_id in group.participants],
        "join_approval_mode": group.approval,
    }
    unknown = [name for name in fields if name not in everything and name not in ("id", "messaging_product")]
    if unknown:
        raise GraphError(100, f"Tried accessing nonexisting field ({unknown[0]}).")
    return {"messaging_product": "whatsapp", "id": group.id, **{name: everything[name] for name in fields if name in everything}}
