"""A native request keeps the pipeline's own words, and its inputs choose the method."""

from __future__ import annotations

from typing import Any

import pytest

from engines.calls import EngineCall, ImageFormat
from engines.errors import InvalidParameter, InvalidRequest, MissingParameter, UnknownParameter
from engines.native import map_native
from engines.schema import Constraints, Method
from tests.compat.models import ANY_INPUT, FREE, INTEGER, PROMPT, TEXT, TINY, schema, spec

PICTURE = "data:image/png;base64,iVBORw0KGgo="


def call(**body: Any) -> EngineCall:
    return map_native({"prompt": "a fox"} | body, ANY_INPUT, request_id="req_1")


def test_parameters_pass_under_their_own_names() -> None:
    made = map_native({"prompt": "a fox", "guidance_scale": 5.0}, TINY, request_id="req_1")
    assert (made.request_id, made.method) == ("req_1", "__call__")
    assert made.parameters == {"prompt": "a fox", "guidance_scale": 5.0}
    assert (made.count, made.seed, made.format, made.compression) == (1, None, ImageFormat.PNG, None)


def test_what_is_not_the_pipelines_is_the_calls() -> None:
    made = call(seed=7, num_images_per_prompt=2, output_format="webp", output_compression=60)
    assert made.parameters == {"prompt": "a fox"}
    assert (made.seed, made.count, made.format, made.compression) == (7, 2, ImageFormat.WEBP, 60)


@pytest.mark.parametrize(
    "name", ["seed", "num_images_per_prompt", "output_format", "output_compression", "width", "height"]
)
def test_a_null_is_an_omission(name: str) -> None:
    assert call(**{name: None}) == call()


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("seed", -1, "integer_below_min_value"),
        ("seed", 2**53, "integer_above_max_value"),
        ("seed", "5", "invalid_type"),
        ("num_images_per_prompt", 0, "integer_below_min_value"),
        ("num_images_per_prompt", True, "invalid_type"),
        ("output_format", "tiff", "invalid_value"),
        ("output_format", ["png"], "invalid_value"),
        ("output_compression", 50, "invalid_value"),
    ],
)
def test_a_bad_value_of_the_calls_own_is_named(name: str, value: object, code: str) -> None:
    with pytest.raises(InvalidParameter) as raised:
        call(**{name: value})
    assert (raised.value.parameter, raised.value.code) == (name, code)


def test_the_models_limit_of_images_is_kept() -> None:
    model = schema(PROMPT, spec("num_images_per_prompt", INTEGER, constraints=Constraints(maximum=2)))
    with pytest.raises(InvalidParameter) as raised:
        map_native({"prompt": "a fox", "num_images_per_prompt": 3}, model, request_id="r")
    assert raised.value.parameter == "num_images_per_prompt"


def test_a_pipelines_own_output_format_is_left_to_it() -> None:
    model = schema(PROMPT, spec("output_format", TEXT))
    made = map_native({"prompt": "a fox", "output_format": "latent"}, model, request_id="r")
    assert (made.parameters["output_format"], made.format) == ("latent", ImageFormat.PNG)


def test_synonyms_are_not_guessed() -> None:
    with pytest.raises(UnknownParameter):
        call(steps=5)


@pytest.mark.parametrize(
    ("inputs", "method"),
    [
        ({}, "__call__"),
        ({"image": PICTURE}, "image_to_image"),
        ({"image": PICTURE, "mask_image": PICTURE}, "inpaint"),
    ],
)
def test_the_inputs_choose_the_method(inputs: dict[str, Any], method: Method) -> None:
    assert call(**inputs).method == method


def test_a_mask_without_its_picture_is_not_ignored() -> None:
    with pytest.raises(MissingParameter) as raised:
        call(mask_image=PICTURE)
    assert raised.value.parameter == "image"


def test_a_picture_for_a_model_of_text_alone_is_refused() -> None:
    with pytest.raises(UnknownParameter):
        map_native({"prompt": "a fox", "image": PICTURE}, FREE, request_id="r")


def test_a_model_whose_own_call_takes_a_picture_is_called_itself() -> None:
    model = ANY_INPUT.model_copy(
        update={"methods": (ANY_INPUT.methods[2].model_copy(update={"name": "__call__"}),)}
    )
    made = map_native({"prompt": "a fox", "image": PICTURE, "mask_image": PICTURE}, model, request_id="r")
    assert made.method == "__call__"


def test_a_method_can_be_asked_for_by_name() -> None:
    with pytest.raises(MissingParameter):
        map_native({"prompt": "a fox"}, ANY_INPUT, request_id="r", method="image_to_image")
    with pytest.raises(InvalidParameter, match="inpaint"):
        map_native({"prompt": "a fox"}, TINY, request_id="r", method="inpaint")


@pytest.mark.parametrize("size", [{"width": 100}, {"height": 100}, {"width": 512, "height": 70}])
def test_a_size_that_the_pipeline_would_round_is_refused(size: dict[str, int]) -> None:
    with pytest.raises(InvalidRequest):
        call(**size)


def test_a_size_on_the_multiple_passes() -> None:
    assert call(width=640).parameters == {"prompt": "a fox", "width": 640}
