"""What can be told of a file by its first bytes: how large a picture is, how long a recording lasts. Pure, and never raises."""

from __future__ import annotations

import struct
from typing import Any


def info(media_type: str, data: bytes) -> dict[str, Any]:
    """The fields of Matrix's `info` that the file itself tells: w and h in pixels, duration in milliseconds."""
    try:
        if media_type.startswith("image/"):
            size = _picture(data)
            return {"w": size[0], "h": size[1]} if size is not None and 0 < size[0] < 1 << 20 and 0 < size[1] < 1 << 20 else {}
        if media_type.startswith("audio/ogg"):
            length = _opus(data)
            return {"duration": length} if length is not None else {}
    except (struct.error, IndexError):
        pass
    return {}


def _picture(data: bytes) -> tuple[int, int] | None:
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return struct.unpack(">II", data[16:24])
    if data[:3] == b"GIF":
        return struct.unpack("<HH", data[6:10])
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    return _jpeg(data) if data[:2] == b"\xff\xd8" else None


def _webp(data: bytes) -> tuple[int, int] | None:
    """RFC 9649: extended, lossless, lossy."""
    if data[12:16] == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if data[12:16] == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if data[12:16] == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """The frame header among the segments (ITU T.81, B.2.2)."""
    place = 2
    while place + 9 < len(data) and data[place] == 0xFF:
        kind = data[place + 1]
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            return width, height
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return None


def _opus(data: bytes) -> int | None:
    """The granule position of the last page, less what is skipped at the start: samples at 48 kHz (RFC 7845, section 4)."""
    last = data.rfind(b"OggS")
    head = data.find(b"OpusHead", 0, 200)
    if last < 0 or head < 0:
        return None
    (samples,) = struct.unpack("<q", data[last + 6 : last + 14])
    (skipped,) = struct.unpack("<H", data[head + 10 : head + 12])
    return max(0, samples - skipped) // 48 if 0 < samples < 48_000 * 86_400 else None
