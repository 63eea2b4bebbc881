"""OpenAI's standard fields x a model's schema -> an engine call, and what became of each wish.

=====================  =======================================================================
field                  becomes
=====================  =======================================================================
prompt                 the pipeline's prompt
n                      the call's count
size                   width and height, or a resampling of the best size (`compat.sizes`)
quality                a number of steps relative to the default (`compat.quality`)
style                  a guidance scale relative to the default (`compat.quality`)
output_format          the call's format
output_compression     the call's compression; below 100 there is none for PNG
background             ``opaque`` and ``auto`` are what every model draws; ``transparent`` is refused
response_format        ``b64_json``; ``url`` is refused
stream                 refused when true
seed (not OpenAI's)    the call's seed
any other key          the pipeline's own parameter, synonyms resolved (`compat.synonyms`)
everything else        listed in ``ignored``
=====================  =======================================================================

In strict use a field that would be ignored is refused, save those that could change no picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from pydantic import JsonValue

from compat.errors import Unsupported
from compat.fields import integer
from compat.images import MOST_IMAGES, ImageGenerationRequest
from compat.mapped import Ignored, Mapped
from compat.parameters import COUNT, GUIDANCE, HEIGHT, PROMPT, SEED, STEPS, WIDTH
from compat.quality import guidance_for, resolved, steps_for
from compat.sizes import plan_size, requested_size
from compat.synonyms import COUNT_NAMES, with_real_names
from engines.calls import LARGEST_SEED, EngineCall, ImageFormat
from engines.card import Preset
from engines.errors import InvalidParameter
from engines.schema import Capability, PipelineSchema, SizeRule
from engines.validation import check

NO_BEARING: Final[Mapping[str, str]] = MappingProxyType(
    {
        "moderation": "no moderation is run here",
        "user": "recorded nowhere",
        "safety_identifier": "recorded nowhere",
    }
)
"""Fields that could change no picture: reported, never refused."""

NO_EFFECT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "complexity": "the model plans no picture",
        "frame_count": "only for output_format=gif, which is not made here",
        "frame_duration_ms": "only for output_format=gif, which is not made here",
        "svg": "only for output_format=svg, which is not made here",
    }
)
"""Fields that no model served here can honour."""


def map_generation(
    request: ImageGenerationRequest,
    schema: PipelineSchema,
    *,
    preset: Preset,
    strict: bool = False,
    request_id: str,
) -> Mapped:
    """Map a generation to a call of the model.

    Raises:
        UnknownParameter, MissingParameter, InvalidParameter: of the model's own parameters.
        InvalidSize: the model does not make this size.
        Unsupported: a wish that cannot be fulfilled, or, in strict use, would be ignored.
    """
    _require_text_to_image(schema)
    given, seed, count = _own_parameters(request, schema)
    _refuse_impossible(request, schema)
    rule = schema.size or SizeRule()
    plan = plan_size(requested_size(request.size, given, rule), rule, schema.call)
    steps = steps_for(request.quality, schema.call, given=given, factors=preset.quality)
    guidance = guidance_for(request.style, schema.call, given=given)
    derived: dict[str, JsonValue] = {}
    if plan.draw is not None:
        derived |= {WIDTH: plan.draw[0], HEIGHT: plan.draw[1]}
    if isinstance(steps, int):
        derived[STEPS] = steps
    if isinstance(guidance, float):
        derived[GUIDANCE] = guidance
    unheard = (steps, guidance, *plan.ignored, *_without_effect(request))
    ignored = tuple(entry for entry in unheard if isinstance(entry, Ignored))
    if strict and ignored:
        raise _refusal(schema, ignored[0])
    call = EngineCall(
        request_id=request_id,
        method=schema.call.name,
        parameters=given | derived,
        count=count,
        seed=seed,
        format=ImageFormat(request.output_format or ImageFormat.PNG),
        compression=_compression(request),
        resize_to=plan.resize_to,
    )
    told = (*ignored, *_without_bearing(request))
    quality = resolved(None if isinstance(steps, Ignored) else request.quality)
    return Mapped(call=call, ignored=told, adjusted=plan.adjusted, quality=quality)


def _own_parameters(
    request: ImageGenerationRequest, schema: PipelineSchema
) -> tuple[dict[str, JsonValue], int | None, int]:
    """The prompt and the model's own parameters, checked under their real names; the seed; the count."""
    given = with_real_names(request.extra, schema.call)
    # Clients spell "not set" as null, and some pipelines fail on a null that their signature allows.
    known = {spec.name for spec in schema.call.visible} | {SEED, *COUNT_NAMES}
    given = {name: value for name, value in given.items() if value is not None or name not in known}
    seed = given.pop(SEED, None)
    count = request.n
    for name in COUNT_NAMES:
        if name in given:
            count = _same_count(count, name, given.pop(name))
    checked = check(schema.call, {PROMPT: request.prompt, **given})
    seed = None if seed is None else integer(0, LARGEST_SEED)(SEED, seed)
    return checked, seed, 1 if count is None else integer(1, _most_images(schema))("n", count)


def _most_images(schema: PipelineSchema) -> int:
    """OpenAI's limit, or the model's own where that is lower."""
    spec = schema.call.find(COUNT)
    own = spec.constraints.maximum if spec else None
    return MOST_IMAGES if own is None else min(MOST_IMAGES, int(own))


def _same_count(count: int | None, name: str, value: JsonValue) -> int:
    wanted: int = integer(1, MOST_IMAGES)(name, value)
    if count is not None and count != wanted:
        raise InvalidParameter(name, f"{wanted} contradicts n, which is {count}.")
    return wanted


def _require_text_to_image(schema: PipelineSchema) -> None:
    if Capability.TEXT_TO_IMAGE not in schema.capabilities:
        able = ", ".join(schema.capabilities) or "nothing known"
        raise Unsupported(
            "model", f"The model {schema.model_id!r} cannot draw from text alone. It does: {able}."
        )


def _refuse_impossible(request: ImageGenerationRequest, schema: PipelineSchema) -> None:
    if request.background == "transparent":
        raise Unsupported(
            "background",
            f"The model {schema.model_id!r} does not support the background 'transparent'. "
            "Use 'opaque' or 'auto'.",
        )
    if request.response_format == "url":
        raise Unsupported("response_format", "URLs are not served in this version. Use 'b64_json'.")
    if request.stream:
        raise Unsupported("stream", "Streaming is not supported in this version.", "unsupported_parameter")


def _without_effect(request: ImageGenerationRequest) -> Iterator[Ignored]:
    if request.partial_images:
        yield Ignored("partial_images", "only with stream")
    for name, reason in NO_EFFECT.items():
        if getattr(request, name) is not None:
            yield Ignored(name, reason)


def _without_bearing(request: ImageGenerationRequest) -> Iterator[Ignored]:
    for name, reason in NO_BEARING.items():
        if getattr(request, name) is not None:
            yield Ignored(name, reason)


def _refusal(schema: PipelineSchema, ignored: Ignored) -> Unsupported:
    name = ignored.field
    return Unsupported(
        name, f"The model {schema.model_id!r} does not support the {name!r} parameter: {ignored.reason}."
    )


def _compression(request: ImageGenerationRequest) -> int | None:
    if request.output_compression is None or request.output_format not in (None, ImageFormat.PNG):
        return request.output_compression
    if request.output_compression < 100:
        raise Unsupported(
            None,
            "Compression less than 100 is not supported for PNG output format",
            "invalid_png_output_compression",
        )
    return None
