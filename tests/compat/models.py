"""Descriptions of three kinds of model, made by hand: a rounding one, a strict one, a list of sizes."""

from __future__ import annotations

from typing import Any

from engines.schema import (
    Capability,
    Constraints,
    MethodSchema,
    ParameterSpec,
    PipelineSchema,
    SizeFit,
    SizeRounding,
    SizeRule,
    ValueKind,
    ValueType,
)

TEXT = ValueType(kind=ValueKind.STRING)
INTEGER = ValueType(kind=ValueKind.INTEGER)
NUMBER = ValueType(kind=ValueKind.NUMBER)
IMAGE = ValueType(kind=ValueKind.IMAGE)


def spec(name: str, type_: ValueType, **fields: Any) -> ParameterSpec:
    """An optional parameter."""
    fields = {"required": False, "annotation": type_.kind.value} | fields
    return ParameterSpec(name=name, type=type_, **fields)


PROMPT = spec("prompt", TEXT, required=True)
NEGATIVE = spec("negative_prompt", TEXT, default=None, nullable=True)
STEPS = spec("num_inference_steps", INTEGER, default=25, constraints=Constraints(minimum=2, maximum=1000))
GUIDANCE = spec("guidance_scale", NUMBER, default=3.0)
HIDDEN = spec("latents", ValueType(kind=ValueKind.OPAQUE), visible=False, hidden_reason="a tensor")


def edges(default: int | None) -> tuple[ParameterSpec, ...]:
    return (
        spec("width", INTEGER, default=default, nullable=True, constraints=Constraints(minimum=1)),
        spec("height", INTEGER, default=default, nullable=True, constraints=Constraints(minimum=1)),
    )


def schema(*parameters: ParameterSpec, size: SizeRule | None = None, **fields: Any) -> PipelineSchema:
    """A model of these parameters."""
    call = MethodSchema(name="__call__", pipeline_class="Pipeline", parameters=parameters)
    fields = {"capabilities": (Capability.TEXT_TO_IMAGE,), "methods": (call,)} | fields
    return PipelineSchema(
        model_id="model", pipeline_class="Pipeline", family="diffusers", size=size, **fields
    )


TINY = schema(
    PROMPT,
    NEGATIVE,
    STEPS,
    GUIDANCE,
    *edges(128),
    HIDDEN,
    size=SizeRule(
        default_width=128,
        default_height=128,
        multiple=64,
        rounding=SizeRounding.UP,
        native=((128, 128),),
        fit=SizeFit.RESIZE,
    ),
)
"""As a tiny Kandinsky 3: made for 128x128, other sizes are resampled."""

STRICT = TINY.model_copy(
    update={
        "size": SizeRule(
            default_width=1024,
            default_height=1024,
            multiple=64,
            native=((1024, 1024), (1536, 1024)),
        )
    }
)
"""Made for two sizes, and nothing else will do."""

FREE = schema(
    PROMPT,
    spec("num_inference_steps", INTEGER, default=28, constraints=Constraints(minimum=1)),
    spec("guidance_scale", NUMBER, default=3.5),
    *edges(1024),
    size=SizeRule(default_width=1024, default_height=1024, multiple=16, rounding=SizeRounding.REFUSES),
)
"""As Flux: any multiple of 16."""

SEVEN_SIZES = (
    (1024, 1024),
    (640, 1408),
    (1408, 640),
    (768, 1280),
    (1280, 768),
    (896, 1152),
    (1152, 896),
)


def listed(fit: SizeFit) -> PipelineSchema:
    """As Kandinsky 5: seven sizes."""
    rule = SizeRule(
        default_width=1024,
        default_height=1024,
        multiple=16,
        rounding=SizeRounding.FIXED,
        fixed=SEVEN_SIZES,
        fit=fit,
    )
    return schema(PROMPT, STEPS, GUIDANCE, *edges(1024), size=rule)


def sizeless(fit: SizeFit) -> PipelineSchema:
    """A model without width, height, steps or guidance."""
    return schema(PROMPT, size=SizeRule(default_width=256, default_height=256, fit=fit))


ANY_INPUT = schema(
    PROMPT,
    STEPS,
    *edges(512),
    size=SizeRule(default_width=512, default_height=512, multiple=64, rounding=SizeRounding.UP),
    methods=(
        MethodSchema(name="__call__", pipeline_class="Text", parameters=(PROMPT, STEPS, *edges(512))),
        MethodSchema(
            name="image_to_image",
            pipeline_class="Image",
            parameters=(PROMPT, spec("image", IMAGE, required=True), STEPS),
        ),
        MethodSchema(
            name="inpaint",
            pipeline_class="Inpaint",
            parameters=(
                PROMPT,
                spec("image", IMAGE, required=True),
                spec("mask_image", IMAGE, required=True),
                STEPS,
            ),
        ),
    ),
)
"""As Kandinsky 2.2: a method for each kind of input."""
