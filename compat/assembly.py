"""What every mapping ends with: the fields that all routes share, and the engine call.

In strict use a field that would be ignored is refused, save those that could change no picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from pydantic import JsonValue

from compat.errors import Unsupported
from compat.fields import integer
from compat.mapped import Ignored, Mapped, Operation
from compat.outputs import output_for
from compat.parameters import COUNT, GUIDANCE, HEIGHT, MASK, PROMPT, SEED, STEPS, WIDTH
from compat.policy import Policy
from compat.quality import guidance_for, resolved, steps_for
from compat.requests import ImageRequest
from compat.sizes import SizePlan
from compat.vocabulary import MOST_IMAGES
from engines.calls import LARGEST_SEED, EngineCall
from engines.card import Preset
from engines.schema import MethodSchema, PipelineSchema
from engines.validation import check

MODERATION: Final = "moderation"

NO_BEARING: Final[Mapping[str, str]] = MappingProxyType(
    {
        MODERATION: "this model is served without moderation",
        "user": "recorded nowhere",
        "safety_identifier": "recorded nowhere",
    }
)
"""Fields that could change no picture: reported, never refused."""

NO_EFFECT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "complexity": "the model plans no picture",
        "svg": "only for output_format=svg, which is not made here",
    }
)
"""Fields that no model served here can honour."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a request is mapped to."""

    operation: Operation
    schema: PipelineSchema
    method: MethodSchema
    preset: Preset
    policy: Policy
    request_id: str


def with_prompt(prompt: str, method: MethodSchema) -> tuple[dict[str, JsonValue], tuple[Ignored, ...]]:
    """The prompt as an input; a model that takes no text ignores it."""
    spec = method.find(PROMPT)
    if spec is not None and spec.visible:
        return {PROMPT: prompt}, ()
    return {}, (Ignored(PROMPT, "the model takes no text"),)


def own_values(
    request: ImageRequest, target: Target, inputs: Mapping[str, JsonValue]
) -> dict[str, JsonValue]:
    """The inputs and the model's own parameters, checked together; without the seed.

    Raises:
        UnknownParameter, MissingParameter, InvalidParameter
    """
    own = {name: value for name, value in request.extra.items() if name != SEED}
    return check(target.method, {**own, **inputs})


def assemble(
    request: ImageRequest,
    target: Target,
    *,
    given: Mapping[str, JsonValue],
    plan: SizePlan,
    derived: Mapping[str, JsonValue] | None = None,
    ignored: tuple[Ignored, ...] = (),
    input_image_tokens: int = 0,
) -> Mapped:
    """Make the call. ``given`` comes of `own_values`; ``derived`` and ``ignored`` are the route's own.

    Raises:
        InvalidParameter: of the count or the seed.
        Unsupported: a wish that cannot be fulfilled, or, in strict use, would be ignored.
    """
    schema, method = target.schema, target.method
    count = 1 if request.n is None else integer(1, _most_images(method))("n", request.n)
    seed = request.extra.get(SEED)
    seed = None if seed is None else integer(0, LARGEST_SEED)(SEED, seed)
    output = output_for(request, schema, target.policy, count=count)
    steps = steps_for(request.quality, method, given=given, factors=target.preset.quality)
    guidance = guidance_for(request.style, method, given=given)
    parameters = {**given, **(derived or {}), **_sized(plan)}
    if isinstance(steps, int):
        parameters[STEPS] = steps
    if isinstance(guidance, float):
        parameters[GUIDANCE] = guidance
    unheard = (steps, guidance, *plan.ignored, *ignored, *output.ignored, *_told(request, NO_EFFECT))
    told = tuple(entry for entry in unheard if isinstance(entry, Ignored))
    if target.policy.strict and told:
        raise refusal(schema, told[0])
    call = EngineCall(
        request_id=target.request_id,
        method=method.name,
        parameters=parameters,
        count=count,
        seed=seed,
        format=output.format,
        compression=output.compression,
        resize_to=plan.resize_to,
        fit_inputs=plan.fit_inputs,
        keep_unmasked=MASK in given,
        opaque=output.background == "opaque",
        previews=output.previews,
        frames=output.frames,
        frame_milliseconds=output.frame_milliseconds,
        deadline_seconds=request.timeout,
    )
    return Mapped(
        call=call,
        operation=target.operation,
        delivery=output.delivery,
        stream=output.stream,
        background=output.background,
        input_image_tokens=input_image_tokens,
        ignored=(*told, *_told(request, _no_bearing(schema)), *request.unknown),
        adjusted=plan.adjusted,
        quality=resolved(None if isinstance(steps, Ignored) else request.quality),
    )


def _no_bearing(schema: PipelineSchema) -> Mapping[str, str]:
    """Of a model with a safety checker ``moderation`` is honoured: the checker knows one strictness."""
    if not schema.moderated:
        return NO_BEARING
    return {name: reason for name, reason in NO_BEARING.items() if name != MODERATION}


def refusal(schema: PipelineSchema, ignored: Ignored) -> Unsupported:
    """In strict use: the refusal of what would be ignored."""
    name = ignored.field
    return Unsupported(
        name, f"The model {schema.model_id!r} does not support the {name!r} parameter: {ignored.reason}."
    )


def _sized(plan: SizePlan) -> dict[str, Any]:
    return {} if plan.draw is None else {WIDTH: plan.draw[0], HEIGHT: plan.draw[1]}


def _most_images(method: MethodSchema) -> int:
    """OpenAI's limit, or the model's own where that is lower."""
    spec = method.find(COUNT)
    own = spec.constraints.maximum if spec else None
    return MOST_IMAGES if own is None else min(MOST_IMAGES, int(own))


def _told(request: ImageRequest, reasons: Mapping[str, str]) -> Iterator[Ignored]:
    for name, reason in reasons.items():
        if getattr(request, name) is not None:
            yield Ignored(name, reason)
