"""Reading one field of a request: types, bounds and choices, refused in OpenAI's own words.

The wording, codes and ``param`` are those measured on OpenAI's images API.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

from compat.sources import Upload
from engines.errors import InvalidParameter

T_co = TypeVar("T_co", covariant=True)
Word = TypeVar("Word", bound=str)


@dataclass(frozen=True)
class Reader(Generic[T_co]):
    """Takes a field's name and its value as JSON gave it; returns the value or raises.

    ``schema`` says what it takes as JSON Schema.
    """

    read: Callable[[str, object], T_co]
    schema: Mapping[str, Any]

    def __call__(self, name: str, value: object) -> T_co:
        return self.read(name, value)


TYPE_WORDS: Final[Mapping[type, str]] = MappingProxyType(
    {
        type(None): "null",
        bool: "a boolean",
        int: "an integer",
        float: "a decimal number",
        str: "a string",
        list: "an array",
        dict: "an object",
        Upload: "a file",
    }
)


class WrongType(InvalidParameter):
    """A field's value has the wrong JSON type; ``expected`` and ``got`` carry their articles."""

    def __init__(self, name: str, expected: str, got: str) -> None:
        super().__init__(name, f"expected {expected}, but got {got} instead.", "invalid_type")
        self.args = (name, expected, got)
        self.expected = expected
        self.got = got

    def __str__(self) -> str:
        return f"Invalid type for {self.name!r}: {self.reason}"


class UnsupportedValue(InvalidParameter):
    """A field's value is none of those that it can have."""

    def __init__(self, name: str, value: str, supported: Sequence[str]) -> None:
        super().__init__(name, f"Supported values are: {listing(supported, 'and')}.", "invalid_value")
        self.args = (name, value, tuple(supported))
        self.value = value
        self.supported = tuple(supported)

    def __str__(self) -> str:
        return f"Invalid value: {self.value!r}. {self.reason}"


def type_word(value: object) -> str:
    """The JSON type of a value, in words with an article."""
    return TYPE_WORDS.get(type(value), "a value of another type")


def listing(values: Sequence[str], word: str) -> str:
    """Quote and join: ``'a'``, ``'a' and 'b'``, ``'a', 'b', and 'c'``."""
    quoted = [f"'{value}'" for value in values]
    if len(quoted) < 3:
        return f" {word} ".join(quoted)
    return f"{', '.join(quoted[:-1])}, {word} {quoted[-1]}"


def text(*, minimum: int = 0, maximum: int | None = None) -> Reader[str]:
    """Read a string whose length is within bounds."""

    def read(name: str, value: object) -> str:
        if not isinstance(value, str):
            raise WrongType(name, "a string", type_word(value))
        if len(value) < minimum:
            raise InvalidParameter(
                name,
                "empty string. Expected a string with minimum length "
                f"{minimum}, but got an empty string instead.",
                "empty_string",
            )
        if maximum is not None and len(value) > maximum:
            raise InvalidParameter(
                name,
                f"string too long. Expected a string with maximum length {maximum}, "
                f"but got a string with length {len(value)} instead.",
                "string_above_max_length",
            )
        return value

    return Reader(read, _schema("string", minLength=minimum or None, maxLength=maximum))


def integer(minimum: int, maximum: int | None = None) -> Reader[int]:
    """Read an integer within bounds; true and 1.0 are none."""

    def read(name: str, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise WrongType(name, "an integer", type_word(value))
        if value < minimum:
            raise InvalidParameter(
                name,
                f"integer below minimum value. Expected a value >= {minimum}, but got {value} instead.",
                "integer_below_min_value",
            )
        if maximum is not None and value > maximum:
            raise InvalidParameter(
                name,
                f"integer above maximum value. Expected a value <= {maximum}, but got {value} instead.",
                "integer_above_max_value",
            )
        return value

    return Reader(read, _schema("integer", minimum=minimum, maximum=maximum))


def seconds() -> Reader[float]:
    """Read a number of seconds above zero."""

    def read(name: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise WrongType(name, "a number", type_word(value))
        if not value > 0 or not math.isfinite(value):
            raise InvalidParameter(
                name,
                f"decimal below minimum value. Expected a value > 0, but got {value} instead.",
                "decimal_below_min_value",
            )
        return float(value)

    return Reader(read, _schema("number", exclusiveMinimum=0))


def choice(*choices: Word) -> Reader[Word]:
    """Read one of several words."""

    def read(name: str, value: object) -> Word:
        if not isinstance(value, str):
            raise WrongType(name, f"one of {listing(choices, 'or')}", type_word(value))
        for word in choices:
            if value == word:
                return word
        raise UnsupportedValue(name, value, choices)

    return Reader(read, _schema("string", enum=list(choices)))


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise WrongType(name, "a boolean", type_word(value))
    return value


def _object(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise WrongType(name, "an object", type_word(value))
    return value


def _schema(kind: str, **words: object) -> dict[str, Any]:
    return {"type": kind} | {word: value for word, value in words.items() if value is not None}


flag: Final = Reader(_flag, _schema("boolean"))
"""Reads a boolean."""
json_object: Final = Reader(_object, _schema("object"))
"""Reads an object."""
