"""What a model accepts, as pure data: no torch, no diffusers, no ``inspect``.

`engines.discovery` reads a pipeline into a `PipelineSchema`; everything else (validation, the
``/schema`` route, the mapping of OpenAI's fields) only reads the description.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum, StrEnum
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, SerializerFunctionWrapHandler, model_serializer


class Unset(Enum):
    """The type of `UNSET`."""

    TOKEN = "unset"

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> bool:
        return False


UNSET: Final = Unset.TOKEN
"""No value was given; ``None`` is a value (it is the default of half of all pipeline parameters)."""


class Frozen(BaseModel):
    """Immutable data that crosses a package or process boundary."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ValueKind(StrEnum):
    """The JSON face of a parameter's Python type."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    IMAGE = "image"
    ARRAY = "array"
    OBJECT = "object"
    UNION = "union"
    OPAQUE = "opaque"


class ValueType(Frozen):
    """A type as far as JSON can carry it.

    ``items`` belongs to ARRAY, ``length`` to one that is a tuple, ``options`` to UNION, ``choices`` to
    scalars that come from a ``Literal`` or an enum. An IMAGE is a base64 string or a ``data:`` URI.
    """

    kind: ValueKind
    choices: tuple[str | int | float | bool, ...] = ()
    items: ValueType | None = None
    length: int | None = None
    options: tuple[ValueType, ...] = ()


class Constraints(Frozen):
    """Bounds that a value must keep; ``None`` where there is none."""

    minimum: float | None = None
    exclusive_minimum: float | None = None
    maximum: float | None = None
    multiple_of: int | None = None
    min_length: int | None = None
    max_length: int | None = None
    max_items: int | None = None


class DefaultSource(StrEnum):
    """Where a default was read."""

    SIGNATURE = "signature"
    PIPELINE = "pipeline"
    """Computed by the live pipeline (``height=None`` that becomes 1024)."""
    CARD = "card"
    """The model's own preset overrides the class."""


