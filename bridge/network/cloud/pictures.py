"""A picture that is too large for WhatsApp as a page of a PDF, point for point (ISO 32000-1, 8.9.5)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # JPEG's start-of-frame markers (ITU-T T.81, table B.1)
TURNS = {3: 180, 6: 90, 8: 270}  # EXIF orientation, as a page is turned
JPEG_COLOURS = {1: "/DeviceGray", 3: "/DeviceRGB"}  # by how many there are; four look otherwise in each reader
COLOURS = {0: ("/DeviceGray", 1), 2: ("/DeviceRGB", 3)}  # PNG colour types that a PDF takes as they are


@dataclass(frozen=True, slots=True)
class Picture:
    """What a PDF needs to know of it: its size in points, how its bytes are to be read, and how the page is turned."""

    width: int
    height: int
    reading: str
    data: bytes
    turn: int = 0


def as_pdf(content: bytes) -> bytes | None:
    """A JPEG or PNG as a PDF of one page; None for one that a PDF can't hold as it is."""
    try:
        picture = _jpeg(content) if content[:2] == b"\xff\xd8" else _png(content)
    except (struct.error, IndexError, ValueError):
        return None
    return _pdf(picture) if picture is not None and 0 < picture.width <= 60_000 and 0 < picture.height <= 60_000 else None


def _jpeg(content: bytes) -> Picture | None:
    place, turn = 2, 0
    while place < len(content):
        marker = content[place + 1]
        (length,) = struct.unpack(">H", content[place + 2 : place + 4])
        if content[place] != 0xFF or length < 2:
            return None
        if marker in FRAMES:
            bits, height, width, parts = struct.unpack(">BHHB", content[place + 4 : place + 10])
            if bits != 8 or parts not in JPEG_COLOURS:
                return None
            return Picture(
                width, height, f"/ColorSpace {JPEG_COLOURS[parts]} /BitsPerComponent 8 /Filter /DCTDecode", content, turn
            )
        if marker == 0xE1 and content[place + 4 : place + 10] == b"Exif\0\0":
            turn = TURNS.get(_orientation(content[place + 10 : place + 2 + length]), 0)
        place += 2 + length
    return None


def _orientation(exif: bytes) -> int:
    """How the camera was held (EXIF 2.3, tag 0x0112); 1, upright, where it is not told."""
    order = "<" if exif[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack(f"{order}I", exif[4:8])
        (count,) = struct.unpack(f"{order}H", exif[start : start + 2])
        for entry in range(min(count, 200)):
            place = start + 2 + 12 * entry
            tag, _, _, value = struct.unpack(f"{order}HHIH", exif[place : place + 10])
            if tag == 0x0112:
                return int(value)
    except struct.error:
        pass
    return 1


def _png(content: bytes) -> Picture | None:
    """Its own compressed lines, which a PDF reads with the same predictors (PNG, section 9)."""
    chunks = list(_chunks(content))
    if not chunks or chunks[0][0] != b"IHDR" or any(kind == b"tRNS" for kind, _ in chunks):
        return None
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    data = b"".join(body for kind, body in chunks if kind == b"IDAT")
    if colour not in COLOURS or bits != 8 or interlaced or not data:
        return None  # it can be seen through, or its lines are in another order
    space, parts = COLOURS[colour]
    lines = f"/DecodeParms << /Predictor 15 /Colors {parts} /BitsPerComponent 8 /Columns {width} >>"
    return Picture(width, height, f"/ColorSpace {space} /BitsPerComponent 8 /Filter /FlateDecode {lines}", data)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, body) of each chunk. Raises ValueError when one was damaged."""
    place = 8 if content[:8] == b"\x89PNG\r\n\x1a\n" else len(content)
    while place < len(content):
        length, kind = struct.unpack(">I4s", content[place : place + 8])
        body = content[place + 8 : place + 8 + length]
        (check,) = struct.unpack(">I", content[place + 8 + length : place + 12 + length])
        if zlib.crc32(body, zlib.crc32(kind)) != check:
            raise ValueError("a chunk was damaged")
        yield kind, body
        place += 12 + length


def _pdf(picture: Picture) -> bytes:
    scale = min(1.0, 14_000 / max(picture.width, picture.height))  # the largest page there is
    width, height = f"{picture.width * scale:.2f}", f"{picture.height * scale:.2f}"
    drawing = f"{width} 0 0 {height} 0 0 cm /P Do".encode()
    size = f"/Width {picture.width} /Height {picture.height} {picture.reading} /Length {len(picture.data)}"
    page = f"/MediaBox [0 0 {width} {height}] /Rotate {picture.turn} /Resources << /XObject << /P 5 0 R >> >> /Contents 4 0 R"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R {page} >>".encode(),
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(drawing), drawing),
        b"<< /Type /XObject /Subtype /Image %b >>\nstream\n%b\nendstream" % (size.encode(), picture.data),
    ]
    written, places = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"), []
    for number, part in enumerate(objects, 1):
        places.append(len(written))
        written += b"%d 0 obj\n%b\nendobj\n" % (number, part)
    start = len(written)
    written += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    for place in places:
        written += b"%010d 00000 n \n" % place
    written += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, start)
    return bytes(written)
