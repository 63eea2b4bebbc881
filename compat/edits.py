"""Edits and variations x a model's schema -> an engine call, and what became of each wish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import pybase64
from pydantic import JsonValue

from compat.assembly import Target, assemble, own_values, with_prompt
from compat.edit_sizes import plan_edit_size
from compat.errors import Unsupported
from compat.fidelity import VARIATION_STRENGTH, strength_for
from compat.mapped import Adjusted, Ignored, Mapped, Operation
from compat.methods import edit_method, most_pictures, variation_method
from compat.parameters import IMAGE, MASK, PROMPT, STRENGTH
from compat.policy import Policy
from compat.requests import ImageEditRequest, ImageRequest, ImageVariationRequest
from compat.sizes import requested_size
from compat.tokens import image_tokens
from engines.calls import Picture
from engines.card import Preset
from engines.schema import MethodSchema, PipelineSchema, SizeRule

STILL: Final = Adjusted("image", "animation", "first frame", "a model draws from one picture")


def map_edit(
    request: ImageEditRequest,
    schema: PipelineSchema,
    *,
    pictures: Sequence[Picture],
    mask: bytes | None,
    preset: Preset,
    policy: Policy,
    request_id: str,
) -> Mapped:
    """Map an edit to a call of the model; ``mask`` is a grey PNG of the first picture's size, white
    where to paint.

    Raises:
        MissingParameter, InvalidParameter: of the model's own parameters.
        InvalidSize: the model does not make this size.
        Unsupported: a wish that cannot be fulfilled, or, in strict use, would be ignored.
    """
    method = edit_method(schema, masked=mask is not None)
    target = Target(
        operation=Operation.EDIT,
        schema=schema,
        method=method,
        preset=preset,
        policy=policy,
        request_id=request_id,
    )
    _check_number(len(pictures), method, schema)
    inputs, ignored = with_prompt(request.prompt, method)
    inputs |= _pictures(pictures)
    if mask is not None:
        inputs[MASK] = pybase64.b64encode_as_string(mask)
    elif request.mask_feather is not None:
        ignored = (*ignored, Ignored("mask_feather", "only with mask"))
    return _map(request, target, pictures, inputs=inputs, ignored=ignored)


def map_variation(
    request: ImageVariationRequest,
    schema: PipelineSchema,
    *,
    picture: Picture,
    preset: Preset,
    policy: Policy,
    request_id: str,
) -> Mapped:
    """Map a variation to a call of the model, with an empty prompt where it takes one.

    Raises:
        MissingParameter, InvalidParameter: of the model's own parameters.
        InvalidSize: the model does not make this size.
        Unsupported: a wish that cannot be fulfilled, or, in strict use, would be ignored.
    """
    method = variation_method(schema)
    target = Target(
        operation=Operation.VARIATION,
        schema=schema,
        method=method,
        preset=preset,
        policy=policy,
        request_id=request_id,
    )
    prompt = request.extra.get(PROMPT)
    inputs, _ = with_prompt(prompt if isinstance(prompt, str) else "", method)
    inputs |= _pictures([picture])
    strength = VARIATION_STRENGTH if method.name != "variation" else None
    return _map(request, target, [picture], inputs=inputs, strength=strength)


def _map(
    request: ImageRequest,
    target: Target,
    pictures: Sequence[Picture],
    *,
    inputs: dict[str, JsonValue],
    ignored: tuple[Ignored, ...] = (),
    strength: float | None = None,
) -> Mapped:
    given = own_values(request, target, inputs)
    rule = target.schema.size or SizeRule()
    first = pictures[0]
    requested = requested_size(request.size, given, rule)
    plan = plan_edit_size(requested, (first.width, first.height), rule, target.method)
    found = strength_for(request.input_fidelity, target.method, given=given, otherwise=strength)
    derived: dict[str, Any] = {STRENGTH: found} if isinstance(found, float) else {}
    if isinstance(found, Ignored):
        ignored = (*ignored, found)
    stills = tuple(STILL for picture in pictures if picture.animated)
    return assemble(
        request,
        target,
        given=given,
        plan=replace(plan, adjusted=(*plan.adjusted, *stills)),
        derived=derived,
        ignored=ignored,
        input_image_tokens=sum(image_tokens(picture.width, picture.height) for picture in pictures),
    )


def _pictures(pictures: Sequence[Picture]) -> dict[str, JsonValue]:
    encoded: list[JsonValue] = [pybase64.b64encode_as_string(picture.data) for picture in pictures]
    return {IMAGE: encoded[0] if len(encoded) == 1 else encoded}


def _check_number(number: int, method: MethodSchema, schema: PipelineSchema) -> None:
    most = most_pictures(method)
    if number > most:
        able = "one picture" if most == 1 else f"up to {most} pictures"
        raise Unsupported("image", f"The model {schema.model_id!r} edits {able} at a time, but got {number}.")
