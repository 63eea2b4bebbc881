"""Kinds of model that OpenAI's fields meet, made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from engines.schema import (
    Capability,
    Constraints,
    Method,
    MethodSchema,
    ParameterSpec,
    PipelineSchema,
    SizeFit,
    SizeRule,
    ValueKind,
    ValueType,
)
from tests.compat.models import (
    FREE,
    GUIDANCE,
    IMAGE,
    NEGATIVE,
    NUMBER,
    PROMPT,
    STEPS,
    STRICT,
    TINY,
    edges,
    listed,
    schema,
    sizeless,
    spec,
)

PICTURES = ValueType(kind=ValueKind.UNION, options=(IMAGE, ValueType(kind=ValueKind.ARRAY, items=IMAGE)))
PICTURE = spec("image", PICTURES, required=True)
OPTIONAL_PICTURE = spec("image", PICTURES, default=None, nullable=True)
MASK = spec("mask_image", IMAGE, required=True)
STRENGTH = spec("strength", NUMBER, default=0.3, constraints=Constraints(minimum=0, maximum=1))
SEED = spec("seed", STEPS.type, nullable=True)

_CAPABILITIES: Final[Mapping[str, Capability]] = {
    "__call__": Capability.TEXT_TO_IMAGE,
    "image_to_image": Capability.IMAGE_TO_IMAGE,
    "inpaint": Capability.INPAINTING,
    "variation": Capability.VARIATION,
}


def method(name: Method, *parameters: ParameterSpec) -> MethodSchema:
    return MethodSchema(name=name, pipeline_class="Pipeline", parameters=(*parameters, SEED))


def model(*methods: MethodSchema, size: SizeRule | None = None) -> PipelineSchema:
    """A model of these methods, the first being its own call."""
    return schema(
        size=size, methods=methods, capabilities=tuple(_CAPABILITIES[found.name] for found in methods)
    )


_RULE: Final = SizeRule(default_width=512, default_height=512, multiple=64)
_CALL: Final = method("__call__", PROMPT, NEGATIVE, STEPS, GUIDANCE, *edges(512))

TO_IMAGE = model(
    _CALL,
    method("image_to_image", PROMPT, PICTURE, STRENGTH, STEPS, GUIDANCE),
    size=SizeRule(default_width=512, default_height=512, multiple=64, fit=SizeFit.RESIZE),
)
"""As Kandinsky 3: image-to-image with a strength, at the picture's own size."""

INPAINTING = model(
    _CALL,
    method("image_to_image", PROMPT, PICTURE, STRENGTH, STEPS, GUIDANCE, *edges(512)),
    method("inpaint", PROMPT, PICTURE, MASK, STEPS, GUIDANCE, *edges(512)),
    method("variation", PICTURE, STEPS, GUIDANCE, *edges(512)),
    size=_RULE,
)
"""As Kandinsky 2.2: everything, inpainting without a strength."""

INSTRUCTION = model(method("__call__", OPTIONAL_PICTURE, PROMPT, STEPS, *edges(1024)), size=FREE.size)
"""As Flux Kontext: its own call takes a picture, and it has no strength."""

SEVERAL = model(
    method(
        "__call__",
        OPTIONAL_PICTURE.model_copy(update={"constraints": Constraints(max_items=4)}),
        PROMPT,
        STEPS,
        *edges(1024),
    ),
    size=FREE.size,
)
"""As Flux 2: combines up to four pictures."""

MASK_ONLY = model(
    method(
        "__call__",
        PROMPT,
        PICTURE,
        MASK,
        STEPS,
        *edges(512),
    ),
    size=_RULE,
).model_copy(update={"capabilities": (Capability.INPAINTING,)})
"""As an inpainting checkpoint of Stable Diffusion: its own call wants a mask."""

TEXTLESS = model(method("__call__", PICTURE, GUIDANCE, *edges(512)), size=_RULE).model_copy(
    update={"capabilities": (Capability.IMAGE_TO_IMAGE,)}
)
"""As Stable Diffusion's image variations: pictures in, no text."""

DISTILLED = schema(
    PROMPT,
    spec("num_inference_steps", STEPS.type, default=4, constraints=Constraints(minimum=1)),
    spec("guidance_scale", NUMBER, default=0.0),
    *edges(512),
    size=_RULE,
)
"""Four steps, no guidance, no negative prompt."""

KINDS: Final[Mapping[str, PipelineSchema]] = MappingProxyType(
    {
        "text only, resampled": TINY,
        "two sizes": STRICT,
        "any size, no negative prompt": FREE,
        "seven sizes": listed(SizeFit.ERROR),
        "seven sizes, resampled": listed(SizeFit.RESIZE),
        "no size, no steps": sizeless(SizeFit.ERROR),
        "no size, resampled": sizeless(SizeFit.RESIZE),
        "distilled": DISTILLED,
        "image to image": TO_IMAGE,
        "inpainting and variations": INPAINTING,
        "instructions": INSTRUCTION,
        "several pictures": SEVERAL,
        "only with a mask": MASK_ONLY,
        "no text": TEXTLESS,
    }
)
