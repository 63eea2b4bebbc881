"""OpenAI's answer of images."""

from __future__ import annotations

import time
from dataclasses import asdict

import orjson
import pybase64

from compat.mapped import Mapped
from compat.tokens import usage
from engines.calls import EncodedImage, EngineResult


def images_response(model: str, mapped: Mapped, result: EngineResult, *, created: int | None = None) -> bytes:
    """Render OpenAI's ``ImagesResponse`` as JSON, with what this gateway adds.

    The additions are ``model``, ``parameters`` (the values really used), ``ignored``, ``adjusted``,
    ``compute_metrics`` and each picture's ``seed``. ``created`` is in Unix seconds; now by default.
    """
    first = result.images[0]
    tail = {
        "background": mapped.background,
        "output_format": first.format.value,
        "quality": mapped.quality,
        "size": f"{first.width}x{first.height}",
        "usage": usage(result, input_image_tokens=mapped.input_image_tokens),
        "model": model,
        "parameters": result.parameters,
        "ignored": [asdict(entry) for entry in mapped.ignored],
        "adjusted": [entry.as_json() for entry in mapped.adjusted],
        "compute_metrics": result.metrics.model_dump(),
    }
    # Base64 needs no escaping: each picture is encoded once and copied once, past the JSON writer.
    pieces: list[bytes] = [b'{"created":%d,"data":[' % (int(time.time()) if created is None else created)]
    for position, image in enumerate(result.images):
        pieces += (b"," if position else b"", *_image(image))
    pieces += (b"],", orjson.dumps(tail)[1:])
    return b"".join(pieces)


def _image(image: EncodedImage) -> tuple[bytes, ...]:
    return b'{"b64_json":"', pybase64.b64encode(image.data), b'","seed":%d}' % image.seed
