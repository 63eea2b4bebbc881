"""Multipart text, turned into the values that JSON would have carried.

A form knows only text: digits are numbers, ``true`` and ``false`` are booleans, an empty field was
left out, and ``svg[model]`` is a key of an object. Whatever does not fit stays text, and is refused
by who reads it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import orjson
import pybase64
from pydantic import JsonValue

from compat.fields import WrongType
from compat.parameters import TIMEOUT
from compat.sources import Upload
from engines.schema import ParameterSpec, ValueKind, ValueType

INTEGERS: Final = frozenset(
    {
        "n",
        "output_compression",
        "partial_images",
        "frame_count",
        "frame_duration_ms",
        "mask_feather",
        "seed",
        "expires_after[seconds]",
    }
)
FLAGS: Final = frozenset({"stream"})
NUMBERS: Final = frozenset({TIMEOUT})

_DIGITS: Final = re.compile(r"[+-]?[0-9]{1,18}")
_BRACKETS: Final = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])+)")
_KEEPS_EMPTY: Final = frozenset({"prompt"})
"""An empty prompt is a fault of its own."""


def unflattened(form: Mapping[str, object]) -> dict[str, Any]:
    """A form's parts as one object: empty fields left out, ``a[b][c]`` nested, ``a[]`` an array."""
    body: dict[str, Any] = {}
    for name, value in form.items():
        if value == "" and name not in _KEEPS_EMPTY:
            continue
        found = _BRACKETS.fullmatch(name)
        if found is None:
            body[name] = value
        elif found[2] == "[]":
            body[found[1]] = value if isinstance(value, list) else [value]
        else:
            _nest(body, (found[1], *found[2][1:-1].split("][")), value)
    return body


def field_value(name: str, value: object, *, field: str) -> object:
    """The value of one of OpenAI's fields, which came under some name.

    Raises:
        WrongType: text that is no number where one is wanted.
    """
    if not isinstance(value, str):
        return value
    if field in INTEGERS:
        if not _DIGITS.fullmatch(value):
            got = "a string value that could not be converted into an integer"
            raise WrongType(name, "an integer", got)
        return int(value)
    if field in NUMBERS:
        found = _json(value)
        if isinstance(found, bool) or not isinstance(found, int | float):
            raise WrongType(name, "a number", "a string value that could not be converted into a number")
        return found
    return _flag(value) if field in FLAGS else value


def parameter_value(spec: ParameterSpec, value: object) -> JsonValue:
    """The value of one of the model's own parameters; a file becomes base64 where a picture may be.

    Raises:
        WrongType: a file for a parameter that takes none.
    """
    if isinstance(value, Upload):
        if not takes_pictures(spec.type):
            raise WrongType(spec.name, "a text field", "a file")
        return pybase64.b64encode_as_string(value.data)
    if isinstance(value, list):
        return [parameter_value(spec, item) for item in value]
    if isinstance(value, dict):
        return value
    return _as(spec.type, value) if isinstance(value, str) else None


def takes_pictures(value: ValueType) -> bool:
    """Whether a value of this type is a picture or an array of pictures."""
    match value.kind:
        case ValueKind.ARRAY:
            return value.items is not None and takes_pictures(value.items)
        case ValueKind.UNION:
            return any(takes_pictures(option) for option in value.options)
    return value.kind is ValueKind.IMAGE


def _nest(body: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    """Put a value into an object within the body; a part that contradicts another keeps its own name."""
    inner: Any = body
    for key in path[:-1]:
        inner = inner.setdefault(key, {}) if isinstance(inner, dict) else None
    if isinstance(inner, dict) and isinstance(value, str):
        inner[path[-1]] = value
    else:
        body[path[0] + "".join(f"[{key}]" for key in path[1:])] = value


def _flag(text: str) -> object:
    # Python clients that are not the SDK write `True`.
    return {"true": True, "false": False}.get(text.lower(), text)


def _as(wanted: ValueType, text: str) -> JsonValue:
    match wanted.kind:
        case ValueKind.INTEGER:
            return int(text) if _DIGITS.fullmatch(text) else text
        case ValueKind.BOOLEAN:
            return {"true": True, "false": False}.get(text.lower(), text)
        case ValueKind.NUMBER | ValueKind.ARRAY | ValueKind.OBJECT | ValueKind.OPAQUE:
            return _json(text)
        case ValueKind.UNION if not any(_is_text(option) for option in wanted.options):
            return _json(text)
    return text


def _is_text(value: ValueType) -> bool:
    return value.kind in (ValueKind.STRING, ValueKind.IMAGE)


def _json(text: str) -> JsonValue:
    try:
        found: JsonValue = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return found
