"""A picture that is too large for WhatsApp goes as a document that shows the same picture, not a point of it changed."""

import io
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bridge.network import Media, Outgoing
from bridge.network.cloud import Cloud
from bridge.network.cloud.pictures import as_pdf

CLOUD = Cloud(None, "http://127.0.0.1:1", "v25.0", str, 1000)  # type: ignore[arg-type] - calls nobody


def picture(kind: str, mode: str = "RGB", size: tuple[int, int] = (60, 40), **more) -> bytes:
    raw = random.Random(7).randbytes(size[0] * size[1] * len(mode))
    made, file = Image.frombytes(mode, size, raw), io.BytesIO()
    made.save(file, kind, **more)
    return file.getvalue()


def stream(pdf: bytes) -> bytes:
    """The bytes of the picture in a PDF, by the length that it says it has."""
    found = re.search(rb"/Subtype /Image [^\n]*/Length (\d+) >>\nstream\n", pdf)
    assert found is not None
    return pdf[found.end() : found.end() + int(found[1])]


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_is_in_the_document_as_it_was(mode, progressive):
    content = picture("JPEG", mode, progressive=progressive)
    pdf = as_pdf(content)
    assert pdf is not None
    assert stream(pdf) == content
    assert b"/MediaBox [0 0 60.00 40.00]" in pdf


def test_a_picture_of_a_camera_held_on_its_side_is_turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert b"/Rotate 90" in (as_pdf(picture("JPEG", exif=exif)) or b"")


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_lines_of_a_png_are_in_the_document_as_they_were(mode):
    content = picture("PNG", mode)
    pdf = as_pdf(content)
    assert pdf is not None
    assert stream(pdf) in content
    assert b"/Predictor 15" in pdf


def test_every_object_is_where_the_table_says():
    pdf = as_pdf(picture("JPEG"))
    assert pdf is not None
    start = int(pdf.split(b"startxref\n")[1].split(b"\n")[0])
    assert pdf[start:].startswith(b"xref\n")
    for number, line in enumerate(pdf[start:].split(b"\n")[3:8], 1):
        assert pdf[int(line[:10]) :].startswith(b"%d 0 obj" % number)


@pytest.mark.parametrize(
    "content", [picture("PNG", "RGBA"), picture("GIF", "L"), picture("JPEG", "CMYK"), picture("PNG")[:-40], b"\xff\xd8", b""]
)
def test_what_a_pdf_can_not_hold_as_it_is_is_not_made_one(content):
    assert as_pdf(content) is None


@given(st.binary(max_size=60), st.integers(0, 700))
def test_no_bytes_make_it_fail(noise, place):
    content = picture("JPEG", exif=Image.Exif())
    as_pdf(content[:place] + noise + content[place + len(noise) :])
    as_pdf(b"\x89PNG\r\n\x1a\n" + noise)


def test_a_picture_over_five_megabytes_goes_as_a_document_and_a_smaller_one_as_it_is():
    large = picture("JPEG", size=(3000, 1700), quality=98)
    assert len(large) > 5 * 1024 * 1024
    [sent] = CLOUD.fitted(Outgoing("316", "media", "kijk", Media("image/jpeg", "gevel.jpg"), large, key="$e"))
    assert sent.media is not None
    assert (sent.media.media_type, sent.media.name, sent.text) == ("application/pdf", "gevel.jpg.pdf", "kijk")
    assert stream(sent.content) == large
    small = picture("JPEG")
    [sent] = CLOUD.fitted(Outgoing("316", "media", "", Media("image/jpeg", "gevel.jpg"), small, key="$e"))
    assert sent.content == small
