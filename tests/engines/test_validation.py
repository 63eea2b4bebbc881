"""Values against descriptions."""

from __future__ import annotations

import pytest
from pydantic import JsonValue

from engines.errors import InvalidParameter, MissingParameter, UnknownParameter
from engines.schema import (
    Constraints,
    MethodSchema,
    ParameterSpec,
    SizeRounding,
    SizeRule,
    ValueKind,
    ValueType,
)
from engines.validation import check, check_size, nearest_valid

TEXT = ValueType(kind=ValueKind.STRING)
TEXTS = ValueType(kind=ValueKind.ARRAY, items=TEXT)


def spec(name: str, kind: ValueKind, **more: object) -> ParameterSpec:
    values: dict[str, object] = {"required": False, "default": None, "nullable": True} | more
    return ParameterSpec.model_validate(
        {"name": name, "annotation": "", "type": ValueType(kind=kind)} | values
    )


METHOD = MethodSchema(
    name="__call__",
    pipeline_class="P",
    parameters=(
        ParameterSpec(
            name="prompt",
            required=True,
            annotation="",
            type=ValueType(kind=ValueKind.UNION, options=(TEXT, TEXTS)),
            constraints=Constraints(min_length=1, max_length=10),
        ),
        spec(
            "steps",
            ValueKind.INTEGER,
            default=20,
            nullable=False,
            constraints=Constraints(minimum=1, maximum=50),
        ),
        spec("scale", ValueKind.NUMBER, constraints=Constraints(minimum=0)),
        spec("fast", ValueKind.BOOLEAN),
        spec("image", ValueKind.IMAGE),
        spec("extra", ValueKind.OBJECT),
        spec("latents", ValueKind.OPAQUE, visible=False, hidden_reason="tensors cannot be sent as JSON"),
    ),
)


def test_good_values_pass() -> None:
    given: dict[str, JsonValue] = {
        "prompt": ["a", "b"],
        "steps": 3,
        "scale": 1,
        "fast": True,
        "extra": {"a": 1},
    }
    assert check(METHOD, given) == given


def test_whole_float_counts_as_integer() -> None:
    steps = check(METHOD, {"prompt": "a", "steps": 3.0})["steps"]
    assert isinstance(steps, int)


def test_null_means_the_default() -> None:
    assert check(METHOD, {"prompt": "a", "steps": None}) == {"prompt": "a"}


def test_null_means_the_default_where_null_would_be_allowed_too() -> None:
    scale = spec("scale", ValueKind.NUMBER, default=7.5)
    method = METHOD.model_copy(update={"parameters": (METHOD.parameters[0], scale)})
    assert check(method, {"prompt": "a", "scale": None}) == {"prompt": "a"}


@pytest.mark.parametrize(
    ("kind", "value"),
    [(ValueKind.INTEGER, 2.0**90), (ValueKind.INTEGER, -(2**53)), (ValueKind.NUMBER, 1e300)],
)
def test_a_number_that_nothing_can_hold_is_refused(kind: ValueKind, value: float) -> None:
    method = METHOD.model_copy(update={"parameters": (spec("much", kind),)})
    with pytest.raises(InvalidParameter, match="too large"):
        check(method, {"much": value})


def test_a_tuple_has_exactly_its_length() -> None:
    pair = ParameterSpec(
        name="size",
        required=False,
        annotation="",
        type=ValueType(kind=ValueKind.ARRAY, items=ValueType(kind=ValueKind.INTEGER), length=2),
    )
    method = METHOD.model_copy(update={"parameters": (pair,)})
    assert check(method, {"size": [8, 6]}) == {"size": [8, 6]}
    for wrong in ([8], [8, 6, 4]):
        with pytest.raises(InvalidParameter, match="array of 2"):
            check(method, {"size": wrong})  # type: ignore[dict-item]  # a list of integers is JSON


def test_unknown_name_gets_near_matches() -> None:
    with pytest.raises(UnknownParameter) as caught:
        check(METHOD, {"prompt": "a", "step": 3})
    assert caught.value.near == ("steps",)
    assert "latents" not in caught.value.accepted


def test_hidden_name_gets_its_reason() -> None:
    with pytest.raises(UnknownParameter, match="tensors cannot be sent"):
        check(METHOD, {"prompt": "a", "latents": [1]})


@pytest.mark.parametrize("given", [{}, {"prompt": None}])
def test_missing_parameter_is_named(given: dict[str, JsonValue]) -> None:
    with pytest.raises(MissingParameter, match="'prompt'"):
        check(METHOD, given)


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("prompt", "", "empty_string"),
        ("prompt", "x" * 11, "string_above_max_length"),
        ("prompt", 3, "invalid_type"),
        ("prompt", [], "empty_array"),
        ("prompt", ["a", 3], "invalid_type"),
        ("steps", 0, "integer_below_min_value"),
        ("steps", 51, "integer_above_max_value"),
        ("steps", 1.5, "invalid_type"),
        ("steps", True, "invalid_type"),
        ("steps", "3", "invalid_type"),
        ("scale", -0.1, "decimal_below_min_value"),
        ("scale", float("nan"), "invalid_value"),
        ("scale", float("inf"), "invalid_value"),
        ("fast", 1, "invalid_type"),
        ("image", "not base64!", "invalid_value"),
        ("image", 7, "invalid_type"),
        ("extra", [], "invalid_type"),
    ],
)
def test_bad_value_is_refused_with_its_code(name: str, value: JsonValue, code: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        check(METHOD, {"prompt": "a"} | {name: value})
    assert (caught.value.name, caught.value.code) == (name, code)


def test_message_says_what_would_be_right() -> None:
    with pytest.raises(InvalidParameter, match="expected an integer, but got a string instead"):
        check(METHOD, {"prompt": "a", "steps": "many"})


STEPPED = SizeRule(multiple=64, rounding=SizeRounding.UP, minimum=64, maximum=2048)
FIXED = SizeRule(rounding=SizeRounding.FIXED, fixed=((1024, 1024), (640, 1408)), minimum=640, maximum=1408)


def test_size_off_the_multiple_names_the_nearest() -> None:
    with pytest.raises(InvalidParameter, match="64x128 and 128x192"):
        check_size(STEPPED, 100, 130)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (2048, 1024)])
def test_size_on_the_multiple_passes(width: int, height: int) -> None:
    check_size(STEPPED, width, height)


def test_size_beyond_the_maximum_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="at most 2048"):
        check_size(STEPPED, 4096, 64)


def test_fixed_sizes_are_listed() -> None:
    check_size(FIXED, 640, 1408)
    with pytest.raises(InvalidParameter, match="1024x1024, 640x1408"):
        check_size(FIXED, 512, 512)


@pytest.mark.parametrize(
    ("size", "near"),
    [((100, 128), ((64, 128), (128, 128))), ((64, 64), ((64, 64),)), ((10, 5000), ((64, 2048),))],
)
def test_nearest_sizes_keep_the_bounds(size: tuple[int, int], near: tuple[tuple[int, int], ...]) -> None:
    assert nearest_valid(STEPPED, *size) == near
