"""Who may call: API keys, web pages of other origins, and clients that dawdle."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI

from gateway.service import Service
from gateway.settings import Settings, from_environment
from tests.gateway.wire import assert_error

pytestmark = pytest.mark.anyio

KEY = "sk-one-two-three-four"


def allow(service: Service, **settings: Any) -> None:
    service.settings = Settings.model_validate(service.settings.model_dump() | settings)


async def test_call_without_a_key_is_refused_where_keys_are_set(
    client: httpx2.AsyncClient, service: Service
) -> None:
    allow(service, api_keys=(KEY,))
    answer = await client.get("/v1/models")
    message = assert_error(answer, 401, type="invalid_request_error", code=None, param=None)
    assert "You didn't provide an API key" in message
    assert (await client.get("/health")).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"authorization": f"Bearer {KEY}"}, {"authorization": f"bearer  {KEY}"}, {"api-key": KEY}]
)
async def test_key_opens_as_openais_and_as_azures_clients_send_it(
    client: httpx2.AsyncClient, service: Service, headers: dict[str, str]
) -> None:
    allow(service, api_keys=("another", KEY))
    assert (await client.get("/v1/models", headers=headers)).status_code == 200


async def test_wrong_key_is_the_sdks_authentication_error(
    client: httpx2.AsyncClient, service: Service
) -> None:
    allow(service, api_keys=(KEY,))
    sdk = AsyncOpenAI(base_url="http://gateway/v1", api_key="sk-wrong-and-long", http_client=client)
    with pytest.raises(openai.AuthenticationError, match=r"provided: sk-\*\*\*long") as raised:
        await sdk.models.list()
    assert raised.value.code == "invalid_api_key"


def test_keys_are_kept_as_digests_alone() -> None:
    settings = from_environment({"KANDINSKY_API_KEYS": f"{KEY}, other"})
    assert len(settings.api_keys) == 2
    assert KEY not in settings.model_dump_json()
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


async def test_page_of_an_allowed_origin_may_call(client: httpx2.AsyncClient, service: Service) -> None:
    allow(service, cors_origins=("https://ui.example",), api_keys=(KEY,))
    ask = {"origin": "https://ui.example", "access-control-request-method": "POST"}
    answer = await client.options("/v1/images/generations", headers=ask)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://ui.example"
    other = await client.options("/v1/images/generations", headers=ask | {"origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


async def test_options_without_cors_tell_the_methods(client: httpx2.AsyncClient) -> None:
    answer = await client.options("/v1/images/generations")
    assert (answer.status_code, answer.headers["allow"]) == (204, "OPTIONS, POST")
    assert "access-control-allow-origin" not in answer.headers


async def test_upload_that_stalls_is_given_up(client: httpx2.AsyncClient, service: Service) -> None:
    allow(service, upload_idle_seconds=0.05)

    async def stalling() -> AsyncIterator[bytes]:
        yield b'{"prompt": '
        import anyio

        await anyio.sleep_forever()

    kind = {"content-type": "application/json"}
    answer = await client.post("/v1/images/generations", content=stalling(), headers=kind)
    assert_error(answer, 408, type="invalid_request_error", code="request_timeout", param=None)


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b"no boundary in here"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\ncut'),
    ],
)
async def test_broken_form_is_refused(client: httpx2.AsyncClient, content_type: str, content: bytes) -> None:
    answer = await client.post("/v1/images/edits", content=content, headers={"content-type": content_type})
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_large_form_is_refused_by_its_declared_length(
    client: httpx2.AsyncClient, service: Service
) -> None:
    allow(service, max_body_mb=1)
    answer = await client.post("/v1/images/edits", files={"image": b"x" * (2 << 20)}, data={"prompt": "x"})
    assert_error(answer, 413, type="invalid_request_error", code="body_too_large", param=None)


async def test_large_file_is_refused(client: httpx2.AsyncClient, service: Service) -> None:
    allow(service, max_file_mb=1)
    answer = await client.post("/v1/images/edits", files={"image": b"x" * (2 << 20)}, data={"prompt": "x"})
    assert_error(answer, 413, type="invalid_request_error", code="body_too_large", param=None)
