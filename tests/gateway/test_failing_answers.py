"""Every failing answer, from whatever layer, is OpenAI's error object."""

from __future__ import annotations

import httpx2
import pytest
from fastapi import FastAPI

from gateway.service import Service
from tests.gateway.wire import assert_error

pytestmark = pytest.mark.anyio

INVALID = "invalid_request_error"
JSON_ROUTES = ("/v1/images/generations", "/generate", "/kandinsky-demo/v1/generate")


async def test_unknown_path(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/v1/nothing")
    assert assert_error(answer, 404, type=INVALID, code=None, param=None) == "Invalid URL (GET /v1/nothing)"


@pytest.mark.parametrize("path", JSON_ROUTES)
async def test_wrong_method(client: httpx2.AsyncClient, path: str) -> None:
    answer = await client.delete(path)
    assert_error(answer, 405, type=INVALID, code="method_not_supported", param=None)
    assert answer.headers["allow"] == "POST"


async def test_wrong_method_of_several_routes_lists_the_methods_of_all(client: httpx2.AsyncClient) -> None:
    answer = await client.put("/v1/files/file-0")
    assert_error(answer, 405, type=INVALID, code="method_not_supported", param=None)
    assert answer.headers["allow"] == "DELETE, GET"
    assert (await client.options("/v1/files")).headers["allow"] == "OPTIONS, GET, POST"


@pytest.mark.parametrize("path", JSON_ROUTES)
async def test_body_that_is_no_json(client: httpx2.AsyncClient, path: str) -> None:
    answer = await client.post(path, content=b'{"prompt": ', headers={"content-type": "application/json"})
    assert_error(answer, 400, type=INVALID, code=None, param=None)


@pytest.mark.parametrize("path", JSON_ROUTES)
async def test_body_that_is_no_object(client: httpx2.AsyncClient, path: str) -> None:
    answer = await client.post(path, json=["prompt"])
    assert "an array" in assert_error(answer, 400, type=INVALID, code=None, param=None)


@pytest.mark.parametrize("path", JSON_ROUTES)
async def test_media_type_that_a_foreign_page_could_send(client: httpx2.AsyncClient, path: str) -> None:
    answer = await client.post(path, content=b'{"prompt": "x"}', headers={"content-type": "text/plain"})
    assert_error(answer, 415, type=INVALID, code="unsupported_content_type", param=None)


@pytest.mark.parametrize("path", JSON_ROUTES)
@pytest.mark.parametrize("chunked", [False, True])
async def test_body_over_the_limit(
    client: httpx2.AsyncClient, service: Service, path: str, chunked: bool
) -> None:
    service.settings = service.settings.model_copy(update={"max_body_mb": 1})
    large = b'{"prompt": "' + b"x" * (1 << 20) + b'"}'

    async def pieces() -> object:
        yield large

    content = pieces() if chunked else large
    answer = await client.post(path, content=content, headers={"content-type": "application/json"})  # type: ignore[arg-type]
    assert_error(answer, 413, type=INVALID, code="body_too_large", param=None)


async def test_unknown_model_lists_the_known_ones(client: httpx2.AsyncClient, service: Service) -> None:
    service.models = type(service.models)(
        entry.model_copy(update={"aliases": ()}) for entry in service.models
    )
    answer = await client.post("/v1/images/generations", json={"model": "foo", "prompt": "x"})
    message = assert_error(
        answer, 400, type="image_generation_user_error", code="invalid_value", param="model"
    )
    assert "'demo'" in message


async def test_unknown_model_on_a_native_route(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/kandinsky-foo/v1/schema")
    assert_error(answer, 404, type=INVALID, code="model_not_found", param="model")


async def test_unknown_model_on_a_root_route(client: httpx2.AsyncClient, service: Service) -> None:
    service.models = type(service.models)(
        entry.model_copy(update={"aliases": ()}) for entry in service.models
    )
    for path in ("/schema?model=foo", "/health?model=foo"):
        assert_error(await client.get(path), 404, type=INVALID, code="model_not_found", param="model")


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "prompt", "missing_required_parameter"),
        ({"prompt": ""}, "prompt", "empty_string"),
        ({"prompt": 3}, "prompt", "invalid_type"),
        ({"prompt": "x", "n": 0}, "n", "integer_below_min_value"),
        ({"prompt": "x", "n": 11}, "n", "integer_above_max_value"),
        ({"prompt": "x", "n": 1.5}, "n", "invalid_type"),
        ({"prompt": "x", "quality": "ultra"}, "quality", "invalid_value"),
        ({"prompt": "x", "num_infrence_steps": 3}, "num_infrence_steps", "unknown_parameter"),
        ({"prompt": "x", "guidance_scale": "high"}, "guidance_scale", "invalid_type"),
    ],
)
async def test_bad_field(client: httpx2.AsyncClient, body: dict[str, object], param: str, code: str) -> None:
    answer = await client.post("/v1/images/generations", json={"model": "demo"} | body)
    assert_error(answer, 400, type=INVALID, code=code, param=param)


async def test_size_that_is_no_size(client: httpx2.AsyncClient) -> None:
    body = {"model": "demo", "prompt": "x", "size": "huge"}
    answer = await client.post("/v1/images/generations", json=body)
    assert_error(answer, 400, type="image_generation_user_error", code="invalid_value", param="size")


async def test_fault_of_our_own_says_nothing_of_itself(app: FastAPI, client: httpx2.AsyncClient) -> None:
    async def broken() -> None:
        raise ValueError("secret path /root/x")

    app.add_api_route("/broken", broken)
    answer = await client.get("/broken")
    message = assert_error(answer, 500, type="server_error", code=None, param=None)
    assert "secret" not in message
    assert answer.headers["x-request-id"] in message
