"""The images request is read as OpenAI reads it."""

from __future__ import annotations

import pytest

from compat.requests import ImageGenerationRequest, parse_generation, requested_model
from compat.sources import Upload
from engines.errors import InvalidRequest
from tests.compat.models import INTEGER, TINY, spec


def parsed(body: object) -> ImageGenerationRequest:
    return parse_generation(body, schema=TINY)


def test_nulls_are_omissions() -> None:
    left_out = parsed({"prompt": "a fox"})
    assert parsed({"prompt": "a fox", "n": None, "size": None, "model": None}) == left_out


def test_the_models_own_parameters_are_kept_under_their_real_names() -> None:
    request = parsed({"prompt": "a fox", "seed": 5, "negative_prompt": None, "steps": 9})
    assert request.extra == {"seed": 5, "num_inference_steps": 9}


def test_words_of_older_models_pass_for_any_model() -> None:
    body = {"prompt": "a fox", "quality": "hd", "style": "vivid", "response_format": "b64_json"}
    request = parsed(body)
    assert (request.quality, request.style, request.response_format) == ("hd", "vivid", "b64_json")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Missing required parameter: 'prompt'."),
        ({"prompt": None}, "Missing required parameter: 'prompt'."),
        (
            {"prompt": "x", "model": 3},
            "Invalid type for 'model': expected a string, but got an integer instead.",
        ),
        (
            {"prompt": "x", "output_format": "svg"},
            "Invalid value: 'svg'. Supported values are: 'png', 'webp', 'jpeg', and 'gif'.",
        ),
        (
            {"prompt": "x", "moderation": "none"},
            "Invalid value: 'none'. Supported values are: 'auto' and 'low'.",
        ),
        (
            {"prompt": "x", "background": "red"},
            "Invalid value: 'red'. Supported values are: 'transparent', 'opaque', and 'auto'.",
        ),
        (
            {"prompt": "x", "output_compression": 101},
            "Invalid 'output_compression': integer above maximum value. "
            "Expected a value <= 100, but got 101 instead.",
        ),
        (
            {"prompt": "x", "partial_images": -1},
            "Invalid 'partial_images': integer below minimum value. "
            "Expected a value >= 0, but got -1 instead.",
        ),
        (
            ["prompt"],
            "We could not parse the body of your request: expected a JSON object, but got an array instead.",
        ),
    ],
)
def test_a_bad_body_is_refused_in_openais_words(body: object, message: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parsed(body)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("body", "first"),
    [
        ({"model": 1, "prompt": "", "n": 0}, "model"),
        ({"quality": "ultra", "n": 0, "prompt": ""}, "prompt"),
        ({"quality": "ultra", "n": 0, "prompt": "x"}, "n"),
    ],
)
def test_of_several_faults_the_one_that_openai_names_is_named(body: object, first: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parsed(body)
    assert raised.value.parameter == first


@pytest.mark.parametrize(
    ("body", "first"),
    [({"model": 1, "foo": 1}, "model"), ({"foo": 1}, "foo"), ({"prompt": "", "foo": None}, "foo")],
)
def test_an_unknown_key_is_named_before_the_prompt(body: object, first: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parsed(body)
    assert raised.value.parameter == first


def test_fields_of_openais_pass_under_other_names() -> None:
    request = parsed({"prompt": "x", "num_images": 2, "image_size": "256x192"})
    assert (request.n, request.size, request.extra) == (2, "256x192", {})


def test_the_model_can_be_read_before_the_rest() -> None:
    assert requested_model({"model": "fox", "n": "bad"}) == "fox"
    assert requested_model({"model": None}) is None


FORM = {"prompt": "a fox", "n": "2", "stream": "false", "output_compression": "80", "output_format": "webp"}


def test_a_forms_text_is_read_as_what_json_would_have_carried() -> None:
    body = {"prompt": "a fox", "n": 2, "stream": False, "output_compression": 80, "output_format": "webp"}
    assert parse_generation(FORM, schema=TINY, form=True) == parsed(body)


def test_a_forms_parameters_of_the_model_are_read_by_their_types() -> None:
    form = {"steps": "9", "cfg": "2.5", "negative_prompt": "1", "seed": "7", "width": "64"}
    request = parse_generation({"prompt": "x"} | form, schema=TINY, form=True)
    assert request.extra == {
        "num_inference_steps": 9,
        "guidance_scale": 2.5,
        "negative_prompt": "1",
        "seed": 7,
        "width": 64,
    }


def test_an_empty_field_of_a_form_was_left_out() -> None:
    empty = dict.fromkeys(("n", "size", "model", "user", "seed", "stream", "no_such_field"), "")
    assert parse_generation(FORM | empty, schema=TINY, form=True) == parse_generation(
        {name: value for name, value in FORM.items() if name not in empty}, schema=TINY, form=True
    )


def test_brackets_in_a_forms_names_are_keys() -> None:
    form = {"prompt": "x", "svg[model]": "m", "svg[reasoning][effort]": "low"}
    request = parse_generation(form, schema=TINY, form=True)
    assert request.svg == {"model": "m", "reasoning": {"effort": "low"}}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n", "abc", "an integer, but got a string value that could not be converted into an integer."),
        ("n", "1.5", "an integer, but got a string value that could not be converted into an integer."),
        ("n", "9" * 5000, "an integer, but got a string value that could not be converted into an integer."),
        ("stream", "yes", "a boolean, but got a string instead."),
        ("timeout", "soon", "a number, but got a string value that could not be converted into a number."),
        ("size", Upload(b"x"), "a string, but got a file instead."),
        ("seed", "x", "an integer, but got a string value that could not be converted into an integer."),
        ("cfg", Upload(b"x"), "a text field, but got a file instead."),
    ],
)
def test_a_bad_field_of_a_form_is_refused_in_openais_words(name: str, value: object, message: str) -> None:
    with pytest.raises(InvalidRequest, match="expected " + message) as raised:
        parse_generation({"prompt": "x", name: value}, schema=TINY, form=True)
    assert raised.value.parameter in (name, "guidance_scale")


def test_a_models_own_timeout_is_the_models() -> None:
    own = spec("timeout", INTEGER, default=3)
    call = TINY.call.model_copy(update={"parameters": (*TINY.call.parameters, own)})
    model = TINY.model_copy(update={"methods": (call, *TINY.methods[1:])})
    request = parse_generation({"prompt": "x", "timeout": 7}, schema=model)
    assert (request.timeout, request.extra["timeout"]) == (None, 7)
    assert parse_generation({"prompt": "x", "timeout": 7}, schema=TINY).timeout == 7
