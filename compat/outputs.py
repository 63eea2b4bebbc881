"""How a finished picture leaves: its format, how tightly packed, in frames or on the way, and where to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from compat.delivery import delivery_for
from compat.errors import Unsupported
from compat.mapped import Delivery, Ignored
from compat.policy import Policy
from compat.requests import ImageRequest
from engines.calls import FRAME_MILLISECONDS, FRAMES, ImageFormat
from engines.schema import PipelineSchema

LONGEST_FRAME: Final = 655_350
"""Milliseconds; a GIF counts hundredths of a second in 16 bits."""

EVENTS_CARRY: Final = "events carry base64"

_UNSUPPORTED: Final = "unsupported_parameter"
_UNCOMPRESSED: Final = {ImageFormat.PNG: "PNG", ImageFormat.GIF: "GIF"}


@dataclass(frozen=True, kw_only=True)
class Output:
    """The part of a call, and of what goes around it, that says how pictures leave."""

    format: ImageFormat
    compression: int | None
    frames: int
    frame_milliseconds: int
    previews: int
    stream: bool
    delivery: Delivery
    background: str
    ignored: tuple[Ignored, ...]


def output_for(request: ImageRequest, schema: PipelineSchema, policy: Policy, *, count: int) -> Output:
    """Decide how the pictures of a request leave.

    Raises:
        Unsupported: a wish that cannot be fulfilled, or that contradicts another.
    """
    image_format = ImageFormat(request.output_format or ImageFormat.PNG)
    stream = bool(request.stream)
    if stream:
        _check_stream(image_format, count)
    _check_background(request, schema, image_format)
    frames, duration = _frames(request, image_format)
    return Output(
        format=image_format,
        compression=_compression(request.output_compression, image_format),
        frames=frames,
        frame_milliseconds=duration,
        previews=(request.partial_images or 0) if stream else 0,
        stream=stream,
        background=_background(request, schema, image_format),
        delivery=Delivery() if stream else delivery_for(request.model, request.response_format, policy),
        ignored=tuple(_ignored(request, image_format, stream=stream)),
    )


def _check_stream(image_format: ImageFormat, count: int) -> None:
    if count > 1:
        raise Unsupported("n", "Streaming is only supported with n=1.", _UNSUPPORTED)
    if image_format is ImageFormat.GIF:
        raise Unsupported("stream", "Streaming is not supported for GIF output format", _UNSUPPORTED)


def _check_background(request: ImageRequest, schema: PipelineSchema, image_format: ImageFormat) -> None:
    if request.background != "transparent":
        return
    if image_format in (ImageFormat.JPEG, ImageFormat.GIF):
        raise Unsupported(
            None,
            f"Transparent background is not supported for {image_format.name} output format",
            "invalid_transparent_background_output_format",
        )
    if schema.transparent:
        return
    raise Unsupported(
        "background",
        f"The model {schema.model_id!r} does not support the background 'transparent'. "
        "Use 'opaque' or 'auto'.",
    )


def _background(request: ImageRequest, schema: PipelineSchema, image_format: ImageFormat) -> str:
    """What it will be; ``auto`` keeps the transparency that a model draws, where the format can."""
    able = schema.transparent and image_format in (ImageFormat.PNG, ImageFormat.WEBP)
    return "transparent" if able and request.background != "opaque" else "opaque"


def _frames(request: ImageRequest, image_format: ImageFormat) -> tuple[int, int]:
    """How many frames, and the milliseconds of each; without a GIF what is asked for is ignored."""
    if image_format is not ImageFormat.GIF:
        return FRAMES, FRAME_MILLISECONDS
    duration = request.frame_duration_ms or FRAME_MILLISECONDS
    return request.frame_count or FRAMES, min(duration, LONGEST_FRAME)


def _compression(given: int | None, image_format: ImageFormat) -> int | None:
    name = _UNCOMPRESSED.get(image_format)
    if name is None or given is None:
        return given
    if given < 100:
        raise Unsupported(
            None,
            f"Compression less than 100 is not supported for {name} output format",
            f"invalid_{name.lower()}_output_compression",
        )
    return None


def _ignored(request: ImageRequest, image_format: ImageFormat, *, stream: bool) -> Iterator[Ignored]:
    if request.partial_images and not stream:
        yield Ignored("partial_images", "only with stream")
    if stream and request.response_format == "url":
        yield Ignored("response_format", EVENTS_CARRY)
    if image_format is not ImageFormat.GIF:
        for name in ("frame_count", "frame_duration_ms"):
            if getattr(request, name) is not None:
                yield Ignored(name, "only with output_format=gif")
