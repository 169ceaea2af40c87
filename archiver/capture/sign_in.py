"""How the archiver signs in: with a password, an access token, or as an application service.

An application service makes its own devices and says with each request which one it is (MSC4190, and device masquerading as in
MSC4326): the only way on a homeserver where the Matrix Authentication Service has taken the place of passwords.
"""

from __future__ import annotations

import logging

from archiver.capture.client import CaptureError, Homeserver, MatrixError, path
from archiver.settings import Archiver

log = logging.getLogger(__name__)


async def sign_in(server: Homeserver, settings: Archiver, device_id: str, known_token: str | None, *, new: bool) -> str:
    """Make `server` speak as the archiver's device; returns the device's id.

    `device_id` is the stored device, or the one to make; `new` tells that it was never used. `known_token` is the access token of
    an earlier sign-in. Raises CaptureError with what to do.
    """
    if settings.as_token.get_secret_value():
        return await _as_service(server, settings, device_id)
    if settings.access_token.get_secret_value():
        return await _with_token(server, settings, device_id, new=new)
    if known_token and await _still_valid(server, known_token, settings.user_id):
        return device_id
    if settings.password.get_secret_value():
        return await _with_password(server, settings, device_id)
    raise CaptureError(
        "The archiver can't sign in. Set archiver.password, archiver.access_token or archiver.as_token, or one with _file."
    )


async def _with_password(server: Homeserver, settings: Archiver, device_id: str) -> str:
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": settings.user_id},
        "password": settings.password.get_secret_value(),
        "device_id": device_id,
        "initial_device_display_name": settings.device_name,
    }
    server.token = None
    answer = await server.call("POST", path("v3", "login"), body)
    _require_ours(answer.get("user_id"), settings)
    server.token = str(answer["access_token"])
    return device_id


async def _still_valid(server: Homeserver, token: str, user_id: str) -> bool:
    server.token = token
    try:
        return (await server.call("GET", path("v3", "account", "whoami"))).get("user_id") == user_id
    except MatrixError as error:
        if error.errcode != "M_UNKNOWN_TOKEN":
            raise
        log.warning("The archiver's access token is no longer valid; signing in again as the same device.")
        return False


async def _with_token(server: Homeserver, settings: Archiver, device_id: str, *, new: bool) -> str:
    server.token = settings.access_token.get_secret_value()
    answer = await server.call("GET", path("v3", "account", "whoami"))
    _require_ours(answer.get("user_id"), settings)
    actual = answer.get("device_id")
    if not isinstance(actual, str):
        raise CaptureError("The access token belongs to no device, and only devices are given room keys. Sign in to make one.")
    if not new and actual != device_id:
        raise CaptureError(
            f"The access token is that of the device {actual}, while this archive's device is {device_id}: the keys of one are "
            "of no use to the other. Set archiver.access_token to a token of the archive's own device."
        )
    return actual


async def _as_service(server: Homeserver, settings: Archiver, device_id: str) -> str:
    server.token = settings.as_token.get_secret_value()
    server.identity = {}
    localpart = settings.user_id.partition(":")[0].removeprefix("@")
    body = {"type": "m.login.application_service", "username": localpart, "inhibit_login": True}
    try:
        await server.call("POST", path("v3", "register"), body)
    except MatrixError as error:
        if error.errcode == "M_EXCLUSIVE" or error.status in (401, 403):
            raise CaptureError(
                f"The application service may not use {settings.user_id}: name it in the registration's namespaces. It can't "
                "be the registration's own sender_localpart, which has no sync."
            ) from None
        if error.errcode != "M_USER_IN_USE":
            raise
    server.identity = {"user_id": settings.user_id}
    await server.call("PUT", path("v3", "devices", device_id), {"display_name": settings.device_name})
    server.identity = {"user_id": settings.user_id, "device_id": device_id, "org.matrix.msc3202.device_id": device_id}
    _require_ours((await server.call("GET", path("v3", "account", "whoami"))).get("user_id"), settings)
    return device_id


def _require_ours(user_id: object, settings: Archiver) -> None:
    if user_id != settings.user_id:
        raise CaptureError(f"Signed in as {user_id}, not as {settings.user_id}. Check archiver.user_id.")
