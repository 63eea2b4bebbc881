"""What sets one kind of model apart from another, as far as OpenAI's fields are concerned."""

from __future__ import annotations

from compat.methods import most_pictures
from compat.parameters import GUIDANCE, IMAGE, MASK, PROMPT, STEPS, STRENGTH
from compat.sizes import Size, takes_size
from engines.schema import MethodSchema, ParameterSpec, PipelineSchema, SizeFit, SizeRule
from engines.validation import nearest_valid


def takes_text(_: PipelineSchema, method: MethodSchema) -> bool:
    """The method has a prompt."""
    return _visible(method, PROMPT) is not None


def takes_picture(_: PipelineSchema, method: MethodSchema) -> bool:
    """The method has an image."""
    return _visible(method, IMAGE) is not None


def combines_pictures(_: PipelineSchema, method: MethodSchema) -> bool:
    """The method makes one picture of several."""
    return most_pictures(method) > 1


def inpaints(schema: PipelineSchema, _: MethodSchema) -> bool:
    """The model repaints what a mask says."""
    return schema.method("inpaint") is not None or _visible(schema.call, MASK) is not None


def has_steps(_: PipelineSchema, method: MethodSchema) -> bool:
    """The method has a number of steps with a default."""
    return _number(_visible(method, STEPS)) is not None


def is_guided(_: PipelineSchema, method: MethodSchema) -> bool:
    """The method draws with guidance, and would at a lower scale."""
    guidance = _number(_visible(method, GUIDANCE))
    return guidance is not None and guidance * 0.75 > 1


def has_strength(_: PipelineSchema, method: MethodSchema) -> bool:
    """The method has a strength."""
    return _visible(method, STRENGTH) is not None


def makes(size: Size, schema: PipelineSchema, method: MethodSchema) -> bool:
    """The method draws this very size."""
    rule = schema.size or SizeRule()
    if not takes_size(method):
        return size == (rule.default_width, rule.default_height)
    supported = rule.native or rule.fixed
    return size in supported if supported else nearest_valid(rule, *size) == (size,)


def may_resample(schema: PipelineSchema, _: MethodSchema) -> bool:
    """The model's preset allows pictures to be resampled."""
    return (schema.size or SizeRule()).fit is SizeFit.RESIZE


def is_sizeless(_: PipelineSchema, method: MethodSchema) -> bool:
    """The method takes no size."""
    return not takes_size(method)


def _visible(method: MethodSchema, name: str) -> ParameterSpec | None:
    spec = method.find(name)
    return spec if spec is not None and spec.visible else None


def _number(spec: ParameterSpec | None) -> float | None:
    default = spec.default if spec else None
    return default if isinstance(default, int | float) and not isinstance(default, bool) else None
