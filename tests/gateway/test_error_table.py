"""OpenAI's own faults, row by row as they were seen: status, type, param, code and words, over the wire."""

from __future__ import annotations

import http
import json
from typing import Any

import httpx2
import pytest

from tests.gateway.test_edit_routes import png

pytestmark = pytest.mark.anyio

ABSENT = "(absent)"
BAD = "invalid_request_error"
WISH = "image_generation_user_error"
GENERATIONS = "/v1/images/generations"
EDITS = "/v1/images/edits"

# What is sent beside a good prompt; status, type, param, code; how the message begins.
ROWS: tuple[tuple[dict[str, Any], int, str, str | None, str | None, str], ...] = (
    ({"model": 3}, 400, BAD, "model", "invalid_type", "Invalid type for 'model': expected a string, but"),
    ({"prompt": ABSENT}, 400, BAD, "prompt", "missing_required_parameter", "Missing required parameter"),
    ({"prompt": ""}, 400, BAD, "prompt", "empty_string", "Invalid 'prompt': empty string."),
    ({"prompt": 3}, 400, BAD, "prompt", "invalid_type", "Invalid type for 'prompt': expected a string"),
    ({"prompt": "x" * 32_001}, 400, BAD, "prompt", "string_above_max_length", "Invalid 'prompt': string too"),
    ({"n": 0}, 400, BAD, "n", "integer_below_min_value", "Invalid 'n': integer below minimum value."),
    ({"n": 11}, 400, BAD, "n", "integer_above_max_value", "Invalid 'n': integer above maximum value."),
    (
        {"n": 1.5},
        400,
        BAD,
        "n",
        "invalid_type",
        "Invalid type for 'n': expected an integer, but got a decimal",
    ),
    (
        {"n": "2"},
        400,
        BAD,
        "n",
        "invalid_type",
        "Invalid type for 'n': expected an integer, but got a string",
    ),
    (
        {"n": True},
        400,
        BAD,
        "n",
        "invalid_type",
        "Invalid type for 'n': expected an integer, but got a boolean",
    ),
    ({"output_compression": 101}, 400, BAD, "output_compression", "integer_above_max_value", "Invalid 'out"),
    ({"stream": True, "partial_images": 4}, 400, BAD, "partial_images", "integer_above_max_value", "Invalid"),
    ({"quality": "ultra"}, 400, BAD, "quality", "invalid_value", "Invalid value: 'ultra'. Supported values"),
    ({"quality": 3}, 400, BAD, "quality", "invalid_type", "Invalid type for 'quality': expected one of"),
    ({"moderation": "off"}, 400, BAD, "moderation", "invalid_value", "Invalid value: 'off'. Supported"),
    (
        {"background": "red"},
        400,
        BAD,
        "background",
        "invalid_value",
        "Invalid value: 'red'. Supported values",
    ),
    ({"stream": "yes"}, 400, BAD, "stream", "invalid_type", "Invalid type for 'stream': expected a boolean"),
    ({"size": "bogus"}, 400, WISH, "size", "invalid_value", "Invalid size 'bogus'. Expected WIDTHxHEIGHT"),
    ({"size": "99999x64"}, 400, WISH, "size", "invalid_value", "Invalid size '99999x64'."),
    ({"stepz": 3}, 400, BAD, "stepz", "unknown_parameter", "Unknown parameter: 'stepz'."),
    ({"output_format": "svg"}, 400, BAD, "output_format", "invalid_value", ""),
    (
        {"background": "transparent", "output_format": "jpeg"},
        400,
        WISH,
        None,
        "invalid_transparent_background_output_format",
        "Transparent background is not supported for JPEG output format",
    ),
    (
        {"output_compression": 40, "output_format": "png"},
        400,
        WISH,
        None,
        "invalid_png_output_compression",
        "Compression less than 100 is not supported for PNG output format",
    ),
    (
        {"stream": True, "n": 2},
        400,
        WISH,
        "n",
        "unsupported_parameter",
        "Streaming is only supported with n=1.",
    ),
)


def assert_fault(answer: httpx2.Response, *expected: object) -> None:
    status, kind, param, code, words = expected
    error = answer.json()["error"]
    found = (answer.status_code, error["type"], error["param"], error["code"])
    assert found == (status, kind, param, code)
    assert error["message"].startswith(str(words))
    assert answer.reason_phrase == http.HTTPStatus(answer.status_code).phrase
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: json.dumps(row[0], default=str)[:40])
async def test_generations_fault_is_told_as_openai_tells_it(client: httpx2.AsyncClient, row: Any) -> None:
    sent, *expected = row
    body = {"model": "demo", "prompt": "a fox"} | sent
    body = {name: value for name, value in body.items() if value != ABSENT}
    assert_fault(await client.post(GENERATIONS, json=body), *expected)


