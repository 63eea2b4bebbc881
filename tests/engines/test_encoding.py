"""Pictures survive encoding."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from engines.calls import ImageFormat
from engines.encoding import DEFAULT_QUALITY, encode

MODES = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


def picture(mode: str, width: int = 67, height: int = 45) -> Image.Image:
    """Smooth in one half and noise in the other, with odd edges."""
    source = np.random.default_rng(7)
    pixels = source.integers(0, 256, (height, width, MODES[mode]), dtype=np.uint8)
    pixels[:, : width // 2] = np.arange(width // 2, dtype=np.uint8)[None, :, None]
    return Image.fromarray(pixels.squeeze(), mode=None)


def decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize("mode", MODES)
def test_png_gives_every_pixel_back(mode: str) -> None:
    original = picture(mode)
    back = decoded(encode(original, ImageFormat.PNG, None))
    assert back.format == "PNG"
    assert back.mode == original.mode == mode
    assert back.size == original.size
    assert back.tobytes() == original.tobytes()


@pytest.mark.parametrize("mode", ["1", "P"])
def test_png_of_a_rare_mode_gives_every_pixel_back(mode: str) -> None:
    original = picture("RGB").convert(mode)
    back = decoded(encode(original, ImageFormat.PNG, None))
    assert back.convert("RGB").tobytes() == original.convert("RGB").tobytes()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1)])
def test_png_of_the_smallest_pictures_gives_every_pixel_back(size: tuple[int, int]) -> None:
    original = picture("RGB").resize(size)
    assert decoded(encode(original, ImageFormat.PNG, None)).tobytes() == original.tobytes()


def test_png_keeps_to_the_letter_of_its_format() -> None:
    data = encode(picture("RGB"), ImageFormat.PNG, None)
    place, kinds = 8, []
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        body = data[place + 4 : place + 8 + length]
        kinds.append(body[:4])
        assert struct.unpack(">I", data[place + 8 + length : place + 12 + length]) == (zlib.crc32(body),)
        place += 12 + length
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]


def test_png_takes_no_notice_of_compression() -> None:
    image = picture("RGB")
    assert encode(image, ImageFormat.PNG, 10) == encode(image, ImageFormat.PNG, None)


@pytest.mark.parametrize("image_format", [ImageFormat.JPEG, ImageFormat.WEBP])
def test_compression_is_the_quality_of_lossy_formats(image_format: ImageFormat) -> None:
    image = picture("RGB")
    sizes = [len(encode(image, image_format, compression)) for compression in (0, 50, 100)]
    assert sizes == sorted(set(sizes))
    assert encode(image, image_format, None) == encode(image, image_format, DEFAULT_QUALITY)


@pytest.mark.parametrize("image_format", list(ImageFormat))
def test_the_bytes_are_of_the_format_asked_for(image_format: ImageFormat) -> None:
    back = decoded(encode(picture("RGB"), image_format, None))
    assert Image.MIME[back.format or ""] == image_format.media_type
    assert back.size == (67, 45)


def test_jpeg_lays_transparency_on_white() -> None:
    back = decoded(encode(Image.new("RGBA", (16, 16), (0, 0, 0, 0)), ImageFormat.JPEG, 100))
    assert back.mode == "RGB"
    assert back.getextrema() == ((255, 255), (255, 255), (255, 255))


def test_webp_keeps_transparency() -> None:
    back = decoded(encode(Image.new("RGBA", (16, 16), (9, 9, 9, 77)), ImageFormat.WEBP, 100))
    assert back.mode == "RGBA"
    assert back.getchannel("A").getextrema() == (77, 77)
