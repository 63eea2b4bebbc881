"""OpenAI's fields x a model's schema -> an engine call, and what became of each wish.

What becomes of each field on each route is the table in `compat.decisions`.
"""

from __future__ import annotations

from compat.assembly import Target, assemble, own_values, with_prompt
from compat.mapped import Mapped, Operation
from compat.methods import generation_method
from compat.policy import Policy
from compat.requests import ImageGenerationRequest
from compat.sizes import plan_size, requested_size
from engines.card import Preset
from engines.schema import PipelineSchema, SizeRule


def map_generation(
    request: ImageGenerationRequest,
    schema: PipelineSchema,
    *,
    preset: Preset,
    policy: Policy,
    request_id: str,
) -> Mapped:
    """Map a generation to a call of the model.

    Raises:
        MissingParameter, InvalidParameter: of the model's own parameters.
        InvalidSize: the model does not make this size.
        Unsupported: a wish that cannot be fulfilled, or, in strict use, would be ignored.
    """
    method = generation_method(schema)
    target = Target(
        operation=Operation.GENERATION,
        schema=schema,
        method=method,
        preset=preset,
        policy=policy,
        request_id=request_id,
    )
    inputs, ignored = with_prompt(request.prompt, method)
    given = own_values(request, target, inputs)
    rule = schema.size or SizeRule()
    plan = plan_size(requested_size(request.size, given, rule), rule, method)
    return assemble(request, target, given=given, plan=plan, ignored=ignored)
