"""OpenAI's ``ImagesResponse``: pictures, what they cost, and what became of every wish."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

import orjson
import pybase64

from compat.mapped import Mapped
from compat.tokens import usage
from engines.calls import EncodedImage, EngineResult


def images_response(
    model: str,
    mapped: Mapped,
    result: EngineResult,
    *,
    urls: Sequence[str] = (),
    created: int | None = None,
) -> bytes:
    """Render OpenAI's ``ImagesResponse`` as JSON, with what this gateway adds.

    ``urls`` are where the pictures can be fetched, in their order; none where none was asked for.

    The additions are ``model``, ``parameters`` (the values really used), ``ignored``, ``adjusted``,
    ``notes`` on the pictures, ``compute_metrics`` and each picture's ``seed``. ``created`` is in Unix
    seconds; now by default.
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
        "notes": list(result.notes),
        "compute_metrics": result.metrics.model_dump(),
    }
    # Base64 needs no escaping: each picture is encoded once and copied once, past the JSON writer.
    pieces: list[bytes] = [b'{"created":%d,"data":[' % (int(time.time()) if created is None else created)]
    for position, image in enumerate(result.images):
        url = urls[position] if urls else None
        pieces += (b"," if position else b"", *_image(image, url, b64_json=mapped.delivery.b64_json))
    pieces += (b"],", orjson.dumps(tail)[1:])
    return b"".join(pieces)


def _image(image: EncodedImage, url: str | None, *, b64_json: bool) -> tuple[bytes, ...]:
    place = b"" if url is None else b'"url":%s,' % orjson.dumps(url)
    data = (b'"b64_json":"', pybase64.b64encode(image.data), b'",') if b64_json else ()
    return b"{", place, *data, b'"seed":%d}' % image.seed
