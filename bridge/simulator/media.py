"""Files: uploaded by businesses, told of by id, downloaded at an address that is good for five minutes."""

from __future__ import annotations

import hmac

from aiohttp import web

from bridge.simulator.bodies import address, link_hash
from bridge.simulator.errors import GraphError, missing
from bridge.simulator.knobs import Fault
from bridge.simulator.world import Account, Stored, World

UPLOAD_DAYS, WEBHOOK_DAYS = 30, 7
MEGABYTE = 1024 * 1024
AUDIO = ("audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg")
OFFICE = "application/vnd.openxmlformats-officedocument."
DOCUMENTS = (
    "text/plain", "application/pdf", "application/vnd.ms-excel", "application/msword", "application/vnd.ms-powerpoint",
    f"{OFFICE}spreadsheetml.sheet", f"{OFFICE}wordprocessingml.document", f"{OFFICE}presentationml.presentation",
)  # fmt: skip
LIMITS: dict[str, int] = {  # of an upload, in bytes
    **dict.fromkeys(AUDIO, 16 * MEGABYTE),
    **dict.fromkeys(("video/mp4", "video/3gpp"), 16 * MEGABYTE),
    **dict.fromkeys(("image/jpeg", "image/png"), 5 * MEGABYTE),
    **dict.fromkeys(DOCUMENTS, 100 * MEGABYTE),
}
STICKER, MOVING_STICKER = 100 * 1024, 500 * 1024


async def upload(world: World, account: Account, request: web.Request) -> web.Response:
    """POST /{phone}/media: multipart with `messaging_product` and `file`. Raises GraphError."""
    form = await request.post()
    file = form.get("file")
    if form.get("messaging_product") != "whatsapp":
        raise GraphError(100, "The parameter messaging_product is required.")
    if not isinstance(file, web.FileField):
        raise GraphError(100, "The parameter file is required.")
    content = file.file.read()
    media_type = file.content_type.partition(";")[0].strip().lower()
    if not world.knobs.any_media:
        fits(media_type, content)
    return web.json_response({"id": world.keep(content, file.content_type, file.filename, account, UPLOAD_DAYS)})


def fits(media_type: str, content: bytes) -> None:
    """Whether WhatsApp takes this file. Raises GraphError."""
    if media_type == "image/webp":
        limit = MOVING_STICKER if b"ANIM" in content[:64] else STICKER
    elif media_type in LIMITS:
        limit = LIMITS[media_type]
    else:
        allowed = ", ".join(sorted([*LIMITS, "image/webp"]))
        raise GraphError(131053, f"Param file must be of one of these types: {allowed}. Received: {media_type}.")
    if len(content) > limit:
        raise GraphError(131053, f"The file is larger than the {limit} bytes allowed for {media_type}.")
    if not content:
        raise GraphError(131053, "The file is empty.")


def own(world: World, account: Account, media_id: str, number_id: str) -> Stored:
    """A file of this account's that has not expired. Raises GraphError."""
    stored = world.media.get(media_id)
    if stored is None or stored.account_id != account.id or stored.until < world.now():
        raise missing(media_id)
    if number_id and all(number.id != number_id for number in account.numbers):
        raise GraphError(100, "The media was not uploaded with this phone_number_id.")
    return stored


def describe(world: World, account: Account, media_id: str, number_id: str) -> web.Response:
    """GET /{media}: where the file is."""
    stored = own(world, account, media_id, number_id)
    told = {"url": address(world, media_id), "mime_type": stored.media_type, "sha256": stored.digest.hex()}
    size = {"file_size": str(len(stored.content)), "id": media_id}
    return web.json_response({"messaging_product": "whatsapp", **told, **size})


def remove(world: World, account: Account, media_id: str, number_id: str) -> web.Response:
    """DELETE /{media}."""
    own(world, account, media_id, number_id)
    del world.media[media_id]
    return web.json_response({"success": True})


def download(world: World, account: Account, request: web.Request, fault: Fault | None) -> web.Response:
    """GET /attachments/: the bytes; 404 when the address has expired or was made up."""
    media_id, until = request.query.get("mid", ""), request.query.get("ext", "")
    right = until.isdigit() and link_hash(world, media_id, int(until))
    stored = world.media.get(media_id)
    if not right or not hmac.compare_digest(request.query.get("hash", "").encode(), right.encode()) or stored is None:
        return web.Response(status=404)
    if int(until) < world.now() or stored.until < world.now() or stored.account_id != account.id:
        return web.Response(status=404)
    content = stored.content
    if fault is not None and fault.how == "corrupt":
        content = bytes([content[0] ^ 1]) + content[1:] if content else b"?"
    return web.Response(body=content, headers={"Content-Type": stored.media_type})
