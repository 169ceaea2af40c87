"""The control API about people outside: contacts with their phones, and groups."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from bridge.simulator.calls import Calls, Route, body_of, set_fields
from bridge.simulator.groups import Groups, described
from bridge.simulator.phones import NotPossibleError, Phones
from bridge.simulator.receipts import STATES
from bridge.simulator.webhook import Webhook
from bridge.simulator.world import Contact, Group, World


class People(Calls):
    """What contacts do."""

    def __init__(self, world: World, webhook: Webhook, phones: Phones, groups: Groups) -> None:
        super().__init__(world, webhook)
        self._phones = phones
        self._groups = groups

    def calls(self) -> list[Route]:
        """Where all this is found."""
        return [
            ("GET", "/sim/contacts", self.contacts),
            ("POST", "/sim/contacts", self.add_contact),
            ("POST", "/sim/contacts/{who}", self.change_contact),
            ("POST", "/sim/contacts/{who}/send", self.contact_sends),
            ("POST", "/sim/contacts/{who}/react", self.contact_reacts),
            ("POST", "/sim/contacts/{who}/edit", self.contact_edits),
            ("POST", "/sim/contacts/{who}/revoke", self.contact_revokes),
            ("POST", "/sim/contacts/{who}/read", self.contact_reads),
            ("POST", "/sim/contacts/{who}/tap", self.contact_taps),
            ("POST", "/sim/contacts/{who}/window", self.window),
            ("POST", "/sim/contacts/{who}/change-number", self.contact_changes_number),
            ("GET", "/sim/groups", self.list_groups),
            ("POST", "/sim/groups", self.make_group),
            ("POST", "/sim/groups/{group}", self.change_group),
        ]

    # Contacts.

    async def contacts(self, request: web.Request) -> web.Response:
        return web.json_response([self._told_contact(person) for person in self._world.contacts.values()])

    async def add_contact(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        known = str(body.get("wa_id") or body.get("user_id") or ("@" + body["username"]))
        return self._changed_contact(self._world.meet(known), body)

    async def change_contact(self, request: web.Request) -> web.Response:
        return self._changed_contact(self._who(request), await body_of(request))

    def _changed_contact(self, person: Contact, body: dict[str, Any]) -> web.Response:
        set_fields(person, body, ("name", "username", "picture", "user_id", "hidden", "on_whatsapp", "receipts"))
        person.seen = True
        self._world.changed(person.wa_id)
        return web.json_response(self._told_contact(person))

    def _told_contact(self, person: Contact) -> dict[str, Any]:
        now = self._world.now()
        told = {
            name: getattr(person, name) for name in ("wa_id", "name", "username", "picture", "hidden", "on_whatsapp", "receipts")
        }
        windows = [number.id for number in self._world.numbers() if person.open_for(number.id, now)]
        return told | {"user_id": person.bsuid(self._world.accounts[0].portfolio), "window_open_for": windows}

    async def contact_sends(self, request: web.Request) -> web.Response:
        """Somebody's phone sends: `{"to", "name", "type", …}`; a file as `media` in base64. Answers with the message id."""
        body = await body_of(request)
        message_id, update = self._phones.send(self._who(request), self._to(body), body)
        return await self._after(update, {"id": message_id}, body)

    async def contact_reacts(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        target = self._world.messages.get(str(body["message"]))
        number = self._world.number(target.number_id) if target else self._to(body)
        told: dict[str, Any] = {
            "type": "reaction",
            "reaction": {"message_id": str(body["message"]), "emoji": str(body.get("emoji", ""))},
        }
        told |= {"group_id": target.chat} if target and target.chat in self._world.groups else {}
        message_id, update = self._phones.send(self._who(request), number, told)
        return await self._after(update, {"id": message_id}, body)

    async def contact_edits(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        anyhow = bool(body.get("anyhow"))
        update = self._phones.edit(self._who(request), str(body["message"]), str(body["text"]), anyhow=anyhow)
        return await self._after(update, {}, body)

    async def contact_revokes(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        update = self._phones.revoke(self._who(request), str(body["message"]), anyhow=bool(body.get("anyhow")))
        return await self._after(update, {}, body)

    async def contact_reads(self, request: web.Request) -> web.Response:
        body, person = await body_of(request), self._who(request)
        state = str(body.get("state", "read"))
        if state not in STATES[1:]:
            raise NotPossibleError(f"state is one of {', '.join(STATES[1:])}.")
        chat = str(body.get("group_id") or person.wa_id)
        return web.json_response({"messages": await self._phones.read(person, chat, self._to(body).id, state)})

    async def contact_taps(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        return await self._after(self._phones.tap(self._who(request), str(body["message"]), str(body["choice"])), {}, body)

    async def window(self, request: web.Request) -> web.Response:
        """Open or close the 24-hour window without a message or a day's wait."""
        body, person = await body_of(request), self._who(request)
        person.seen = True
        person.wrote_at[self._to(body).id] = self._world.now() - (0 if body.get("open") else 86401)
        self._world.changed(person.wa_id)
        return web.json_response(self._told_contact(person))

    async def contact_changes_number(self, request: web.Request) -> web.Response:
        body, person = await body_of(request), self._who(request)
        self._phones.change_number(person, str(body["wa_id"]))
        return web.json_response(self._told_contact(person))

    # Groups.

    async def list_groups(self, request: web.Request) -> web.Response:
        return web.json_response([self._told_group(group) for group in self._world.groups.values()])

    def _told_group(self, group: Group) -> dict[str, Any]:
        fields = ["subject", "description", "suspended", "participants", "join_approval_mode"]
        told = described(self._world, group, fields) | {"number": group.number_id, "deleted": group.deleted}
        return told | {"wa_ids": group.participants, "invite_link": group.link, "requests": list(group.requests)}

    async def make_group(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        group, _ = self._groups.create(self._to(body), body, str(body.get("id", "")))
        for who in body.get("participants", []):
            self._groups.join(group, self._world.meet(str(who)))
        return web.json_response(self._told_group(group))

    async def change_group(self, request: web.Request) -> web.Response:
        """`{"do": join|leave|withdraw|remove|suspend|unsuspend|delete|change, "who": contact, "subject", "description"}`."""
        group, body = self._world.group(request.match_info["group"]), await body_of(request)
        act, who = str(body["do"]), str(body.get("who", ""))
        person = self._world.meet(who) if who else None
        if act in ("join", "leave", "withdraw") and person is not None:
            {"join": self._groups.join, "leave": self._groups.leave, "withdraw": self._groups.withdraw}[act](group, person)
        elif act == "remove" and who:
            self._groups.remove(group, [who])
        elif act in ("suspend", "unsuspend"):
            self._groups.suspend(group, act == "suspend")
        elif act == "delete":
            self._groups.delete(group)
        elif act == "change":
            self._groups.change(group, body)
        else:
            raise NotPossibleError("do is one of join, leave, withdraw, remove (with who), suspend, unsuspend, delete, change.")
        return web.json_response(self._told_group(group))
