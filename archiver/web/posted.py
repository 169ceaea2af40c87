"""What a form brought. A file in it stays in memory: what aiohttp would write to a temporary file may be about people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import BodyPartReader, web

LARGEST = 1_000_000  # bytes of a form with a file, all parts together
PARTS = 50
KEY = "posted"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file of a form."""

    file_name: str
    data: bytes = field(repr=False)


async def posted(request: web.Request) -> Mapping[str, str | Upload]:
    """The fields of a form; read once. Raises ValueError for what is no form, HTTPRequestEntityTooLarge."""
    if KEY not in request:
        if request.content_type == "multipart/form-data":
            request[KEY] = await _parts(request)
        else:
            request[KEY] = {name: value for name, value in (await request.post()).items() if isinstance(value, str)}
    found: Mapping[str, str | Upload] = request[KEY]
    return found


async def _parts(request: web.Request) -> dict[str, str | Upload]:
    found: dict[str, str | Upload] = {}
    left = LARGEST
    reader = await request.multipart()
    for _ in range(PARTS):
        part = await reader.next()
        if part is None:
            return found
        if not isinstance(part, BodyPartReader) or not part.name:
            raise ValueError("a part of the form has no name")
        data = bytearray()
        while chunk := await part.read_chunk(65_536):
            left -= len(chunk)
            if left < 0:
                raise web.HTTPRequestEntityTooLarge(LARGEST, LARGEST - left)
            data += chunk
        raw = bytes(part.decode(data))
        found.setdefault(part.name, raw.decode() if part.filename is None else Upload(part.filename, raw))
    raise ValueError("the form has too many parts")
