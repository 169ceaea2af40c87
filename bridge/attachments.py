"""Files as Matrix keeps them: encrypted in an encrypted room (specification, "Sending encrypted attachments")."""

from __future__ import annotations

from typing import Any, cast

from mautrix.crypto.attachments import decrypt_attachment, encrypt_attachment
from mautrix.types import JSON, EncryptedFile

from bridge import measures
from bridge.ghost import Account
from bridge.network import Media

MSGTYPES = {"image": "m.image", "audio": "m.audio", "video": "m.video"}


async def upload(sender: Account, media: Media, data: bytes, *, encrypted: bool) -> dict[str, Any]:
    """Put a file on the homeserver; returns the fields of the message that shows it, all but its caption."""
    plain_type = media.media_type.partition(";")[0].strip()
    content: dict[str, Any] = {
        "msgtype": MSGTYPES.get(plain_type.partition("/")[0], "m.file"),
        "body": media.name,
        "filename": media.name,
        "info": {"mimetype": plain_type, "size": len(data), **measures.info(plain_type, data)},
    }
    if media.animated:
        content["info"]["is_animated"] = True  # MSC4230
    if content["msgtype"] == "m.audio":
        duration = content["info"].get("duration")
        content["org.matrix.msc1767.audio"] = {"duration": duration} if duration is not None else {}
    if media.voice:
        content["org.matrix.msc3245.voice"] = {}
    if encrypted:
        data, file = encrypt_attachment(data)
        file.url = await sender.client.upload_media(data, mime_type="application/octet-stream", filename="bestand")
        content["file"] = file.serialize()
    else:
        content["url"] = await sender.client.upload_media(data, mime_type=plain_type, filename=media.name)
    return content


async def download(account: Account, content: dict[str, Any]) -> tuple[Media, bytes]:
    """The file that a message shows. Raises KeyError, TypeError, SerializerError, DecryptionError, MatrixRequestError."""
    file, info = content.get("file"), content.get("info")
    url = file["url"] if isinstance(file, dict) else content["url"]
    data = await account.client.download_media(url)
    if isinstance(file, dict):
        described = EncryptedFile.deserialize(cast("JSON", file))
        data = decrypt_attachment(data, described.key.key, described.hashes["sha256"], described.iv)
    kind = info.get("mimetype") if isinstance(info, dict) else None
    name = str(content.get("filename") or content.get("body") or "bestand")
    voice = any(f"{prefix}.voice" in content for prefix in ("m", "org.matrix.msc3245", "org.matrix.msc2516"))
    return Media(str(kind or "application/octet-stream"), name, voice=voice), data
