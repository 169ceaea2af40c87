"""The control API about businesses: accounts, numbers, templates, and the official's own phone."""

from __future__ import annotations

from aiohttp import web

from bridge.simulator import bodies
from bridge.simulator.accounts import account_from, number_from, told_account, told_number
from bridge.simulator.calls import Calls, Route, body_of, set_fields
from bridge.simulator.errors import GraphError
from bridge.simulator.history import History
from bridge.simulator.phones import NotPossibleError, Phones
from bridge.simulator.templates import listed
from bridge.simulator.webhook import Webhook
from bridge.simulator.world import Template, World


class Offices(Calls):
    """What happens on the side of the business."""

    def __init__(self, world: World, webhook: Webhook, phones: Phones, history: History) -> None:
        super().__init__(world, webhook)
        self._phones = phones
        self._history = history

    def calls(self) -> list[Route]:
        """Where all this is found."""
        return [
            ("GET", "/phone_numbers", self.phone_numbers),
            ("GET", "/sim/accounts", self.accounts),
            ("POST", "/sim/accounts", self.add_account),
            ("POST", "/sim/accounts/{account}", self.change_account),
            ("POST", "/sim/accounts/{account}/numbers", self.add_number),
            ("POST", "/sim/accounts/{account}/templates", self.add_template),
            ("POST", "/sim/accounts/{account}/disconnect", self.disconnect),
            ("POST", "/sim/accounts/{account}/reconnect", self.reconnect),
            ("POST", "/sim/accounts/{account}/handshake", self.handshake),
            ("POST", "/sim/numbers/{number}", self.change_number_settings),
            ("POST", "/sim/numbers/{number}/send", self.echo),
            ("POST", "/sim/numbers/{number}/edit", self.echo_edit),
            ("POST", "/sim/numbers/{number}/revoke", self.echo_revoke),
            ("POST", "/sim/numbers/{number}/onboard", self.onboard),
            ("POST", "/sim/numbers/{number}/contacts", self.phone_contacts),
            ("POST", "/sim/numbers/{number}/errors", self.value_errors),
        ]

    # Accounts and numbers.

    async def phone_numbers(self, request: web.Request) -> web.Response:
        """Every number and whose it is (DESIGN section 7)."""
        told = [
            {"id": one.id, "display_phone_number": one.display_phone_number, "official": one.official}
            for one in self._world.numbers()
        ]
        return web.json_response(told)

    async def accounts(self, request: web.Request) -> web.Response:
        return web.json_response([told_account(account) for account in self._world.accounts])

    async def add_account(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        if any(account.id == str(body["id"]) for account in self._world.accounts):
            raise NotPossibleError("There is such an account already.")
        first = self._world.accounts[0]
        self._world.accounts.append(
            account_from(
                {"webhook_url": first.webhook_url, "app_secret": first.app_secret, "verify_token": first.verify_token} | body
            )
        )
        return web.json_response(told_account(self._world.accounts[-1]))

    async def change_account(self, request: web.Request) -> web.Response:
        account = self._world.account(request.match_info["account"])
        set_fields(
            account,
            await body_of(request),
            ("access_token", "webhook_url", "app_secret", "verify_token", "name", "subscribed", "connected"),
        )
        return web.json_response(told_account(account))

    async def add_number(self, request: web.Request) -> web.Response:
        account, body = self._world.account(request.match_info["account"]), await body_of(request)
        if any(number.id == str(body["id"]) for number in self._world.numbers()):
            raise NotPossibleError("There is such a number already.")
        account.numbers.append(number_from(body))
        return web.json_response(told_account(account))

    async def add_template(self, request: web.Request) -> web.Response:
        account, body = self._world.account(request.match_info["account"]), await body_of(request)
        body = {"components": [{"type": "BODY", "text": body.pop("text")}]} | body if "text" in body else body
        template = Template(**body)
        account.templates = [one for one in account.templates if (one.name, one.language) != (template.name, template.language)]
        account.templates.append(template)
        return web.json_response(listed(template))

    async def disconnect(self, request: web.Request) -> web.Response:
        """The business takes its account away from us: told by account_update, and the token is refused from then on."""
        account, body = self._world.account(request.match_info["account"]), await body_of(request)
        event, reason = str(body.get("event", "PARTNER_REMOVED")), str(body.get("reason", ""))
        update = self._webhook.emit(account, "account_update", bodies.account_update(account, event, reason))
        account.connected = bool(body.get("token_works", False))
        return await self._after(update, {"event": event})

    async def reconnect(self, request: web.Request) -> web.Response:
        account, body = self._world.account(request.match_info["account"]), await body_of(request)
        account.connected = account.subscribed = True
        event = str(body.get("event", "ACCOUNT_RECONNECTED"))
        update = self._webhook.emit(account, "account_update", bodies.account_update(account, event))
        return await self._after(update, {"event": event})

    async def handshake(self, request: web.Request) -> web.Response:
        """Ask the webhook the question that Meta asks when it is set."""
        body = await body_of(request)
        account = self._world.account(request.match_info["account"])
        good, told = await self._webhook.handshake(account, token=str(body.get("verify_token", "")))
        return web.json_response({"ok": good, "answer": told})

    async def change_number_settings(self, request: web.Request) -> web.Response:
        number = self._number(request)
        set_fields(number, await body_of(request), ("coexistence", "registered", "official", "name", "display_phone_number"))
        return web.json_response(told_number(number))

    # The business phone.

    async def echo(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        message_id, update = self._phones.echo(self._number(request), body)
        return await self._after(update, {"id": message_id}, body)

    async def echo_edit(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        anyhow = bool(body.get("anyhow"))
        update = self._phones.echo_edit(self._number(request), str(body["message"]), str(body["text"]), anyhow=anyhow)
        return await self._after(update, {}, body)

    async def echo_revoke(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        update = self._phones.echo_revoke(self._number(request), str(body["message"]), anyhow=bool(body.get("anyhow")))
        return await self._after(update, {}, body)

    async def onboard(self, request: web.Request) -> web.Response:
        number, body = self._number(request), await body_of(request)
        self._history.onboard(number, body)
        if body.get("now"):
            self._history.sync(number, "smb_app_state_sync")
            self._history.sync(number, "history")
        return web.json_response({"history": sum(len(thread.get("messages", [])) for thread in number.history)})

    async def phone_contacts(self, request: web.Request) -> web.Response:
        body = await body_of(request)
        update = self._history.contacts(self._number(request), body["contacts"])
        return await self._after(update, {}, body)

    async def value_errors(self, request: web.Request) -> web.Response:
        number, body = self._number(request), await body_of(request)
        told = GraphError(int(body.get("code", 130429)), str(body.get("details", ""))).told()
        update = self._webhook.emit(self._world.account_of(number.id), "messages", bodies.value(number, errors=[told]))
        return await self._after(update, {}, body)
