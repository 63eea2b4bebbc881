"""The images request is read as OpenAI reads it, and its answer is one that the SDK understands."""

from __future__ import annotations

import base64
from typing import Any, get_args, get_type_hints

import orjson
import pytest
from openai.types import ImageGenerateParams, ImagesResponse

from compat.images import images_response, parse_generation, requested_model
from compat.mapped import Adjusted, Ignored, Mapped
from compat.tokens import image_tokens
from engines.calls import ComputeMetrics, EncodedImage, EngineCall, EngineResult, ImageFormat
from engines.errors import InvalidRequest
from tests.compat.models import TINY

PICTURES = (b"\x89PNG one", bytes(range(256)) * 40)
METRICS = ComputeMetrics(
    query_duration_seconds=1.5,
    queue_seconds=0,
    load_seconds=0,
    inference_seconds=1.2,
    encode_seconds=0.1,
    steps=25,
    replica_cpu_percent=99.5,
    replica_memory_mb=512,
    replica_memory_peak_mb=600,
    sample_interval_seconds=0.1,
)
RESULT = EngineResult(
    images=tuple(
        EncodedImage(data=data, format=ImageFormat.WEBP, width=100, height=32, seed=2**53 - 9 + i)
        for i, data in enumerate(PICTURES)
    ),
    parameters={"prompt": 'a "fox"\n', "num_inference_steps": 25},
    metrics=METRICS,
    prompt_tokens=7,
)
MAPPED = Mapped(
    call=EngineCall(request_id="r", method="__call__", parameters={}),
    ignored=(Ignored("style", "no guidance"),),
    adjusted=(Adjusted("size", "100x32", "128x128", "made for it"),),
    quality="xhigh",
)


def parsed_by_the_sdk(result: EngineResult = RESULT) -> ImagesResponse:
    return ImagesResponse.model_validate_json(images_response("fox", MAPPED, result, created=1_700_000_000))


def extra_of(response: ImagesResponse) -> dict[str, Any]:
    return response.model_extra or {}


def test_every_field_of_the_sdk_is_known_by_name() -> None:
    names = {name for variant in get_args(ImageGenerateParams) for name in get_type_hints(variant)}
    values: dict[str, Any] = {"prompt": "a fox", "n": 2, "stream": True, "svg": {"model": "m"}}
    request = parse_generation(dict.fromkeys(names) | values)
    assert request.extra == {}
    assert (request.n, request.stream, request.svg) == (2, True, {"model": "m"})


def test_nulls_are_omissions() -> None:
    left_out = parse_generation({"prompt": "a fox"})
    assert parse_generation({"prompt": "a fox", "n": None, "size": None, "model": None}) == left_out


def test_keys_that_openai_does_not_know_are_kept_as_they_are() -> None:
    request = parse_generation({"prompt": "a fox", "seed": 5, "negative_prompt": None, "foo": [1]})
    assert request.extra == {"seed": 5, "negative_prompt": None, "foo": [1]}


def test_words_of_older_models_pass_for_any_model() -> None:
    body = {"prompt": "a fox", "quality": "hd", "style": "vivid", "response_format": "b64_json"}
    request = parse_generation(body)
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
            {"prompt": "x", "output_format": "gif"},
            "Invalid value: 'gif'. Supported values are: 'png', 'webp', and 'jpeg'.",
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
        parse_generation(body)
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
        parse_generation(body)
    assert raised.value.parameter == first


@pytest.mark.parametrize(
    ("body", "first"),
    [({"model": 1, "foo": 1}, "model"), ({"foo": 1}, "foo"), ({"prompt": "", "foo": None}, "foo")],
)
def test_with_a_schema_an_unknown_key_is_named_before_the_prompt(body: object, first: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse_generation(body, schema=TINY)
    assert raised.value.parameter == first


def test_with_a_schema_the_models_own_parameters_pass_under_any_name() -> None:
    body = {"prompt": "x", "steps": 5, "seed": 1, "num_images": 2, "negative_prompt": "y"}
    assert parse_generation(body, schema=TINY) == parse_generation(body)


def test_the_model_can_be_read_before_the_rest() -> None:
    assert requested_model({"model": "fox", "n": "bad"}) == "fox"
    assert requested_model({"model": None}) is None


def test_the_sdk_reads_every_picture_back() -> None:
    response = parsed_by_the_sdk()
    assert response.created == 1_700_000_000
    assert [base64.b64decode(image.b64_json or "") for image in response.data or ()] == list(PICTURES)
    assert [image.url for image in response.data or ()] == [None, None]


def test_the_answer_states_resolved_values() -> None:
    response = parsed_by_the_sdk()
    assert (response.background, response.output_format) == ("opaque", "webp")
    assert (response.quality, response.size) == ("xhigh", "100x32")


def test_usage_counts_the_prompts_tokens_and_the_pictures_patches() -> None:
    usage = parsed_by_the_sdk().usage
    assert usage is not None
    assert usage.output_tokens_details is not None
    assert (usage.input_tokens, usage.input_tokens_details.text_tokens) == (7, 7)
    assert usage.output_tokens == usage.output_tokens_details.image_tokens == 2 * 7 * 2
    assert usage.total_tokens == 7 + 28


def test_a_picture_of_openais_size_counts_about_what_openai_counts() -> None:
    assert image_tokens(1024, 1024) == 4096


def test_the_gateways_additions_pass_through_the_sdk() -> None:
    extra = extra_of(parsed_by_the_sdk())
    assert extra["model"] == "fox"
    assert extra["parameters"] == {"prompt": 'a "fox"\n', "num_inference_steps": 25}
    assert extra["ignored"] == [{"field": "style", "reason": "no guidance"}]
    assert extra["adjusted"] == [
        {"field": "size", "from": "100x32", "to": "128x128", "reason": "made for it"}
    ]
    assert ComputeMetrics.model_validate(extra["compute_metrics"]) == METRICS


def test_each_picture_names_its_seed_exactly() -> None:
    response = parsed_by_the_sdk()
    seeds = [(image.model_extra or {})["seed"] for image in response.data or ()]
    assert seeds == [2**53 - 9, 2**53 - 8]


def test_an_answer_without_a_given_time_carries_one() -> None:
    assert orjson.loads(images_response("fox", MAPPED, RESULT))["created"] > 1_700_000_000
