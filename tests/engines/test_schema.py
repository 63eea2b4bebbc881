"""The description as data, and as a JSON Schema."""

from jsonschema import Draft202012Validator

from engines.schema import (
    UNSET,
    Constraints,
    MethodSchema,
    ParameterSpec,
    ValueKind,
    ValueType,
    json_schema,
)

TEXT = ValueType(kind=ValueKind.STRING)
PROMPT = ParameterSpec(name="prompt", required=True, annotation="str", type=TEXT, description="What to draw.")
STEPS = ParameterSpec(
    name="steps",
    required=False,
    default=20,
    annotation="int",
    type=ValueType(kind=ValueKind.INTEGER),
    constraints=Constraints(minimum=1),
)
NEGATIVE = ParameterSpec(
    name="negative", required=False, default=None, nullable=True, annotation="", type=TEXT
)
HIDDEN = ParameterSpec(name="latents", required=False, annotation="", type=TEXT, visible=False)
METHOD = MethodSchema(name="__call__", pipeline_class="P", parameters=(PROMPT, STEPS, NEGATIVE, HIDDEN))


def test_unset_and_null_defaults_survive_json() -> None:
    again = MethodSchema.model_validate_json(METHOD.model_dump_json())
    assert again == METHOD
    assert again.parameters[0].default is UNSET
    assert again.parameters[2].default is None


def test_json_schema_accepts_what_the_method_accepts() -> None:
    validator = Draft202012Validator(json_schema(METHOD, title="m"))
    assert validator.is_valid({"prompt": "x", "steps": 1, "negative": None})


def test_json_schema_refuses_the_rest() -> None:
    validator = Draft202012Validator(json_schema(METHOD, title="m"))
    for bad in ({}, {"prompt": 1}, {"prompt": "x", "steps": 0}, {"prompt": "x", "latents": "y"}):
        assert not validator.is_valid(bad)


def test_json_schema_carries_descriptions_and_defaults() -> None:
    properties = json_schema(METHOD, title="m")["properties"]
    assert properties["prompt"]["description"] == "What to draw."
    assert properties["steps"]["default"] == 20
    assert "default" not in properties["prompt"]
