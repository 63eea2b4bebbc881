"""Values checked against a description. Pure: the gateway refuses bad input before anything is woken."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from engines.errors import InvalidParameter, MissingParameter, UnknownParameter
from engines.schema import (
    UNSET,
    Constraints,
    MethodSchema,
    ParameterSpec,
    SizeRounding,
    SizeRule,
    ValueKind,
    ValueType,
)

_BASE64: Final = re.compile(r"\A(data:image/[\w.+-]+;base64,)?[A-Za-z0-9+/_\s-]+={0,2}\s*\Z")

LARGEST: Final[Mapping[ValueKind, float]] = {
    ValueKind.INTEGER: 2**53 - 1,
    ValueKind.NUMBER: 3.4028234663852886e38,
}
"""Of either sign: integers that survive JSON, and numbers that torch's usual type can hold."""

_WANTED: Final[Mapping[ValueKind, str]] = {
    ValueKind.STRING: "a string",
    ValueKind.INTEGER: "an integer",
    ValueKind.NUMBER: "a number",
    ValueKind.BOOLEAN: "a boolean",
    ValueKind.IMAGE: "an image as base64 or a data: URI",
    ValueKind.ARRAY: "an array",
    ValueKind.OBJECT: "an object",
}


def check(method: MethodSchema, parameters: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Check a request's parameters; returns them with numbers in their declared type.

    A null for a parameter with a default means the default and is left out. Faults are looked for in
    this order: unknown names, missing ones, values.

    Raises:
        UnknownParameter, MissingParameter, InvalidParameter
    """
    visible = {spec.name: spec for spec in method.visible}
    for name in parameters:
        if name not in visible:
            raise _unknown(name, method, tuple(visible))
    for spec in visible.values():
        if spec.required and parameters.get(spec.name) is None:
            raise MissingParameter(spec.name)
    checked: dict[str, JsonValue] = {}
    for name, value in parameters.items():
        if value is not None:
            checked[name] = _checked(visible[name], value)
        elif visible[name].nullable and visible[name].default in (None, UNSET):
            checked[name] = None
        elif visible[name].default is UNSET:
            raise _wrong_type(name, visible[name].type, value)
    return checked


def check_size(rule: SizeRule, width: int, height: int) -> None:
    """Check a size in pixels against what the model makes.

    Raises:
        InvalidParameter: on ``width`` or ``height``, naming the nearest sizes that are right.
    """
    if rule.rounding is SizeRounding.FIXED:
        if (width, height) not in rule.fixed:
            sizes = ", ".join(f"{w}x{h}" for w, h in rule.fixed)
            raise InvalidParameter("width", f"this model makes {sizes}, but got {width}x{height}.")
        return
    for name, edge in (("width", width), ("height", height)):
        if edge % rule.multiple:
            near = " and ".join(f"{w}x{h}" for w, h in nearest_valid(rule, width, height))
            raise InvalidParameter(
                name, f"expected a multiple of {rule.multiple}, but got {edge}; the nearest sizes are {near}."
            )
        if edge < rule.minimum:
            raise InvalidParameter(
                name, f"expected at least {rule.minimum}, but got {edge}.", "integer_below_min_value"
            )
        if rule.maximum is not None and edge > rule.maximum:
            raise InvalidParameter(
                name, f"expected at most {rule.maximum}, but got {edge}.", "integer_above_max_value"
            )


def nearest_valid(rule: SizeRule, width: int, height: int) -> tuple[tuple[int, int], ...]:
    """The nearest valid sizes at and below, and at and above, a size; one where they are the same."""
    step = rule.multiple

    def kept(edge: int) -> int:
        lowest = math.ceil(rule.minimum / step) * step
        highest = edge if rule.maximum is None else rule.maximum // step * step
        return min(max(edge, lowest), max(highest, lowest))

    lower = (kept(width // step * step), kept(height // step * step))
    upper = (kept(math.ceil(width / step) * step), kept(math.ceil(height / step) * step))
    return (lower,) if lower == upper else (lower, upper)


def _unknown(name: str, method: MethodSchema, accepted: tuple[str, ...]) -> UnknownParameter:
    hidden = method.find(name)
    hint = f"It cannot be set by a request: {hidden.hidden_reason}." if hidden else ""
    near = () if hidden else tuple(difflib.get_close_matches(name, accepted, n=2))
    return UnknownParameter(name, near, accepted, hint)


def _checked(spec: ParameterSpec, value: JsonValue) -> JsonValue:
    return _as_type(spec.name, spec.type, spec.constraints, value)


def _as_type(name: str, wanted: ValueType, bounds: Constraints, value: JsonValue) -> JsonValue:
    match wanted.kind:
        case ValueKind.OPAQUE:
            return value
        case ValueKind.UNION:
            return _as_union(name, wanted, bounds, value)
        case ValueKind.ARRAY:
            return _as_array(name, wanted, bounds, value)
        case ValueKind.INTEGER | ValueKind.NUMBER:
            return _as_number(name, wanted, bounds, value)
        case ValueKind.STRING | ValueKind.IMAGE:
            return _as_string(name, wanted, bounds, value)
        case ValueKind.BOOLEAN if isinstance(value, bool):
            return value
        case ValueKind.OBJECT if isinstance(value, dict):
            return value
    raise _wrong_type(name, wanted, value)


def _as_union(name: str, wanted: ValueType, bounds: Constraints, value: JsonValue) -> JsonValue:
    """Try the options in order; the fault told is that of the option whose JSON type is right."""
    nearest: InvalidParameter | None = None
    for option in wanted.options:
        try:
            return _as_type(name, option, bounds, value)
        except InvalidParameter as error:
            if nearest is None or (nearest.code == "invalid_type" and error.code != "invalid_type"):
                nearest = error
    if nearest is None or nearest.code == "invalid_type":
        raise _wrong_type(name, wanted, value)
    raise nearest


def _as_array(name: str, wanted: ValueType, bounds: Constraints, value: JsonValue) -> JsonValue:
    if not isinstance(value, list):
        raise _wrong_type(name, wanted, value)
    if not value:
        raise InvalidParameter(name, "empty array. Expected at least one element.", "empty_array")
    if wanted.length is not None and len(value) != wanted.length:
        raise InvalidParameter(
            name,
            f"expected an array of {wanted.length} elements, but got {len(value)}.",
            "invalid_array_length",
        )
    if bounds.max_items is not None and len(value) > bounds.max_items:
        raise InvalidParameter(
            name,
            f"array too long. Expected at most {bounds.max_items} elements, but got {len(value)}.",
            "array_above_max_length",
        )
    if wanted.items is None:
        return value
    return [_as_type(name, wanted.items, bounds, item) for item in value]


def _as_number(name: str, wanted: ValueType, bounds: Constraints, value: JsonValue) -> JsonValue:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(name, wanted, value)
    if not math.isfinite(value):
        raise InvalidParameter(name, "expected a finite number.")
    if wanted.kind is ValueKind.INTEGER:
        if value != int(value):
            raise _wrong_type(name, wanted, value)
        value = int(value)
    _check_choice(name, wanted, value)
    _check_bounds(name, wanted.kind, bounds, value)
    return value


def _check_bounds(name: str, kind: ValueKind, bounds: Constraints, value: float) -> None:
    word = "integer" if kind is ValueKind.INTEGER else "decimal"
    if bounds.minimum is not None and value < bounds.minimum:
        reason = (
            f"{word} below minimum value. Expected a value >= {bounds.minimum:g}, but got {value} instead."
        )
        raise InvalidParameter(name, reason, f"{word}_below_min_value")
    if bounds.exclusive_minimum is not None and value <= bounds.exclusive_minimum:
        reason = f"expected a value > {bounds.exclusive_minimum:g}, but got {value} instead."
        raise InvalidParameter(name, reason, f"{word}_below_min_value")
    if bounds.maximum is not None and value > bounds.maximum:
        reason = (
            f"{word} above maximum value. Expected a value <= {bounds.maximum:g}, but got {value} instead."
        )
        raise InvalidParameter(name, reason, f"{word}_above_max_value")
    if abs(value) > LARGEST[kind]:
        side = "above_max" if value > 0 else "below_min"
        raise InvalidParameter(name, f"{word} too large for any model: {value:g}.", f"{word}_{side}_value")
    if bounds.multiple_of is not None and value % bounds.multiple_of:
        raise InvalidParameter(name, f"expected a multiple of {bounds.multiple_of}, but got {value} instead.")


def _as_string(name: str, wanted: ValueType, bounds: Constraints, value: JsonValue) -> JsonValue:
    if not isinstance(value, str):
        raise _wrong_type(name, wanted, value)
    if wanted.kind is ValueKind.IMAGE:
        if not _BASE64.match(value):
            raise InvalidParameter(name, "expected an image as base64 or a data:image/…;base64, URI.")
        return value
    _check_choice(name, wanted, value)
    if bounds.min_length is not None and len(value) < bounds.min_length:
        raise InvalidParameter(
            name, f"empty string. Expected at least {bounds.min_length} characters.", "empty_string"
        )
    if bounds.max_length is not None and len(value) > bounds.max_length:
        raise InvalidParameter(
            name,
            f"string too long. Expected at most {bounds.max_length} characters, but got {len(value)}.",
            "string_above_max_length",
        )
    return value


def _check_choice(name: str, wanted: ValueType, value: str | float) -> None:
    if wanted.choices and value not in wanted.choices:
        supported = ", ".join(repr(choice) for choice in wanted.choices)
        raise InvalidParameter(name, f"{value!r} is not supported. Supported values are: {supported}.")


def _wrong_type(name: str, wanted: ValueType, value: JsonValue) -> InvalidParameter:
    return InvalidParameter(
        name, f"expected {_described(wanted)}, but got {_type_word(value)} instead.", "invalid_type"
    )


def _described(wanted: ValueType) -> str:
    if wanted.kind is ValueKind.UNION:
        return " or ".join(_described(option) for option in wanted.options)
    if wanted.kind is ValueKind.ARRAY and wanted.items is not None:
        return f"an array of values, each {_described(wanted.items)}"
    return _WANTED.get(wanted.kind, "a value")


def _type_word(value: JsonValue) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal number"
        case str():
            return "a string"
        case list():
            return "an array"
    return "an object"
