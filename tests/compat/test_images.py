"""The answer of images is one that the SDK understands."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import orjson
from openai.types import ImagesResponse

from compat.images import images_response
from compat.mapped import Adjusted, Ignored, Mapped
from compat.tokens import image_tokens
from engines.calls import ComputeMetrics, EncodedImage, EngineCall, EngineResult, ImageFormat

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


def test_remarks_on_the_pictures_are_told() -> None:
    told = replace(RESULT, notes=("picture 1 is of a single colour",))
    assert orjson.loads(images_response("fox", MAPPED, told))["notes"] == ["picture 1 is of a single colour"]
