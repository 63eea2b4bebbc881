"""OpenAI's images: the request of ``/v1/images/generations`` and the answer to it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Final

import orjson
import pybase64
from pydantic import JsonValue

from compat.errors import MalformedBody
from compat.fields import Reader, choice, flag, integer, json_object, text, type_word
from compat.mapped import Mapped
from compat.synonyms import refuse_unknown
from compat.tokens import usage
from engines.calls import EncodedImage, EngineResult
from engines.errors import MissingParameter
from engines.schema import PipelineSchema

LONGEST_PROMPT: Final = 32_000
MOST_IMAGES: Final = 10


@dataclass(frozen=True, kw_only=True)
class ImageGenerationRequest:
    """The body of a generation; ``None`` stands for a field that was left out or was null.

    ``extra`` holds the keys that OpenAI does not know: the model's own parameters.
    """

    prompt: str
    model: str | None = None
    n: int | None = None
    size: str | None = None
    quality: str | None = None
    style: str | None = None
    response_format: str | None = None
    background: str | None = None
    output_format: str | None = None
    output_compression: int | None = None
    moderation: str | None = None
    stream: bool | None = None
    partial_images: int | None = None
    user: str | None = None
    safety_identifier: str | None = None
    complexity: str | None = None
    frame_count: int | None = None
    frame_duration_ms: int | None = None
    svg: dict[str, Any] | None = None
    extra: dict[str, JsonValue] = field(default_factory=dict)


_READERS: Final[Mapping[str, Reader]] = MappingProxyType(
    {
        "model": text(),
        "prompt": text(minimum=1, maximum=LONGEST_PROMPT),
        "n": integer(1, MOST_IMAGES),
        "size": text(),
        # `standard` and `hd` are DALL·E's, yet clients send them to any model.
        "quality": choice("low", "medium", "high", "xhigh", "max", "auto", "standard", "hd"),
        "style": choice("vivid", "natural"),
        "response_format": choice("url", "b64_json"),
        "background": choice("transparent", "opaque", "auto"),
        "output_format": choice("png", "webp", "jpeg"),
        "output_compression": integer(0, 100),
        "moderation": choice("auto", "low"),
        "stream": flag,
        "partial_images": integer(0, 3),
        "user": text(),
        "safety_identifier": text(),
        "complexity": choice("low", "medium", "high"),
        "frame_count": integer(2, 16),
        "frame_duration_ms": integer(1),
        "svg": json_object,
    }
)
"""Every field, in the order in which OpenAI reports faults: model, prompt, n, the rest."""


def requested_model(body: object) -> str | None:
    """The model that a body names, for callers that look it up before reading the rest.

    Raises:
        MalformedBody, InvalidParameter
    """
    value = _json_object(body).get("model")
    return None if value is None else str(_READERS["model"]("model", value))


def parse_generation(body: object, *, schema: PipelineSchema | None = None) -> ImageGenerationRequest:
    """Read a JSON body. A null is an omission; keys that are not OpenAI's are kept in ``extra``.

    With a ``schema``, keys that the model does not know either are refused before the prompt is
    looked at, which is OpenAI's order; without it, `compat.mapping` refuses them later.

    Raises:
        MalformedBody: the body is no object.
        UnknownParameter, MissingParameter, InvalidParameter: in OpenAI's words.
    """
    given = _json_object(body)
    extra = {name: value for name, value in given.items() if name not in _READERS}
    requested_model(given)
    if schema is not None:
        refuse_unknown(extra, schema.call)
    if given.get("prompt") is None:
        raise MissingParameter("prompt")
    values: dict[str, Any] = {
        name: read(name, given[name]) for name, read in _READERS.items() if given.get(name) is not None
    }
    return ImageGenerationRequest(**values, extra=extra)


def images_response(model: str, mapped: Mapped, result: EngineResult, *, created: int | None = None) -> bytes:
    """Render OpenAI's ``ImagesResponse`` as JSON, with what this gateway adds.

    The additions are ``model``, ``parameters`` (the values really used), ``ignored``, ``adjusted``,
    ``compute_metrics`` and each picture's ``seed``. ``created`` is in Unix seconds; now by default.
    """
    first = result.images[0]
    tail = {
        "background": "opaque",
        "output_format": first.format.value,
        "quality": mapped.quality,
        "size": f"{first.width}x{first.height}",
        "usage": usage(result),
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


def _json_object(body: object) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise MalformedBody(f"expected a JSON object, but got {type_word(body)} instead")
    return body
