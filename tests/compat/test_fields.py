"""Single fields are refused in OpenAI's own words."""

from __future__ import annotations

from typing import Any

import pytest

from compat.fields import Reader, choice, flag, integer, json_object, listing, text
from engines.errors import InvalidParameter

QUALITY = choice("low", "medium", "high", "auto")
PROMPT = text(minimum=1, maximum=5)


@pytest.mark.parametrize(
    ("reader", "name", "value", "code", "message"),
    [
        (
            PROMPT,
            "prompt",
            "",
            "empty_string",
            "Invalid 'prompt': empty string. Expected a string with minimum length 1, "
            "but got an empty string instead.",
        ),
        (
            PROMPT,
            "prompt",
            "sixsix",
            "string_above_max_length",
            "Invalid 'prompt': string too long. Expected a string with maximum length 5, "
            "but got a string with length 6 instead.",
        ),
        (
            PROMPT,
            "prompt",
            ["a"],
            "invalid_type",
            "Invalid type for 'prompt': expected a string, but got an array instead.",
        ),
        (
            integer(1, 10),
            "n",
            11,
            "integer_above_max_value",
            "Invalid 'n': integer above maximum value. Expected a value <= 10, but got 11 instead.",
        ),
        (
            integer(1, 10),
            "n",
            0,
            "integer_below_min_value",
            "Invalid 'n': integer below minimum value. Expected a value >= 1, but got 0 instead.",
        ),
        (
            integer(1, 10),
            "n",
            1.5,
            "invalid_type",
            "Invalid type for 'n': expected an integer, but got a decimal number instead.",
        ),
        (
            integer(1, 10),
            "n",
            True,
            "invalid_type",
            "Invalid type for 'n': expected an integer, but got a boolean instead.",
        ),
        (
            QUALITY,
            "quality",
            "ultra",
            "invalid_value",
            "Invalid value: 'ultra'. Supported values are: 'low', 'medium', 'high', and 'auto'.",
        ),
        (
            QUALITY,
            "quality",
            3,
            "invalid_type",
            "Invalid type for 'quality': expected one of 'low', 'medium', 'high', or 'auto', "
            "but got an integer instead.",
        ),
        (
            flag,
            "stream",
            "yes",
            "invalid_type",
            "Invalid type for 'stream': expected a boolean, but got a string instead.",
        ),
        (
            json_object,
            "svg",
            None,
            "invalid_type",
            "Invalid type for 'svg': expected an object, but got null instead.",
        ),
    ],
)
def test_a_bad_value_is_refused_in_openais_words(
    reader: Reader[Any], name: str, value: object, code: str, message: str
) -> None:
    with pytest.raises(InvalidParameter) as raised:
        reader(name, value)
    assert str(raised.value) == message
    assert (raised.value.parameter, raised.value.code) == (name, code)


@pytest.mark.parametrize(
    ("values", "text_"), [(("a",), "'a'"), (("a", "b"), "'a' or 'b'"), (("a", "b", "c"), "'a', 'b', or 'c'")]
)
def test_choices_are_listed_as_openai_lists_them(values: tuple[str, ...], text_: str) -> None:
    assert listing(values, "or") == text_
