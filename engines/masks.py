"""A mask in OpenAI's sense - transparent where to edit - as one in the pipelines': white where to."""

from __future__ import annotations

import io

from PIL import ImageChops, ImageFilter

from engines.calls import Picture
from engines.errors import InvalidMask
from engines.pictures import open_picture


def grey_mask(name: str, data: bytes, picture: Picture, *, feather: int, max_pixels: int) -> bytes:
    """Turn a picture with an alpha channel into a grey PNG: white is repainted, black stays.

    Half transparent is half repainted. ``feather`` softens the edge by a Gaussian of that radius in
    pixels, outwards only: what was marked is repainted whole.

    Raises:
        UnsupportedImageType, InvalidImage: it cannot be decoded.
        InvalidMask: it has no alpha channel, another size than the picture, or marks nothing.
    """
    image = open_picture(name, data, max_pixels=max_pixels)
    if image.mode not in ("LA", "RGBA"):
        raise InvalidMask(name, "mask image missing alpha channel")
    if image.size != (picture.width, picture.height):
        raise InvalidMask(
            name,
            f"mask size does not match image size: {image.width}x{image.height} "
            f"and {picture.width}x{picture.height}",
        )
    marked = ImageChops.invert(image.getchannel("A"))
    if marked.getbbox() is None:
        raise InvalidMask(name, "mask has no transparent area, so there is nothing to edit")
    if feather:
        marked = ImageChops.lighter(marked, marked.filter(ImageFilter.GaussianBlur(feather)))
    buffer = io.BytesIO()
    marked.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
