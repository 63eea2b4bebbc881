"""Files of every kind that people send as a picture, and what becomes of each."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from engines.calls import Picture
from engines.errors import InvalidImage, InvalidMask, UnsupportedImageType
from engines.masks import grey_mask
from engines.pictures import check_picture, media_type, open_picture

PIXELS = 10_000


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG whose header promises a size, with next to nothing behind it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    data = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


RED = Image.new("RGB", (8, 6), "red")
SCAN = b"\xff\xda"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"<!DOCTYPE html><html></html>", "text/html"),
        (b"  <svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        (b"\xef\xbb\xbf<!-- drawn by hand --><svg/>", "image/svg+xml"),
        (b"%PDF-1.7", "application/pdf"),
        (b"version https://git-lfs.github.com/spec/v1", "application/octet-stream"),
        (file_of(RED, "TIFF"), "image/tiff"),
        (b'{"error": 1}', "application/json"),
    ],
)
def test_what_is_no_picture_is_named_for_what_it_is(data: bytes, kind: str) -> None:
    assert media_type(data) == kind
    with pytest.raises(UnsupportedImageType, match="unsupported mimetype") as raised:
        check_picture("image", data, max_pixels=PIXELS)
    assert raised.value.reason == kind


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_cut_off_file_is_refused(kind: str) -> None:
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    whole = file_of(noise, kind)
    assert check_picture("image", whole, max_pixels=PIXELS).width == 64
    with pytest.raises(InvalidImage, match="damaged"):
        check_picture("image", whole[: len(whole) // 2], max_pixels=PIXELS)


@pytest.mark.parametrize("size", [(30_000, 30_000), (101, 100), (2**31 - 1, 1)])
def test_too_many_pixels_are_refused_by_the_header_alone(size: tuple[int, int]) -> None:
    with pytest.raises(InvalidImage, match="at most 10000 are accepted"):
        check_picture("image", png_header(*size), max_pixels=PIXELS)


def test_text_that_explodes_when_it_is_unpacked_is_refused() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * (PngImagePlugin.MAX_TEXT_CHUNK + 1), zip=True)
    with pytest.raises(InvalidImage, match="damaged"):
        check_picture("image", file_of(RED, pnginfo=info), max_pixels=PIXELS)


def test_smallest_picture_passes() -> None:
    found = check_picture("image", file_of(Image.new("L", (1, 1))), max_pixels=PIXELS)
    assert (found.width, found.height, found.has_alpha) == (1, 1, False)


@pytest.mark.parametrize(
    ("image", "kind", "mode"),
    [
        (Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "JPEG", "RGB"),
        (Image.new("I;16", (4, 4), 0xFFFF), "PNG", "L"),
        (Image.new("P", (4, 4)), "GIF", "RGB"),
        (Image.new("1", (4, 4)), "PNG", "L"),
        (Image.new("LA", (4, 4)), "PNG", "LA"),
    ],
)
def test_every_kind_of_pixel_becomes_a_plain_one(image: Image.Image, kind: str, mode: str) -> None:
    assert open_picture("image", file_of(image, kind), max_pixels=PIXELS).mode == mode


def test_palette_with_transparency_keeps_it() -> None:
    image = Image.new("P", (4, 4))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.paste(1, (0, 0, 2, 4))
    opened = open_picture("image", file_of(image, transparency=1), max_pixels=PIXELS)
    alpha = opened.getchannel("A")
    assert (opened.mode, alpha.getpixel((0, 0)), alpha.getpixel((3, 0))) == ("RGBA", 0, 255)


def test_turned_photograph_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    found = check_picture("image", file_of(RED, "JPEG", exif=exif), max_pixels=PIXELS)
    assert (found.width, found.height) == (6, 8)


def test_animation_counts_as_its_first_frame() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("blue", "red")]
    data = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    opened = open_picture("image", data, max_pixels=PIXELS).convert("RGB")
    assert opened.getpixel((0, 0)) == (0, 0, 255)
    assert check_picture("image", data, max_pixels=PIXELS).animated


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_camera_data_that_are_damaged_do_not_make_the_picture_bad() -> None:
    data = file_of(RED, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40)
    assert check_picture("image", data, max_pixels=PIXELS).width == RED.width


def test_telephones_picture_with_another_behind_it_is_one_picture() -> None:
    found = check_picture("image", file_of(RED, "MPO", save_all=True, append_images=[RED]), max_pixels=PIXELS)
    assert (found.width, found.height, found.animated) == (8, 6, False)


def test_huge_metadata_are_read_past() -> None:
    data = file_of(RED, "JPEG", comment=b"x" * 60_000, icc_profile=b"y" * 500_000)
    assert check_picture("image", data, max_pixels=PIXELS).width == RED.width


def test_jpeg_that_is_drawn_over_and_over_is_refused() -> None:
    data = file_of(RED, "JPEG", progressive=True)
    start = data.index(SCAN)
    scan = data[start : data.index(SCAN, start + 1)]
    with pytest.raises(InvalidImage, match="scans"):
        check_picture("image", data[:start] + scan * 200 + data[start:], max_pixels=PIXELS)


@pytest.mark.parametrize(
    ("data", "reason"),
    [(b"", "the file is empty"), (file_of(RED)[:45], "the image/png file is damaged")],
    ids=["empty", "cut off"],
)
def test_faulty_picture_of_several_is_named_by_its_place(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidImage) as raised:
        check_picture("image[1]", data, max_pixels=PIXELS, number=2)
    assert str(raised.value) == (
        f"Invalid image file or mode for image 2, please check your image file: {reason}"
    )


def transparent(*box: int, size: tuple[int, int] = (8, 6)) -> bytes:
    image = Image.new("RGBA", size, "black")
    image.paste((0, 0, 0, 0), (box[0], box[1], box[2], box[3]))
    return file_of(image)


PICTURE = Picture(data=b"", width=8, height=6)


def mask_of(data: bytes, feather: int = 0) -> Image.Image:
    grey = grey_mask("mask", data, PICTURE, feather=feather, max_pixels=PIXELS)
    return Image.open(io.BytesIO(grey))


def test_transparent_part_of_a_mask_becomes_white() -> None:
    grey = mask_of(transparent(0, 0, 4, 6))
    assert (grey.mode, grey.size) == ("L", (8, 6))
    assert (grey.getpixel((3, 3)), grey.getpixel((4, 3))) == (255, 0)


def test_feathering_softens_outwards_alone() -> None:
    soft = mask_of(transparent(0, 0, 4, 6), feather=2)
    assert soft.getpixel((3, 3)) == 255
    outside = soft.getpixel((4, 3))
    assert isinstance(outside, int)
    assert 0 < outside < 255


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (file_of(RED), "missing alpha channel"),
        (transparent(0, 0, 1, 1, size=(6, 8)), "6x8 and 8x6"),
        (file_of(Image.new("RGBA", (8, 6), "black")), "no transparent area"),
    ],
)
def test_mask_that_marks_nothing_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(InvalidMask, match=words):
        mask_of(data)
