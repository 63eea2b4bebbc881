"""OpenAI's stream of an image: its events as server-sent event frames.

Every frame has an ``event`` line and the same name in ``data``; a stream ends after its ``completed`` or
``error`` event, without a terminator, as OpenAI's own does.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import orjson
import pybase64

from compat.errors import render
from compat.mapped import Mapped
from compat.tokens import usage
from engines.calls import EncodedImage, EngineResult, Preview

MEDIA_TYPE: Final = "text/event-stream"
KEEP_ALIVE: Final = b": keepalive\n\n"


def frame(name: str, data: Mapping[str, object]) -> bytes:
    """One server-sent event; ``type`` stands first in its data."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), orjson.dumps({"type": name, **data}))


def partial_image(mapped: Mapped, preview: Preview) -> bytes:
    """A picture of the way."""
    place = {"partial_image_index": preview.index}
    return frame(f"{mapped.operation}.partial_image", _picture(mapped, preview.image) | place)


def completed(model: str, mapped: Mapped, result: EngineResult, *, partial_images: int) -> bytes:
    """The finished picture, what it cost, and what this gateway adds to an answer."""
    image = result.images[0]
    added = {
        "usage": usage(result, input_image_tokens=mapped.input_image_tokens, partial_images=partial_images),
        "model": model,
        "seed": image.seed,
        "parameters": result.parameters,
        "ignored": [asdict(entry) for entry in mapped.ignored],
        "adjusted": [entry.as_json() for entry in mapped.adjusted],
        "notes": list(result.notes),
        "compute_metrics": result.metrics.model_dump(),
    }
    return frame(f"{mapped.operation}.completed", _picture(mapped, image) | added)


def failed(error: BaseException, *, request_id: str) -> bytes:
    """An error after the stream has begun; the SDKs raise it."""
    return frame("error", dict(render(error, request_id=request_id).body))


def _picture(mapped: Mapped, image: EncodedImage) -> dict[str, Any]:
    return {
        "b64_json": pybase64.b64encode_as_string(image.data),
        "created_at": int(time.time()),
        "size": f"{image.width}x{image.height}",
        "quality": mapped.quality,
        "background": mapped.background,
        "output_format": image.format.value,
    }
