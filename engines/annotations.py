"""Python type annotations as far as JSON can carry them."""

from __future__ import annotations

import collections.abc
import types
import typing
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from engines.schema import ValueKind, ValueType

_SCALARS: Final[dict[Any, ValueKind]] = {
    str: ValueKind.STRING,
    bool: ValueKind.BOOLEAN,
    int: ValueKind.INTEGER,
    float: ValueKind.NUMBER,
}
_SEQUENCES: Final = (list, tuple, collections.abc.Sequence)
_MAPPINGS: Final = (dict, collections.abc.Mapping)


@dataclass(frozen=True)
class Reading:
    """What an annotation means. ``hidden`` says why no request can carry a value of it."""

    type: ValueType
    nullable: bool = False
    repeated: bool = False
    hidden: str | None = None


def read_annotation(annotation: Any) -> Reading:
    """Read an annotation; what cannot be understood is opaque, never an error.

    Of a union, the options that JSON can carry are kept: ``Tensor | Image | list[Image]`` is an
    image or a list of them.
    """
    options = [option for option in _options(annotation) if option is not type(None)]
    nullable = type(None) in _options(annotation)
    kinds = [value for option in options if (value := _value_type(option)) is not None]
    if not options or annotation is Any:
        return Reading(ValueType(kind=ValueKind.OPAQUE), nullable)
    if not kinds:
        return Reading(ValueType(kind=ValueKind.OPAQUE), nullable, hidden=_why_hidden(options))
    distinct = tuple(dict.fromkeys(kinds))
    repeated = any(ValueType(kind=ValueKind.ARRAY, items=value) in distinct for value in distinct)
    if len(distinct) == 1:
        return Reading(distinct[0], nullable)
    return Reading(ValueType(kind=ValueKind.UNION, options=distinct), nullable, repeated)


def annotation_text(annotation: Any) -> str:
    """The annotation as one would write it."""
    if isinstance(annotation, str):
        return annotation
    if annotation is type(None):
        return "None"
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation.__name__
    text = str(annotation)
    for noise in ("typing.", "collections.abc.", "torch._C.", "PIL.Image."):
        text = text.replace(noise, "")
    return text


def _options(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return tuple(nested for part in typing.get_args(annotation) for nested in _options(part))
    return (annotation,)


def _value_type(annotation: Any) -> ValueType | None:
    """The JSON face of one option, ``None`` where it has none."""
    if annotation in _SCALARS:
        return ValueType(kind=_SCALARS[annotation])
    origin = typing.get_origin(annotation) or annotation
    if origin is typing.Literal:
        return _choices(typing.get_args(annotation))
    if origin in _SEQUENCES:
        return _array(typing.get_args(annotation), fixed=origin is tuple)
    if origin in _MAPPINGS:
        return ValueType(kind=ValueKind.OBJECT)
    if isinstance(origin, type) and issubclass(origin, Enum):
        return _choices(tuple(member.value for member in origin))
    if getattr(origin, "__module__", "").startswith("PIL"):
        return ValueType(kind=ValueKind.IMAGE)
    return None


def _array(arguments: tuple[Any, ...], *, fixed: bool) -> ValueType | None:
    items = next((argument for argument in arguments if argument is not Ellipsis), None)
    if items is None:
        return ValueType(kind=ValueKind.ARRAY)
    reading = read_annotation(items)
    if reading.hidden is not None:
        return None
    # A tuple of one is how some pipelines write a tuple of any length.
    fixed = fixed and Ellipsis not in arguments and len(arguments) > 1
    return ValueType(kind=ValueKind.ARRAY, items=reading.type, length=len(arguments) if fixed else None)


def _choices(values: tuple[Any, ...]) -> ValueType:
    kind = _SCALARS.get(type(values[0]), ValueKind.OPAQUE) if values else ValueKind.OPAQUE
    plain = tuple(value for value in values if isinstance(value, str | int | float | bool))
    return ValueType(kind=kind, choices=plain)


def _why_hidden(options: list[Any]) -> str:
    names = " or ".join(dict.fromkeys(annotation_text(option) for option in options))
    if any("Callable" in annotation_text(option) for option in options):
        return "it is a function"
    return f"a value of type {names} cannot be sent as JSON"
