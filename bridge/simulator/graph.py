"""The Graph API: every call that a bridge makes, /vN.N/ of any version.

`POST {phone}/messages`, `POST {phone}/media`, `GET|DELETE {media}`, `GET /attachments/`, `GET {phone}?fields=`, `POST
{phone}/register|deregister|smb_app_data`, `GET|POST {phone}/groups`, `GET|POST|DELETE {group}`, `{group}/invite_link`,
`{group}/participants`, `{group}/join_requests`, `GET {waba}`, `GET {waba}/message_templates|phone_numbers`, `GET|POST|DELETE
{waba}/subscribed_apps`. A token sees its own account and nothing else.
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from bridge.simulator import media
from bridge.simulator.errors import GraphError, missing
from bridge.simulator.groups import Groups, described
from bridge.simulator.history import History
from bridge.simulator.knobs import befall, cut
from bridge.simulator.sending import Sending
from bridge.simulator.templates import listed
from bridge.simulator.webhook import Webhook
from bridge.simulator.world import Account, Group, Number, World

Call = Callable[[web.Request, Account], Awaitable[web.Response]]


class Graph:
    """Answers businesses."""

    def __init__(self, world: World, webhook: Webhook, sending: Sending, groups: Groups, history: History) -> None:
        self._world = world
        self._webhook = webhook
        self._sending = sending
        self._groups = groups
        self._history = history

    def routes(self) -> list[web.RouteDef]:
        """Where all this is found."""
        calls = [
            ("POST", "messages", "", self._send),
            ("POST", "media", "upload", self._upload),
            ("POST", "register", "phone", self._register),
            ("POST", "deregister", "phone", self._register),
            ("POST", "smb_app_data", "phone", self._sync),
            ("GET", "groups", "groups", self._list_groups),
            ("POST", "groups", "groups", self._make_group),
            ("*", "invite_link", "groups", self._invite_link),
            ("*", "participants", "groups", self._participants),
            ("*", "join_requests", "groups", self._join_requests),
            ("GET", "message_templates", "templates", self._templates),
            ("GET", "phone_numbers", "account", self._numbers),
            ("*", "subscribed_apps", "account", self._subscribed),
        ]
        base = r"/{version:v\d+\.\d+}/{object}"
        edges = [web.route(method, f"{base}/{edge}", self._guarded(on, call)) for method, edge, on, call in calls]
        return [
            *edges,
            web.route("*", base, self._guarded("", self._object)),
            web.get("/attachments/", self._guarded("download", self._download)),
        ]

    def _guarded(self, on: str, call: Call) -> Callable[[web.Request], Awaitable[web.Response]]:
        """A call with its token checked and the failures that were asked for."""

        async def answer(request: web.Request) -> web.Response:
            try:
                account = self._token(request)
                fault = self._world.faults.take(on) if on and on != "download" else None
                if told := await befall(fault, request):
                    return told
                response = await call(request, account)
            except GraphError as error:
                return error.response()
            except (TypeError, AttributeError, KeyError, ValueError):
                return GraphError(100).response()
            if fault is not None and fault.how == "lost":
                cut(request)
            return response

        return answer

    def _token(self, request: web.Request) -> Account:
        given = request.headers.get("Authorization", "").encode("utf-8", "replace")
        for account in self._world.accounts:
            if account.connected and hmac.compare_digest(given, f"Bearer {account.access_token}".encode()):
                return account
        raise GraphError(190)

    def _number(self, request: web.Request, account: Account) -> Number:
        for number in account.numbers:
            if number.id == request.match_info["object"]:
                return number
        raise missing(request.match_info["object"])

    def _group(self, request: web.Request, account: Account) -> Group:
        group = self._world.group(request.match_info["object"])
        if all(number.id != group.number_id for number in account.numbers):
            raise GraphError(131041)
        return group

    def _waba(self, request: web.Request, account: Account) -> Account:
        if request.match_info["object"] != account.id:
            raise missing(request.match_info["object"])
        return account

    async def _body(self, request: web.Request) -> dict[str, Any]:
        """The parameters of a call: JSON, a form, or the query."""
        if request.content_type == "application/json":
            try:
                body = json.loads(await request.read())
            except (ValueError, RecursionError):
                raise GraphError(100, "The body is no JSON.") from None
            if not isinstance(body, dict):
                raise GraphError(100, "The body is no JSON object.")
            return body
        return {**request.query, **{name: field for name, field in (await request.post()).items() if isinstance(field, str)}}

    # Messages and files.

    async def _send(self, request: web.Request, account: Account) -> web.Response:
        number, body = self._number(request, account), await self._body(request)
        to = str(body.get("to") or body.get("recipient") or "")
        fault = self._world.faults.take("read" if body.get("status") == "read" else "send", to)
        if told := await befall(fault, request):
            return told
        failure = GraphError(fault.code, fault.details) if fault is not None and fault.how == "failed" else None
        response = web.json_response(self._sending.send(account, number, body, failure))
        if fault is not None and fault.how == "lost":
            cut(request)
        return response

    async def _upload(self, request: web.Request, account: Account) -> web.Response:
        self._number(request, account)
        return await media.upload(self._world, account, request)

    async def _download(self, request: web.Request, account: Account) -> web.Response:
        fault = self._world.faults.take("download")
        if told := await befall(fault, request):
            return told
        return media.download(self._world, account, request, fault)

    # Objects: a file, a number, a group, an account.

    async def _object(self, request: web.Request, account: Account) -> web.Response:
        object_id = request.match_info["object"]
        if object_id in self._world.groups:
            return await self._group_itself(request, account)
        if any(number.id == object_id for number in account.numbers):
            return await self._described_number(request, account)
        if object_id == account.id and request.method == "GET":
            return web.json_response({"id": account.id, "name": account.name, "currency": "EUR", "timezone_id": "15"})
        if told := await befall(self._world.faults.take("media"), request):
            return told
        act = {"GET": media.describe, "DELETE": media.remove}.get(request.method)
        if act is None:
            raise missing(object_id)
        return act(self._world, account, object_id, request.query.get("phone_number_id", ""))

    async def _described_number(self, request: web.Request, account: Account) -> web.Response:
        if told := await befall(self._world.faults.take("phone"), request):
            return told
        if request.method != "GET":
            raise GraphError(100, "Unsupported method.")
        number = self._number(request, account)
        nodes = {"PHONE_NUMBER": number.id, "WABA": account.id, "BUSINESS": account.portfolio}
        entities = [{"entity_type": kind, "id": node, "can_send_message": "AVAILABLE"} for kind, node in nodes.items()]
        health = {"can_send_message": "AVAILABLE", "entities": entities}
        return web.json_response(_fields(request, self._told(number) | {"health_status": health}))

    def _told(self, number: Number) -> dict[str, Any]:
        return {
            "id": number.id,
            "display_phone_number": number.display_phone_number,
            "verified_name": number.name or "Ministerie (voorbeeld)",
            "quality_rating": "GREEN",
            "code_verification_status": "VERIFIED",
            "name_status": "APPROVED",
            "status": "CONNECTED" if number.registered else "DISCONNECTED",
            "platform_type": "CLOUD_API" if number.registered else "NOT_APPLICABLE",
            "is_on_biz_app": number.coexistence,
            "is_official_business_account": True,
            "messaging_limit_tier": "TIER_2K",
            "throughput": {"level": "STANDARD"},
            "account_mode": "LIVE",
        }

    async def _register(self, request: web.Request, account: Account) -> web.Response:
        number, body = self._number(request, account), await self._body(request)
        joins = request.path.endswith("/register")
        pin = str(body.get("pin", ""))
        if joins and (len(pin) != 6 or not pin.isdigit()):
            raise GraphError(100, "Param pin must be a six-digit number.")
        number.registered = joins
        return web.json_response({"success": True})

    async def _sync(self, request: web.Request, account: Account) -> web.Response:
        number, body = self._number(request, account), await self._body(request)
        made = self._history.sync(number, str(body.get("sync_type", "")))
        return web.json_response({"messaging_product": "whatsapp", "request_id": made})

    # Groups.

    async def _list_groups(self, request: web.Request, account: Account) -> web.Response:
        number = self._number(request, account)
        own = [group for group in self._world.groups.values() if group.number_id == number.id and not group.deleted]
        told = [{"id": group.id, "subject": group.subject, "created_at": str(group.created)} for group in own]
        page, paging = _page(request, told, 1024)
        return web.json_response({"data": {"groups": page}, "paging": paging})

    async def _make_group(self, request: web.Request, account: Account) -> web.Response:
        _, made = self._groups.create(self._number(request, account), await self._body(request))
        return web.json_response({"messaging_product": "whatsapp", "request_id": made})

    async def _group_itself(self, request: web.Request, account: Account) -> web.Response:
        if told := await befall(self._world.faults.take("groups"), request):
            return told
        group = self._group(request, account)
        if request.method == "GET":
            fields = [name for name in request.query.get("fields", "").split(",") if name]
            return web.json_response(described(self._world, group, fields))
        body = await self._body(request)
        made = self._groups.delete(group) if request.method == "DELETE" else self._groups.change(group, body)
        return web.json_response({"messaging_product": "whatsapp", "request_id": made})

    async def _invite_link(self, request: web.Request, account: Account) -> web.Response:
        group = self._group(request, account)
        if request.method == "POST":
            group.link = Group("", "", "").link
        return web.json_response({"messaging_product": "whatsapp", "invite_link": group.link})

    async def _participants(self, request: web.Request, account: Account) -> web.Response:
        group = self._group(request, account)
        if request.method == "GET":
            people, paging = _page(request, described(self._world, group, ["participants"])["participants"], 1024)
            return web.json_response({"data": people, "paging": paging})
        body = await self._body(request)
        users = [str(one["user"]) for one in body.get("participants", [])]
        if request.method != "DELETE" or not users or len(users) > 8:
            raise GraphError(100, "People join by the link themselves; they can be removed, at most eight at once.")
        return web.json_response({"messaging_product": "whatsapp", "request_id": self._groups.remove(group, users)})

    async def _join_requests(self, request: web.Request, account: Account) -> web.Response:
        group = self._group(request, account)
        if request.method == "GET":
            told = [
                {"join_request_id": made, "wa_id": wa_id, "creation_timestamp": at}
                for made, (wa_id, at) in group.requests.items()
            ]
            page, paging = _page(request, told, 1024)
            return web.json_response({"data": page, "paging": paging})
        body = await self._body(request)
        approve = request.method == "POST"
        return web.json_response(self._groups.answer(group, [str(one) for one in body["join_requests"]], approve=approve))

    # Accounts.

    async def _templates(self, request: web.Request, account: Account) -> web.Response:
        self._waba(request, account)
        wanted = {name: request.query[name] for name in ("name", "language", "status", "category") if name in request.query}
        found = [listed(template) for template in account.templates]
        found = [one for one in found if all(str(one[name]).upper() == text.upper() for name, text in wanted.items())]
        page, paging = _page(request, found, 1000)
        fields = [name for name in request.query.get("fields", "").split(",") if name]
        shown = [{name: one[name] for name in (*fields, "id") if name in one} if fields else one for one in page]
        return web.json_response({"data": shown, "paging": paging})

    async def _numbers(self, request: web.Request, account: Account) -> web.Response:
        self._waba(request, account)
        page, paging = _page(request, [_fields(request, self._told(number)) for number in account.numbers], 1000)
        return web.json_response({"data": page, "paging": paging})

    async def _subscribed(self, request: web.Request, account: Account) -> web.Response:
        self._waba(request, account)
        if request.method == "POST":
            body = await self._body(request)
            if url := str(body.get("override_callback_uri", "")):
                token = str(body.get("verify_token", ""))
                good, told = await self._webhook.handshake(account, url, token)
                if not good:
                    raise GraphError(100, f"The callback URL or verify token couldn't be validated ({told}).")
                account.webhook_url, account.verify_token = url, token
            account.subscribed = True
        elif request.method == "DELETE":
            account.subscribed = False
        else:
            app = {"whatsapp_business_api_data": {"id": "1", "name": "Griffier", "link": "https://griffier.example"}}
            return web.json_response({"data": [app] if account.subscribed else []})
        return web.json_response({"success": True})


def _fields(request: web.Request, told: dict[str, Any]) -> dict[str, Any]:
    """The fields asked for, and always the id. Raises GraphError for a field that is none."""
    wanted = [name.partition("{")[0] for name in request.query.get("fields", "").split(",") if name]
    if unknown := [name for name in wanted if name not in told]:
        raise GraphError(100, f"Tried accessing nonexisting field ({unknown[0]}).")
    usual = ("id", "display_phone_number", "verified_name", "quality_rating", "code_verification_status", "platform_type")
    return {name: told[name] for name in ([*wanted, "id"] if wanted else usual)}


def _page(request: web.Request, told: list[Any], most: int) -> tuple[list[Any], dict[str, Any]]:
    """A page of a list, with cursors and the address of the next one (Graph API, "Paginated results")."""
    try:
        limit = min(max(int(request.query.get("limit", "25")), 1), most)
        start = int(base64.urlsafe_b64decode(request.query["after"])) if "after" in request.query else 0
    except ValueError:
        raise GraphError(131059) from None
    page = told[start : start + limit]
    cursors = {"before": _cursor(start), "after": _cursor(start + len(page))}
    if start + limit >= len(told):
        return page, {"cursors": cursors} if page else {}
    following = request.url.update_query(after=cursors["after"], limit=str(limit))
    return page, {"cursors": cursors, "next": str(following)}


def _cursor(at: int) -> str:
    return base64.urlsafe_b64encode(str(at).encode()).decode()
