"""What the bodies of OpenAI's image routes may say, as JSON Schema: made of the readers that read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from compat.field_table import TABLE
from compat.fields_page import described
from compat.mapped import Operation
from compat.methods import most_pictures
from compat.picture_fields import LONGEST_URL
from compat.policy import Policy, UnknownFields
from compat.sizes import SIZE
from compat.strict import known_fields, of_the_model
from compat.synonyms import FIELD_SYNONYMS, SYNONYMS
from compat.vocabulary import MOST_PICTURES, READERS
from engines.calls import LARGEST_SEED
from engines.schema import MethodSchema, parameter_schema

FILE: Final[Mapping[str, Any]] = {"type": "string", "format": "binary"}
_URL: Final = {"type": "string", "format": "uri", "minLength": 1, "maxLength": LONGEST_URL}
_ID: Final = {"type": "string", "minLength": 1}
REFERENCE: Final[Mapping[str, Any]] = {
    "type": "object",
    "description": "A picture: a `data:` URI, the address of one, or the id of an uploaded file.",
    "oneOf": [
        {"properties": {"image_url": _URL, "file_id": {"type": "null"}}, "required": ["image_url"]},
        {"properties": {"file_id": _ID, "image_url": {"type": "null"}}, "required": ["file_id"]},
    ],
    "propertyNames": {"enum": ["image_url", "file_id"]},
}
_OWN: Final = "A parameter of the model itself, by its own name: see the model's schema."
_MASK: Final = "Where it is transparent, the first picture is painted anew."
_MARKUP: Final = next(row for row in TABLE if row.field == "markup")
_SEED: Final = "Draws the same pictures again; picture i is drawn from seed + i."


def request_schema(
    operation: Operation,
    *,
    form: bool = False,
    policy: Policy | None = None,
    methods: tuple[MethodSchema, ...] | None = None,
) -> dict[str, Any]:
    """The JSON Schema of a route's body.

    Of ``methods`` the parameters are those that a model itself takes on this route; without them any
    model's are allowed.
    """
    policy = policy or Policy()
    known = known_fields(operation, policy=policy, name=None)
    for method in methods or ():
        known -= of_the_model(method)
    properties = {name: _field(name, operation, form=form) for name in READERS if name in known}
    most = max(map(most_pictures, methods)) if methods else MOST_PICTURES
    properties |= _pictures(operation, most, form=form)
    if not policy.strict:
        properties |= _own(methods or (), properties, form=form)
        properties |= _synonyms(properties)
    reported = policy.unknown_fields is UnknownFields.REPORT
    closed = policy.strict or (methods is not None and not reported)
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": False if closed else {"description": _OWN},
        **_required(operation, form=form, strict=policy.strict),
    }


def _field(name: str, operation: Operation, *, form: bool) -> dict[str, Any]:
    """One of OpenAI's fields. Null is an omission in JSON, which a form cannot say."""
    read = dict(READERS[name].schema) | ({"pattern": SIZE} if name == "size" else {})
    required = name == "prompt" and operation is not Operation.VARIATION
    if not form and not required:
        read["type"] = [read["type"], "null"]
        if "enum" in read:
            read["enum"] = [*read["enum"], None]
    rows = [row for row in TABLE if row.field == name]
    told = "\n".join(f"- {row.values}: {described(row, operation)}" for row in rows)
    return read | ({"description": told} if told else {})


def _pictures(operation: Operation, most: int, *, form: bool) -> dict[str, Any]:
    if operation is Operation.GENERATION:
        return {}
    one = dict(FILE if form else REFERENCE)
    if operation is Operation.VARIATION:
        return {"image": one}
    refused = {"description": f"{described(_MARKUP, operation)}."}
    mask = {"mask": (one if form else _nullable(one)) | {"description": _MASK}, "markup": refused}
    several = {"type": "array", "items": one, "minItems": 1, "maxItems": most}
    if not form:
        return {"images": several, **mask}
    return {"image": {"anyOf": [one, several]}, "image[]": several, **mask}


def _synonyms(properties: Mapping[str, Any]) -> dict[str, Any]:
    """What clients call the fields and parameters that are here."""
    return {
        name: {word: rule for word, rule in properties[real].items() if word != "default"}
        | {"description": f"Another name of `{real}`."}
        for name, real in {**FIELD_SYNONYMS, **SYNONYMS}.items()
        if real in properties and name not in properties
    }


def _nullable(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _own(methods: tuple[MethodSchema, ...], known: Mapping[str, Any], *, form: bool) -> dict[str, Any]:
    seed = {"type": "integer" if form else ["integer", "null"], "minimum": 0, "maximum": LARGEST_SEED}
    own: dict[str, Any] = {"seed": seed | {"description": _SEED}}
    for method in methods:
        for spec in method.visible:
            if spec.name not in known and spec.name not in ("image", "mask_image"):
                own.setdefault(spec.name, parameter_schema(spec.model_copy(update={"required": False})))
    return own


def _required(operation: Operation, *, form: bool, strict: bool) -> dict[str, Any]:
    model = ["model"] if strict else []
    if operation is Operation.GENERATION:
        return {"required": [*model, "prompt"]}
    if operation is Operation.VARIATION:
        return {"required": [*model, "image"]}
    if not form:
        return {"required": [*model, "prompt", "images"]}
    either = [{"required": ["image"]}, {"required": ["image[]"]}]
    return {"required": [*model, "prompt"], "anyOf": either}
