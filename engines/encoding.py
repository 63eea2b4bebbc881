"""Pixels turned into PNG, JPEG, WebP or GIF bytes.

Pillow's PNG at its default level takes 265 ms for a photograph of 1024x1024 pixels, more than some
models take to draw it. The writer here (every row as its difference to the one above, then
Intel's ISA-L at level 1) takes 10 ms for a file 10 to 25 % larger. See ``benchmarks/encoding.py``.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
from isal import isal_zlib
from PIL import Image

from engines.calls import ImageFormat

DEFAULT_QUALITY: Final = 90
"""Of JPEG and WebP, where no compression is asked for."""

_WEBP_EFFORT: Final = 2
"""Half the time of Pillow's default 4, for a file 3 % larger."""

_PNG_COLOUR_TYPES: Final = MappingProxyType({"L": 0, "RGB": 2, "RGBA": 6})
_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_FILTER_UP: Final = 2


def animate(frames: Sequence[Image.Image], milliseconds: int) -> bytes:
    """Encode frames as a GIF that plays for ever; the last is shown five times as long.

    Each lasts ``milliseconds``, rounded to the format's 10 ms and kept below its 655.35 s.
    """
    each = min(655_350, max(10, round(milliseconds, -1)))
    buffer = io.BytesIO()
    first, *rest = [frame.convert("RGB") for frame in frames]
    durations = [each] * len(rest) + [min(655_350, 5 * each)]
    first.save(
        buffer,
        "GIF",
        save_all=True,
        append_images=rest,
        duration=durations,
        loop=0,
        optimize=False,
        disposal=1,
    )
    return buffer.getvalue()


def encode(image: Image.Image, image_format: ImageFormat, compression: int | None) -> bytes:
    """Encode ``image``; metadata is not written. A GIF of one picture is `animate` of it.

    ``compression`` is the quality of JPEG and WebP, 0 (smallest file) to 100; ``None`` means
    `DEFAULT_QUALITY`. PNG is lossless and takes no notice of it. JPEG has no transparency: the
    picture is laid on white.
    """
    if image_format is ImageFormat.PNG:
        return _png(image)
    if image_format is ImageFormat.GIF:
        return animate([image], 0)
    quality = DEFAULT_QUALITY if compression is None else compression
    buffer = io.BytesIO()
    if image_format is ImageFormat.JPEG:
        opaque(image).save(buffer, "JPEG", quality=quality)
    else:
        image.save(buffer, "WEBP", quality=quality, method=_WEBP_EFFORT)
    return buffer.getvalue()


def _png(image: Image.Image) -> bytes:
    colour_type = _PNG_COLOUR_TYPES.get(image.mode)
    if colour_type is None:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return buffer.getvalue()
    header = struct.pack(">IIBBBBB", image.width, image.height, 8, colour_type, 0, 0, 0)
    return b"".join(
        (
            _PNG_SIGNATURE,
            *_chunk(b"IHDR", header),
            *_chunk(b"IDAT", isal_zlib.compress(_filtered_rows(image), level=1)),
            *_chunk(b"IEND", b""),
        )
    )


def _filtered_rows(image: Image.Image) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """The rows, each as its difference to the one above (modulo 256), behind its filter's number."""
    pixels = np.asarray(image).reshape(image.height, -1)
    rows = np.empty((image.height, pixels.shape[1] + 1), dtype=np.uint8)
    rows[:, 0] = _FILTER_UP
    rows[0, 1:] = pixels[0]
    np.subtract(pixels[1:], pixels[:-1], out=rows[1:, 1:])
    return rows


def _chunk(kind: bytes, data: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    checksum = zlib.crc32(data, zlib.crc32(kind))
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)


def opaque(image: Image.Image) -> Image.Image:
    """The picture on white, without transparency."""
    if not image.has_transparency_data:
        return image if image.mode in ("L", "RGB") else image.convert("RGB")
    picture = image.convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")