JSON_EDITS: tuple[tuple[dict[str, Any], str, str, str], ...] = (
    ({"image": "x"}, "image", "invalid_value", "Unknown parameter: 'image'. For application/json on"),
    ({}, "images", "missing_required_parameter", "Missing required parameter: 'images'."),
    ({"images": []}, "images", "empty_array", "Invalid 'images': empty array."),
    ({"images": None}, "images", "invalid_type", "Invalid type for 'images': expected an array of objects"),
    ({"images": ["x"]}, "images[0]", "invalid_type", "Invalid type for 'images[0]': expected an object"),
)


@pytest.mark.parametrize("row", JSON_EDITS, ids=lambda row: json.dumps(row[0]))
async def test_edits_fault_in_json_is_told_as_openai_tells_it(client: httpx2.AsyncClient, row: Any) -> None:
    sent, param, code, words = row
    answer = await client.post(EDITS, json={"model": "demo", "prompt": "a fox"} | sent)
    assert_fault(answer, 400, BAD, param, code, words)


async def test_form_that_names_its_pictures_as_json_does_is_told_so(client: httpx2.AsyncClient) -> None:
    answer = await client.post(EDITS, data={"prompt": "a"}, files={"images": ("a.png", png(), "image/png")})
    assert_fault(answer, 400, BAD, "images", "invalid_value", "Unknown parameter: 'images'. For multipart")


async def test_word_for_a_number_in_a_form_is_told(client: httpx2.AsyncClient) -> None:
    form = {"prompt": "a", "n": "abc"}
    answer = await client.post(EDITS, data=form, files={"image": ("a.png", png(), "image/png")})
    words = "Invalid type for 'n': expected an integer, but got a string value that could not be converted"
    assert_fault(answer, 400, BAD, "n", "invalid_type", words)


@pytest.mark.parametrize(
    ("data", "kind", "code", "words"),
    [
        (b"not a picture", BAD, "unsupported_file_mimetype", "Invalid file 'image': unsupported mimetype"),
        (png()[:40], WISH, "invalid_image_file", "Invalid image file or mode for image 1"),
    ],
    ids=["no picture", "cut off"],
)
async def test_faulty_picture_is_told(
    client: httpx2.AsyncClient, data: bytes, kind: str, code: str, words: str
) -> None:
    answer = await client.post(EDITS, data={"prompt": "a"}, files={"image": ("a.png", data, "image/png")})
    assert_fault(answer, 400, kind, "image", code, words)


@pytest.mark.parametrize(
    "body",
    [b"{", b"", b"[]", b'"text"', b"null", b'{"prompt": NaN}', b"\xff\xfe", b"[" * 100_000, b'{"a": 1} {}'],
    ids=["cut off", "empty", "array", "text", "null", "NaN", "not UTF-8", "deep", "two"],
)
async def test_body_that_is_no_json_object_is_refused(client: httpx2.AsyncClient, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = await client.post(GENERATIONS, content=body, headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (400, BAD, None)
    assert "JSON" in error["message"]


async def test_other_content_type_is_named(client: httpx2.AsyncClient) -> None:
    answer = await client.post(GENERATIONS, content=b"a=b", headers={"content-type": "text/csv"})
    assert answer.status_code == 415
    assert "text/csv" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("sent", "first"),
    [
        ({"model": 3, "stepz": 1, "prompt": "", "n": 0}, "model"),
        ({"stepz": 1, "prompt": "", "n": 0}, "stepz"),
        ({"prompt": "", "n": 0, "size": "bogus"}, "prompt"),
        ({"prompt": "a", "n": 0, "size": "bogus"}, "n"),
    ],
)
async def test_of_several_faults_openais_first_is_told(
    client: httpx2.AsyncClient, sent: dict[str, Any], first: str
) -> None:
    answer = await client.post(GENERATIONS, json={"model": "demo"} | sent)
    assert answer.json()["error"]["param"] == first


async def test_model_cannot_be_deleted(client: httpx2.AsyncClient) -> None:
    answer = await client.delete("/v1/models/demo")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET"
    assert answer.json()["error"]["type"] == BAD
