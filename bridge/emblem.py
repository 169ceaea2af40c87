"""The picture of a portal, where the network gives none: a white balloon on green, drawn here so that it is nobody's mark."""

from __future__ import annotations

import struct
import zlib

SIZE = 96  # pixels
GREEN, WHITE = b"\x1f\x7a\x4d", b"\xff\xff\xff"


def png() -> bytes:
    """The picture, as a PNG (RFC 2083)."""
    rows = b"".join(b"\0" + b"".join(_colour(x, y) for x in range(SIZE)) for y in range(SIZE))
    header = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(_chunk, *zip(*parts, strict=True)))


def _colour(x: int, y: int) -> bytes:
    """White in an ellipse and in the tail at its lower left."""
    across, down = x - SIZE / 2, y - SIZE * 0.45
    balloon = (across / 34) ** 2 + (down / 26) ** 2 <= 1
    tail = 20 <= x <= 40 and 60 <= y <= 84 and (x - 20) * 24 >= (y - 60) * 4 and (x - 20) <= (84 - y)
    return WHITE if balloon or tail else GREEN


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
