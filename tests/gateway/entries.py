"""Registry entries made by hand, for tests that need no model on disk."""

from __future__ import annotations

from engines.card import CheckpointFormat, Family, ModelCard, Part
from engines.schema import (
    Capability,
    Constraints,
    MethodSchema,
    ParameterSpec,
    PipelineSchema,
    ValueKind,
    ValueType,
)
from gateway.registry import ModelEntry

PROMPT = ParameterSpec(
    name="prompt",
    required=True,
    annotation="str",
    type=ValueType(kind=ValueKind.STRING),
    description="What to draw.",
)
STEPS = ParameterSpec(
    name="num_inference_steps",
    required=False,
    default=25,
    annotation="int",
    type=ValueType(kind=ValueKind.INTEGER),
    constraints=Constraints(minimum=1),
)


def entry(name: str, *, aliases: tuple[str, ...] = ()) -> ModelEntry:
    """A Kandinsky 3 model of this name with two parameters."""
    card = ModelCard(
        name=name,
        path=f"/models/{name}",
        family=Family.KANDINSKY_3,
        format=CheckpointFormat.DIFFUSERS_FOLDER,
        part=Part.WHOLE,
        pipeline_class="Kandinsky3Pipeline",
        loadable=True,
        size=1000,
    )
    call = MethodSchema(name="__call__", pipeline_class="Kandinsky3Pipeline", parameters=(PROMPT, STEPS))
    schema = PipelineSchema(
        model_id=name,
        pipeline_class="Kandinsky3Pipeline",
        family=card.family.value,
        capabilities=(Capability.TEXT_TO_IMAGE,),
        methods=(call,),
    )
    return ModelEntry(card=card, schema_=schema, aliases=aliases)
