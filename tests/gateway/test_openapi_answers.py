"""Real answers have exactly the shapes that the OpenAPI document says, and nothing more."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from gateway.service import Service
from tests.gateway.test_edit_routes import mask, png
from tests.gateway.test_openapi_document import fetched, validator
from tests.gateway.test_streams import events_of

pytestmark = pytest.mark.anyio

QUICK: dict[str, Any] = {"prompt": "hills", "num_inference_steps": 4, "seed": 5}
GENERATIONS = "/v1/images/generations"
NATIVE = "/kandinsky-demo/v1/generate"


@pytest.fixture
async def document(client: httpx2.AsyncClient) -> dict[str, Any]:
    """The document with every object closed: what it does not tell of is a fault."""
    closed: dict[str, Any] = _closed(await fetched(client))
    return closed


def _closed(part: Any) -> Any:
    if isinstance(part, list):
        return [_closed(each) for each in part]
    if not isinstance(part, dict):
        return part
    found = {name: _closed(each) for name, each in part.items()}
    if part.get("type") == "object" and "properties" in part and isinstance(part["properties"], dict):
        found.setdefault("additionalProperties", False)
    return found


def assert_told(document: dict[str, Any], answer: httpx2.Response, path: str, method: str = "get") -> None:
    """Assert that an answer is one of those of its route, in every respect."""
    told = document["paths"][path][method]["responses"][str(answer.status_code)]
    for name, header in told["headers"].items():
        wanted = document["components"]["headers"][header["$ref"].rpartition("/")[2]]
        assert not wanted.get("required") or name in answer.headers
    media = answer.headers["content-type"].partition(";")[0]
    schema = told["content"][media]["schema"]
    if media == "application/json":
        validator(document, schema).validate(answer.json())
    elif media == "text/event-stream":
        for name, data in events_of(answer.text):
            validator(document, _event_schema(schema, name)).validate(data)


def _event_schema(schema: dict[str, Any], name: str) -> dict[str, Any]:
    kinds = [kind["properties"] for kind in schema["oneOf"]]
    (found,) = [kind["data"] for kind in kinds if name in kind["event"]["enum"]]
    content: dict[str, Any] = found["contentSchema"]
    return content


@pytest.mark.parametrize("more", [{}, {"stream": True, "partial_images": 1}, {"n": 2, "size": "256x256"}])
async def test_generations(client: httpx2.AsyncClient, document: dict[str, Any], more: Any) -> None:
    answer = await client.post(GENERATIONS, json=QUICK | more)
    assert answer.status_code == 200
    assert_told(document, answer, GENERATIONS, "post")


@pytest.mark.parametrize("more", [{}, {"stream": "true"}])
async def test_edits(client: httpx2.AsyncClient, document: dict[str, Any], more: Any) -> None:
    parts = {"image": ("a.png", png()), "mask": ("m.png", mask())}
    answer = await client.post("/v1/images/edits", data=QUICK | more, files=parts)
    assert answer.status_code == 200
    assert_told(document, answer, "/v1/images/edits", "post")


async def test_native_calls_asleep_awake_and_streamed(
    client: httpx2.AsyncClient, service: Service, document: dict[str, Any]
) -> None:
    route = "/kandinsky-{model}/v1/generate"
    cold = await client.post(NATIVE, json=QUICK)
    streamed = await client.post(NATIVE, json=QUICK | {"stream": True, "partial_images": 1})
    warm = await client.post(NATIVE, json=QUICK)
    assert [answer.status_code for answer in (cold, streamed, warm)] == [202, 200, 200]
    assert {name for name, _ in events_of(streamed.text)} >= {"progress", "preview", "completed"}
    for answer in (cold, streamed, warm):
        assert_told(document, answer, route, "post")
    assert service.status("demo").state == "ready"


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/", "/"),
        ("/v1/models", "/v1/models"),
        ("/v1/models/demo", "/v1/models/{model}"),
        ("/openai/models", "/openai/models"),
        ("/models", "/models"),
        ("/health", "/health"),
        ("/health?model=demo", "/health"),
        ("/schema", "/schema"),
        ("/kandinsky-demo/v1/schema", "/kandinsky-{model}/v1/schema"),
        ("/kandinsky-demo/v1/models", "/kandinsky-{model}/v1/models"),
        ("/kandinsky-demo/v1/health", "/kandinsky-{model}/v1/health"),
        ("/kandinsky-foo/v1/health", "/kandinsky-{model}/v1/health"),
        ("/v1/files", "/v1/files"),
        ("/v1/batches", "/v1/batches"),
        ("/v1/batches?limit=0", "/v1/batches"),
        ("/v1/files/file-0", "/v1/files/{file_id}"),
        ("/v1/images/files/x.png", "/v1/images/files/{name}"),
    ],
)
async def test_what_is_asked_for(
    client: httpx2.AsyncClient, document: dict[str, Any], path: str, route: str
) -> None:
    assert_told(document, await client.get(path), route)


async def test_files_and_batches(client: httpx2.AsyncClient, document: dict[str, Any]) -> None:
    line = {"custom_id": "1", "method": "POST", "url": GENERATIONS, "body": QUICK}
    made = await client.post(
        "/v1/files", data={"purpose": "batch"}, files={"file": ("b.jsonl", json.dumps(line).encode())}
    )
    assert_told(document, made, "/v1/files", "post")
    file_id = made.json()["id"]
    body = {"input_file_id": file_id, "endpoint": GENERATIONS, "completion_window": "24h"}
    batch = await client.post("/v1/batches", json=body)
    assert_told(document, batch, "/v1/batches", "post")
    for path, route in (("/v1/files", "/v1/files"), ("/v1/batches", "/v1/batches")):
        assert_told(document, await client.get(path), route)
    assert_told(document, await client.delete(f"/v1/files/{file_id}"), "/v1/files/{file_id}", "delete")


async def test_a_picture_and_a_part_of_it(client: httpx2.AsyncClient, document: dict[str, Any]) -> None:
    made = await client.post(GENERATIONS, json=QUICK | {"response_format": "url"})
    url = made.json()["data"][0]["url"]
    for headers, status in (({}, 200), ({"range": "bytes=0-9"}, 206), ({"range": "bytes=9999999-"}, 416)):
        answer = await client.get(url, headers=headers)
        assert answer.status_code == status
        assert_told(document, answer, "/v1/images/files/{name}")
