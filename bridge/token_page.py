"""The page on which an admin hands over a token, behind a link that the bot gave: good once, for half an hour."""

from __future__ import annotations

import hashlib
import html

import asyncpg
from aiohttp import web

from bridge.administration import Administration, Refusal
from bridge.provisioning import PREFIX

FIND = "SELECT waba_id, given_to FROM token_link WHERE digest = $1 AND used_at IS NULL AND valid_until > now()"
# Used before the token is tried: two that come at once don't both get in.
USE = """
    UPDATE token_link SET used_at = now() WHERE digest = $1 AND used_at IS NULL AND valid_until > now()
    RETURNING waba_id, given_to
"""
GIVE_BACK = "UPDATE token_link SET used_at = NULL WHERE digest = $1"
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
MAX_FORM = 10_000


class TokenPage:
    """GET shows the form, POST takes the token."""

    def __init__(self, pool: asyncpg.Pool, administration: Administration) -> None:
        self._pool = pool
        self._office = administration

    def routes(self) -> list[web.RouteDef]:
        """Where it answers."""
        return [web.get(f"{PREFIX}/connect/{{secret}}", self.show), web.post(f"{PREFIX}/connect/{{secret}}", self.take)]

    async def show(self, request: web.Request) -> web.Response:
        """The form."""
        row = await self._pool.fetchrow(FIND, _digest(request))
        if row is None:
            return _gone()
        waba_id = html.escape(row["waba_id"])
        return _page(
            f"""<form method="post">
            <p>Account {waba_id}</p>
            <p><label>Toegangstoken van de systeemgebruiker · Access token of the system user<br>
            <input name="token" type="password" autocomplete="off" required size="60"></label></p>
            <p><label>App-geheim, alleen als het een andere app is · App secret, only if the app is another<br>
            <input name="app_secret" type="password" autocomplete="off" size="40"></label></p>
            <p><button>Verbinden · Connect</button></p></form>"""
        )

    async def take(self, request: web.Request) -> web.Response:
        """The token, tried at WhatsApp and then sealed."""
        if (request.content_length or MAX_FORM + 1) > MAX_FORM:
            return _page("<p>Te groot · Too large</p>", 413)
        form = await request.post()
        digest = _digest(request)
        row = await self._pool.fetchrow(USE, digest)
        if row is None:
            return _gone()
        token, secret = str(form.get("token", "")).strip(), str(form.get("app_secret", "")).strip()
        try:
            found = await self._office.connect(row["waba_id"], token, secret, "", row["given_to"])
        except Refusal as refusal:
            await self._pool.execute(GIVE_BACK, digest)
            return _page(f"<p>{html.escape(refusal.dutch)} · {html.escape(refusal.english)}</p>", refusal.status)
        except BaseException:
            await self._pool.execute(GIVE_BACK, digest)
            raise
        items = "".join(
            f"<li>{html.escape(one['display_phone_number'])} {html.escape(one['name'])}: <code>{html.escape(one['id'])}</code>"
            for one in found
        )
        return _page(
            f"<p>Verbonden. Geef elk nummer nu aan iemand, in de chat · Connected. Now give each number to somebody, in the chat:"
            f"<br><code>wijs toe NUMMER-ID @naam:server {html.escape(row['waba_id'])}</code></p><ul>{items}</ul>"
        )


def _digest(request: web.Request) -> bytes:
    return hashlib.sha256(request.match_info["secret"].encode("utf-8", "replace")).digest()


def _gone() -> web.Response:
    return _page(
        "<p>Deze link is gebruikt of verlopen. Stuur weer “verbind”. · This link is used or too old. Send “connect” again.</p>",
        404,
    )


def _page(inner: str, status: int = 200) -> web.Response:
    text = (
        '<!doctype html><html lang="nl"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>WhatsApp-brug</title><main><h1>WhatsApp-brug</h1>{inner}</main></html>"
    )
    return web.Response(text=text, content_type="text/html", status=status, headers=HEADERS)
