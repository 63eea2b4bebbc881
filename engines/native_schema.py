"""What a native request may say, as JSON Schema: the pipeline's parameters, and those of the answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from engines.calls import ImageFormat
from engines.schema import (
    Constraints,
    MethodSchema,
    ParameterSpec,
    PipelineSchema,
    SizeRounding,
    SizeRule,
    ValueKind,
    ValueType,
    json_schema,
)

IMAGE: Final = "image"
MASK: Final = "mask_image"
TIMEOUT: Final = "timeout"


def _bounded(name: str, minimum: int, maximum: int, description: str) -> ParameterSpec:
    return ParameterSpec(
        name=name,
        required=False,
        nullable=True,
        annotation="int",
        type=ValueType(kind=ValueKind.INTEGER),
        constraints=Constraints(minimum=minimum, maximum=maximum),
        description=description,
    )


_SPECS: Final = (
    ParameterSpec(
        name="output_format",
        required=False,
        nullable=True,
        annotation="str",
        type=ValueType(kind=ValueKind.STRING, choices=tuple(known.value for known in ImageFormat)),
        description="Encoding of the pictures; png by default, gif shows the denoising.",
    ),
    _bounded("output_compression", 0, 100, "Of jpeg and webp, in percent; the others know only 100."),
    _bounded("partial_images", 0, 16, "Pictures of the way, where the answer is a stream."),
    _bounded("frame_count", 2, 16, "Frames of a gif."),
    _bounded("frame_duration_ms", 1, 655_350, "Milliseconds for each frame of a gif."),
    ParameterSpec(
        name=TIMEOUT,
        required=False,
        nullable=True,
        annotation="float",
        type=ValueType(kind=ValueKind.NUMBER),
        constraints=Constraints(exclusive_minimum=0),
        description="Seconds after which a call that is not finished is ended.",
    ),
)
ANSWER_PARAMETERS: Final[Mapping[str, ParameterSpec]] = MappingProxyType({spec.name: spec for spec in _SPECS})
"""What every native request may say of its answer, where the pipeline has no such parameter itself."""


def method_request(schema: PipelineSchema, method: MethodSchema, *, title: str) -> dict[str, Any]:
    """The JSON Schema of a request that goes to one method of a model."""
    own = {spec.name for spec in method.visible}
    added = tuple(spec for name, spec in ANSWER_PARAMETERS.items() if name not in own)
    specs = (*method.visible, *added)
    described = json_schema(method.model_copy(update={"parameters": specs}), title=title)
    for name in ("width", "height"):
        if name in own and schema.size is not None:
            described["properties"][name] |= _edge_rule(name, schema.size)
    return described


def requests(schema: PipelineSchema) -> Iterator[MethodSchema]:
    """The methods that native requests can reach: see `engines.native.map_native`."""
    own = {spec.name for spec in schema.call.visible}
    yield schema.call
    for name, method in ((IMAGE, "image_to_image"), (MASK, "inpaint")):
        found = schema.method(method)
        if found is not None and name not in own and found is not schema.call:
            yield found


def _edge_rule(name: str, rule: SizeRule) -> dict[str, Any]:
    """What becomes of an edge in a native request, where a size is never rounded."""
    if rule.rounding is SizeRounding.FIXED:
        place = 0 if name == "width" else 1
        return {"enum": [*sorted({size[place] for size in rule.fixed}), None]}
    return {"multipleOf": rule.multiple} if rule.multiple > 1 else {}