class ParameterSpec(Frozen):
    """One parameter of a pipeline method.

    A hidden parameter cannot be set by a request; ``hidden_reason`` says why. ``repeated`` is true
    where the pipeline takes one value or a list of them.
    """

    name: str
    required: bool
    default: JsonValue | Unset = UNSET
    default_source: DefaultSource = DefaultSource.SIGNATURE
    annotation: str
    type: ValueType
    nullable: bool = False
    repeated: bool = False
    description: str = ""
    constraints: Constraints = Constraints()
    visible: bool = True
    hidden_reason: str | None = None

    @model_serializer(mode="wrap")
    def _without_unset(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        data: dict[str, Any] = handler(self)
        if self.default is UNSET:
            data.pop("default", None)
        return data


class SizeRounding(StrEnum):
    """What the pipeline does with a size that is off its multiple."""

    REFUSES = "refuses"
    UP = "up"
    DOWN = "down"
    FIXED = "fixed"
    """It makes only `SizeRule.fixed` and takes the one of the nearest aspect ratio."""
    NONE = "none"


class SizeFit(StrEnum):
    """What to do with a size the model was not made for."""

    ERROR = "error"
    RESIZE = "resize"


class SizeRule(Frozen):
    """The sizes a model makes, in pixels, each pair as (width, height).

    ``multiple`` divides every edge. ``native`` are the sizes the model's card says it was made for;
    empty where the card is silent. ``maximum`` is an edge.
    """

    default_width: int | None = None
    default_height: int | None = None
    multiple: int = 1
    rounding: SizeRounding = SizeRounding.NONE
    fixed: tuple[tuple[int, int], ...] = ()
    minimum: int = 1
    maximum: int | None = None
    native: tuple[tuple[int, int], ...] = ()
    fit: SizeFit = SizeFit.ERROR


class Capability(StrEnum):
    """What a model can be asked for."""

    TEXT_TO_IMAGE = "text-to-image"
    IMAGE_TO_IMAGE = "image-to-image"
    INPAINTING = "inpainting"
    VARIATION = "variation"


Method = Literal["__call__", "image_to_image", "inpaint", "variation"]


class MethodSchema(Frozen):
    """The parameters of one way of calling a model, in the signature's order."""

    name: Method
    pipeline_class: str
    parameters: tuple[ParameterSpec, ...]

    def find(self, name: str) -> ParameterSpec | None:
        """The parameter of this name, hidden ones included."""
        return next((spec for spec in self.parameters if spec.name == name), None)

    @property
    def visible(self) -> tuple[ParameterSpec, ...]:
        """The parameters that a request may set."""
        return tuple(spec for spec in self.parameters if spec.visible)


class PipelineSchema(Frozen):
    """Everything a caller can know of a model before calling it.

    ``live`` is true once the loaded pipeline has added what its class alone does not tell.
    ``transparent`` says that the pictures have an alpha channel, ``moderated`` that the model's safety
    checker looks at them.
    ``notes`` are sentences for a reader: silent rounding, an embedded guidance scale and the like.
    """

    model_id: str
    pipeline_class: str
    family: str
    description: str = ""
    capabilities: tuple[Capability, ...]
    methods: tuple[MethodSchema, ...]
    size: SizeRule | None = None
    notes: tuple[str, ...] = ()
    live: bool = False
    transparent: bool = False
    moderated: bool = False

    def method(self, name: str) -> MethodSchema | None:
        """The method of this name, where the model has it."""
        return next((method for method in self.methods if method.name == name), None)

    @property
    def call(self) -> MethodSchema:
        """The method that text-to-image requests go to."""
        return self.methods[0]

    def default(self, name: str, method: str = "__call__") -> JsonValue | Unset:
        """A parameter's default, or `UNSET` where it has none or does not exist."""
        found = self.method(method)
        spec = found.find(name) if found else None
        return spec.default if spec else UNSET


JSON_SCHEMA_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema(method: MethodSchema, *, title: str) -> dict[str, Any]:
    """Render a method as a JSON Schema (draft 2020-12) of its request object."""
    return {
        "$schema": JSON_SCHEMA_DIALECT,
        "title": title,
        "type": "object",
        "properties": {spec.name: parameter_schema(spec) for spec in method.visible},
        "required": [spec.name for spec in method.visible if spec.required],
        "additionalProperties": False,
    }


def parameter_schema(spec: ParameterSpec) -> dict[str, Any]:
    """Render one parameter as a JSON Schema: of one that is required null is no value, and of another
    that has a default it means the default."""
    schema = _type_schema(spec.type, spec.constraints)
    if not spec.required and (spec.nullable or spec.default is not UNSET):
        schema = _nullable(schema)
    if spec.description:
        schema["description"] = spec.description
    if not spec.required and spec.default is not UNSET:
        schema["default"] = spec.default
    return schema


def _type_schema(value: ValueType, constraints: Constraints) -> dict[str, Any]:
    match value.kind:
        case ValueKind.OPAQUE:
            return {}
        case ValueKind.UNION:
            return {"anyOf": [_type_schema(option, constraints) for option in value.options]}
        case ValueKind.ARRAY:
            schema: dict[str, Any] = {"type": "array", "minItems": 1}
            if value.items is not None:
                schema["items"] = _type_schema(value.items, constraints)
            if constraints.max_items is not None:
                schema["maxItems"] = constraints.max_items
            if value.length is not None:
                schema |= {"minItems": value.length, "maxItems": value.length}
            return schema
        case ValueKind.IMAGE:
            return {"type": "string", "contentEncoding": "base64", "contentMediaType": "image/*"}
        case _:
            scalar: dict[str, Any] = {"type": value.kind.value}
            if value.choices:
                scalar["enum"] = list(value.choices)
            return scalar | _bounds(value.kind, constraints)


_NUMERIC_BOUNDS: Final[Mapping[str, str]] = {
    "minimum": "minimum",
    "exclusive_minimum": "exclusiveMinimum",
    "maximum": "maximum",
    "multiple_of": "multipleOf",
}
_STRING_BOUNDS: Final[Mapping[str, str]] = {"min_length": "minLength", "max_length": "maxLength"}


def _bounds(kind: ValueKind, constraints: Constraints) -> dict[str, Any]:
    if kind in (ValueKind.INTEGER, ValueKind.NUMBER):
        words = _NUMERIC_BOUNDS
    elif kind is ValueKind.STRING:
        words = _STRING_BOUNDS
    else:
        return {}
    given = ((json_word, getattr(constraints, name)) for name, json_word in words.items())
    return {
        word: int(value) if kind is ValueKind.INTEGER and float(value).is_integer() else value
        for word, value in given
        if value is not None
    }


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:
        return {"anyOf": [*schema["anyOf"], {"type": "null"}]}
    if not schema:
        return schema
    return {"anyOf": [schema, {"type": "null"}]}


def names(specs: Iterable[ParameterSpec], *, required: bool) -> list[str]:
    """Names of the visible parameters that are (or are not) required."""
    return [spec.name for spec in specs if spec.visible and spec.required is required]
