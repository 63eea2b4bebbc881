"""The schemas of request bodies: those that any model may be sent, and those of one model."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from compat.mapped import Operation
from compat.methods import edit_method, generation_method, variation_method
from compat.policy import Policy
from compat.request_schema import request_schema
from compat.stored_fields import BATCH_SCHEMA, FILE_SCHEMA
from engines.errors import InvalidRequest
from engines.native_schema import ANSWER_PARAMETERS, method_request, requests
from engines.schema import MethodSchema, PipelineSchema, parameter_schema

NAMES: Final[Mapping[Operation, str]] = {
    Operation.GENERATION: "Generation",
    Operation.EDIT: "Edit",
    Operation.VARIATION: "Variation",
}
_PROMPT: Final = "a red fox in the snow"
_DOT: Final = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
    "AABJRU5ErkJggg=="
)
EXAMPLES: Final[Mapping[Operation, Mapping[str, Any]]] = {
    Operation.GENERATION: {"prompt": _PROMPT, "n": 1, "size": "auto", "response_format": "b64_json"},
    Operation.EDIT: {"prompt": _PROMPT, "images": [{"image_url": _DOT}]},
    Operation.VARIATION: {"image": {"image_url": _DOT}},
}
_STREAM: Final = {"type": ["boolean", "null"], "description": "Answer with events."}


def any_models(policy: Policy) -> dict[str, Any]:
    """The bodies of every route, by the names of their schemas."""
    found: dict[str, Any] = {"FileForm": FILE_SCHEMA, "BatchRequest": BATCH_SCHEMA}
    for operation in NAMES:
        found |= _images(operation, policy, None)
    answer = {name: parameter_schema(spec) for name, spec in ANSWER_PARAMETERS.items()}
    found["NativeRequest"] = {
        "type": "object",
        "properties": {**answer, "stream": _STREAM},
        "additionalProperties": {"description": "A parameter of the model: see its schema."},
        "examples": [{"prompt": _PROMPT}],
    }
    return found


def models_own(schema: PipelineSchema, policy: Policy) -> dict[str, Any]:
    """The bodies that one model takes; operations that it does not serve have none."""
    found: dict[str, Any] = {}
    for operation in NAMES:
        methods = serving(operation, schema)
        if methods:
            found |= _images(operation, policy, methods)
    native = [_native(schema, method) for method in requests(schema)]
    found["NativeRequest"] = native[0] if len(native) == 1 else {"anyOf": native}
    return found


def serving(operation: Operation, schema: PipelineSchema) -> tuple[MethodSchema, ...]:
    """The methods that an operation can go to; none where the model does not serve it."""
    methods: list[MethodSchema] = []
    with suppress(InvalidRequest):
        if operation is Operation.GENERATION:
            methods.append(generation_method(schema))
        elif operation is Operation.VARIATION:
            methods.append(variation_method(schema))
    if operation is Operation.EDIT:
        for masked in (False, True):
            with suppress(InvalidRequest):
                methods.append(edit_method(schema, masked=masked))
    return tuple(methods)


def _images(operation: Operation, policy: Policy, methods: tuple[MethodSchema, ...] | None) -> dict[str, Any]:
    name = NAMES[operation]
    plain = request_schema(operation, policy=policy, methods=methods)
    form = request_schema(operation, policy=policy, methods=methods, form=True)
    return {f"{name}Request": plain | {"examples": [EXAMPLES[operation]]}, f"{name}Form": form}


def _native(schema: PipelineSchema, method: MethodSchema) -> dict[str, Any]:
    described = method_request(schema, method, title=method.name)
    del described["$schema"]
    if method.find("stream") is None:
        described["properties"]["stream"] = _STREAM
    return described
