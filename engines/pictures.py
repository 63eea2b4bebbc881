"""Pictures that are sent in: files of any kind, decoded to pixels or refused with a reason.

Pillow alone, no torch: the gateway checks a picture before a sleeping model is woken for it.
"""

from __future__ import annotations

import contextlib
import io
import struct
from typing import Final

import numpy as np
import pybase64
from PIL import Image, ImageFile, ImageOps

from engines.calls import Picture
from engines.errors import InvalidImage, UnsupportedImageType

FORMATS: Final = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
"""What Pillow may open. Its other readers are old, rare and, as EPS, start other programs."""

_SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)
_OTHERS: Final = (
    (b"%PDF", "application/pdf"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"PK\x03\x04", "application/zip"),
    (b"{", "application/json"),
)

MOST_SCANS: Final = 100
"""Of a JPEG. Writers make about ten; a small file with thousands keeps a decoder busy for minutes."""
_SCAN: Final = b"\xff\xda"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

_SEVERAL_JPEGS: Final = "MPO"
"""What telephones write: the picture, and behind it what is no second frame (depth, brightness)."""

_DECODER_ERRORS: Final = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error)
"""What Pillow raises on damaged files."""


def media_type(data: bytes) -> str:
    """What a file is, told by its first bytes; ``application/octet-stream`` where they say nothing."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:12] in (b"ftypavif", b"ftypheic", b"ftypmif1"):
        return "image/avif" if data[8:12] == b"avif" else "image/heic"
    head = data[:1024].removeprefix(_BYTE_ORDER_MARK).lstrip().lower()
    if head.startswith((b"<svg", b"<?xml", b"<!--", b"<!doctype svg")):
        return "image/svg+xml" if b"<svg" in head else "text/xml"
    if head.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "text/html"
    known = (kind for signature, kind in (*_SIGNATURES, *_OTHERS) if data.startswith(signature))
    return next(known, "application/octet-stream")


def open_picture(name: str, data: bytes, *, max_pixels: int, number: int | None = None) -> Image.Image:
    """Decode a file to 8-bit ``RGB``, ``RGBA``, ``L`` or ``LA``, the way up that its EXIF data says.

    Of an animation it is the first frame; colours keep their numbers, without their profile. ``name``
    is the request field and ``number`` the picture's place, for the error. The size is read from the
    header, before a pixel is decoded.

    Raises:
        UnsupportedImageType: no picture, or of a kind that is not read.
        InvalidImage: damaged, or of more than ``max_pixels``.
    """
    return _decoded(_opened(name, data, max_pixels, number), name, number)


def check_picture(name: str, data: bytes, *, max_pixels: int, number: int | None = None) -> Picture:
    """Decode a file to see that it can be, and tell what it is.

    Raises:
        As `open_picture`.
    """
    file = _opened(name, data, max_pixels, number)
    animated = bool(getattr(file, "is_animated", False)) and file.format != _SEVERAL_JPEGS
    image = _decoded(file, name, number)
    return Picture(
        data=data,
        width=image.width,
        height=image.height,
        has_alpha=image.mode in ("LA", "RGBA"),
        animated=animated,
    )


def decode_text(name: str, text: str) -> bytes:
    """The bytes of base64, or of a ``data:`` URI in base64.

    Raises:
        InvalidImage: an address, or not base64.
    """
    if text.startswith(("http://", "https://")):
        raise InvalidImage(name, "URLs are not fetched here; send base64 or a data URI")
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise InvalidImage(name, "the data URI is not base64")
    try:
        return pybase64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise InvalidImage(name, "not base64") from error


def _opened(name: str, data: bytes, max_pixels: int, number: int | None) -> ImageFile.ImageFile:
    """The file with its header read."""
    if not data:
        raise InvalidImage(name, "the file is empty", number)
    kind = media_type(data)
    if kind not in {own for _, own in _SIGNATURES} | {"image/webp"}:
        raise UnsupportedImageType(name, kind)
    if kind == "image/jpeg" and data.count(_SCAN) > MOST_SCANS:
        raise InvalidImage(name, f"the JPEG file has more than {MOST_SCANS} scans", number)
    try:
        file = Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidImage(name, f"too many pixels; at most {max_pixels} are accepted", number) from error
    except _DECODER_ERRORS as error:
        raise InvalidImage(name, f"the {kind} file is damaged", number) from error
    pixels = file.width * file.height
    if pixels > max_pixels:
        text = f"{file.width}x{file.height} is {pixels} pixels; at most {max_pixels} are accepted"
        raise InvalidImage(name, text, number)
    return file


def _decoded(file: ImageFile.ImageFile, name: str, number: int | None) -> Image.Image:
    try:
        file.load()
    except _DECODER_ERRORS as error:
        raise InvalidImage(name, f"the {file.get_format_mimetype()} file is damaged", number) from error
    with contextlib.suppress(*_DECODER_ERRORS):  # a camera's bad EXIF data do not make its picture bad
        ImageOps.exif_transpose(file, in_place=True)
    return _plain(file)


def _plain(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # Pillow clips 16-bit greys at 255 instead of scaling them: a depth map would turn white.
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.mode == "P" or (image.mode in ("1", "L", "RGB") and "transparency" in image.info):
        # Pillow warns about the palette's transparency on a direct conversion.
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        image.load()
        return image
    return image.convert("L" if image.mode == "1" else "RGBA" if image.has_transparency_data else "RGB")
