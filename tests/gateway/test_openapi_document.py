"""The OpenAPI documents are valid, say everything, and say of a model exactly what it takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from compat.errors import TABLE, row_of
from compat.mapped import Operation
from compat.vocabulary import EXTENSIONS, OPENAI_FIELDS
from gateway.app import create_app
from gateway.openapi.failures import undocumented
from gateway.openapi.operations import OPERATIONS
from gateway.remotes import RemoteEntry
from gateway.service import GatewayConfig, Service
from gateway.settings import Settings
from tests.gateway import in_process
from tests.gateway.conftest import demo_config
from tests.gateway.test_edit_routes import png, uri
from tests.gateway.wire import assert_error

pytestmark = pytest.mark.anyio

DOCUMENT = "/openapi.json"
MODEL_DOCUMENT = "/kandinsky-demo/v1/openapi.json"
OPENAI = ("/v1/images/generations", "/v1/images/edits", "/v1/images/variations")


async def fetched(client: httpx2.AsyncClient, path: str = DOCUMENT) -> dict[str, Any]:
    answer = await client.get(path)
    assert answer.status_code == 200
    document: dict[str, Any] = answer.json()
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def validator(document: dict[str, Any], schema: dict[str, Any]) -> Draft202012Validator:
    """A validator of a schema of the document."""
    return Draft202012Validator({**schema, "components": document["components"]})


def body_validator(document: dict[str, Any], path: str) -> Draft202012Validator:
    content = document["paths"][path]["post"]["requestBody"]["content"]
    return validator(document, content["application/json"]["schema"])


@pytest.mark.parametrize("path", [DOCUMENT, MODEL_DOCUMENT])
async def test_the_document_is_valid(client: httpx2.AsyncClient, path: str) -> None:
    document = await fetched(client, path)
    assert document["openapi"].startswith("3.1")
    OpenAPIV31SpecValidator(document).validate()


async def test_every_route_is_in_it_once(client: httpx2.AsyncClient) -> None:
    found = [(method, path) for method, path, _ in operations(await fetched(client))]
    assert sorted(found) == sorted(OPERATIONS)
    names = [operation["operationId"] for *_, operation in operations(await fetched(client))]
    assert len(set(names)) == len(names)


async def test_every_error_of_the_table_is_told_by_some_route() -> None:
    assert undocumented(described.failures for described in OPERATIONS.values()) == set()
    assert {row_of(kind).status for kind in TABLE} >= {400, 401, 404, 405, 408, 413, 415, 500, 503, 507}


async def test_every_failing_answer_is_the_error_object_with_the_headers_of_all(
    client: httpx2.AsyncClient,
) -> None:
    document = await fetched(client)
    for method, path, operation in operations(document):
        assert {"401", "500"} <= set(operation["responses"]), (method, path)
        for status, answer in operation["responses"].items():
            assert {"x-request-id", "openai-processing-ms", "openai-version"} <= set(answer["headers"])
            if status >= "400":
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Error"}, (path, status)
            if status == "503":
                assert "Retry-After" in answer["headers"], path


@pytest.mark.parametrize(
    ("operation", "name"),
    [(Operation.GENERATION, "Generation"), (Operation.EDIT, "Edit"), (Operation.VARIATION, "Variation")],
)
async def test_every_field_of_openais_is_in_the_bodies(
    client: httpx2.AsyncClient, operation: Operation, name: str
) -> None:
    schemas = (await fetched(client))["components"]["schemas"]
    fields = (OPENAI_FIELDS[operation] | EXTENSIONS[operation]) - {"image", "images"}
    assert fields <= set(schemas[f"{name}Request"]["properties"])
    assert fields <= set(schemas[f"{name}Form"]["properties"])


async def test_streams_and_the_202_are_told(client: httpx2.AsyncClient) -> None:
    paths = (await fetched(client))["paths"]
    assert "text/event-stream" in paths[OPENAI[0]]["post"]["responses"]["200"]["content"]
    native = paths["/kandinsky-{model}/v1/generate"]["post"]["responses"]
    assert {"application/json", "text/event-stream"} == set(native["200"]["content"])
    assert {"Retry-After", "Location"} <= set(native["202"]["headers"])


async def test_the_examples_are_valid(client: httpx2.AsyncClient) -> None:
    for path in (DOCUMENT, MODEL_DOCUMENT):
        document = await fetched(client, path)
        for route in OPENAI:
            reader = body_validator(document, route)
            name = document["paths"][route]["post"]["requestBody"]["content"]["application/json"]["schema"]
            (example,) = document["components"]["schemas"][name["$ref"].rpartition("/")[2]]["examples"]
            reader.validate(example)


@pytest.mark.parametrize(
    ("path", "body", "valid"),
    [
        ("generate", {"prompt": "x", "num_inference_steps": 4, "output_format": "gif", "seed": None}, True),
        ("generate", {"prompt": "x", "image": "AAAA", "strength": 0.5}, True),
        ("generate", {"prompt": "x", "num_inference_steps": 0}, False),
        ("generate", {"prompt": "x", "strength": 0.5}, False),
        ("generate", {"prompt": "x", "width": 100}, False),
        ("generate", {"prompt": None}, False),
        (OPENAI[0], {"model": "dall-e-3", "prompt": "x", "n": None, "steps": 4, "guidance_scale": 2}, True),
        (OPENAI[0], {"model": "demo", "prompt": "x", "strength": 0.5}, False),
        (OPENAI[0], {"model": "demo", "prompt": "x", "size": "huge"}, False),
        (OPENAI[1], {"model": "demo", "prompt": "x", "images": [{"image_url": uri(png())}]}, True),
        (OPENAI[1], {"model": "demo", "prompt": "x", "images": [{"file_id": "f", "image_url": "u"}]}, False),
        (OPENAI[1], {"model": "demo", "prompt": "x", "images": []}, False),
    ],
)
async def test_a_models_document_says_what_the_model_takes(
    client: httpx2.AsyncClient, path: str, body: dict[str, Any], valid: bool
) -> None:
    route = path if path.startswith("/") else f"/kandinsky-demo/v1/{path}"
    reader = body_validator(await fetched(client, MODEL_DOCUMENT), route)
    assert reader.is_valid(body) is valid
    if not valid:
        assert (await client.post(route, json=body)).status_code == 400


async def test_a_models_document_has_its_routes_alone(client: httpx2.AsyncClient) -> None:
    document = await fetched(client, MODEL_DOCUMENT)
    names = ("schema", "generate", "health", "models", "warm", "sleep", "requests", "requests/{request_id}")
    native = {f"/kandinsky-demo/v1/{name}" for name in names}
    assert set(document["paths"]) == {*OPENAI, *native, MODEL_DOCUMENT}
    assert await fetched(client, f"{DOCUMENT}?model=demo") == document


async def test_a_document_of_no_model_is_refused(client: httpx2.AsyncClient) -> None:
    for path in ("/kandinsky-foo/v1/openapi.json", f"{DOCUMENT}?model=foo"):
        answer = await client.get(path)
        assert_error(answer, 404, type="invalid_request_error", code="model_not_found", param="model")


async def test_keys_are_wanted_where_there_are_any(client: httpx2.AsyncClient, service: Service) -> None:
    route = "/v1/images/generations"
    assert {} in (await fetched(client))["paths"][route]["post"]["security"]
    service.settings = Settings.model_validate({"api_keys": ["key"]})
    document = (await client.get(DOCUMENT, headers={"api-key": "key"})).json()
    assert document["paths"][route]["post"]["security"] == [{"bearer": []}, {"api_key": []}]
    assert document["paths"]["/health"]["get"]["security"] == []
    assert set(document["components"]["securitySchemes"]) == {"bearer", "api_key"}


async def test_strict_use_knows_openais_fields_alone(client: httpx2.AsyncClient, service: Service) -> None:
    service.settings = Settings(strict=True)
    reader = body_validator(await fetched(client), OPENAI[0])
    assert reader.is_valid({"model": "demo", "prompt": "x"})
    assert not reader.is_valid({"prompt": "x"})
    assert not reader.is_valid({"model": "demo", "prompt": "x", "seed": 1})


async def test_a_model_of_another_server_has_a_document_too() -> None:
    remote = RemoteEntry(name="far", base_url="http://elsewhere/v1", model="big")
    service = in_process.service(demo_config().model_copy(update={"remotes": (remote,)}))
    transport = httpx2.ASGITransport(app=create_app(service))
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
        document = await fetched(client, "/kandinsky-far/v1/openapi.json")
        OpenAPIV31SpecValidator(document).validate()
        reader = body_validator(document, OPENAI[0])
        assert reader.is_valid({"model": "far", "prompt": "x", "whatever": 1})
        assert not reader.is_valid({"model": "demo", "prompt": "x"})
    service.close()


async def test_nothing_is_loaded_from_elsewhere_to_read_it(client: httpx2.AsyncClient) -> None:
    for path in ("/docs", "/redoc"):
        assert (await client.get(path)).status_code == 404
    assert (await client.get("/")).json()["openapi"] == DOCUMENT


async def test_a_gateway_without_models_has_a_document() -> None:
    service = Service(in_process.no_engine)
    service.configure(GatewayConfig())
    transport = httpx2.ASGITransport(app=create_app(service))
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
        assert OPENAI[0] in (await fetched(client))["paths"]
    service.close()
