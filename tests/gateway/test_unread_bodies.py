"""Uploads that are refused: the client sees why, and nobody waits for the rest. On real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI

from gateway import unread
from gateway.service import Service
from tests.gateway.listening import listening
from tests.gateway.test_access import allow
from tests.gateway.wire import assert_error

pytestmark = pytest.mark.anyio

INVALID = "invalid_request_error"
JSON = {"content-type": "application/json"}
ROUTE = "/v1/images/generations"


@pytest.fixture(autouse=True)
def short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unread, "LINGER_SECONDS", 0.2)


@pytest.fixture
async def url(app: FastAPI) -> AsyncIterator[str]:
    async with listening(app) as address:
        yield address


async def answered(url: str, head: str, body: bytes = b"") -> bytes:
    """What comes back for the beginning of a request, until the server closes the connection."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode() + b"\r\n\r\n" + body)
    async with asyncio.timeout(30):
        found = await reader.read()
    writer.close()
    await writer.wait_closed()
    return found


@pytest.mark.parametrize("length", ["content-length: 60000000", "transfer-encoding: chunked"])
async def test_a_refused_upload_is_answered_and_not_waited_for(
    url: str, service: Service, length: str
) -> None:
    allow(service, api_keys=("key",))
    head = f"POST {ROUTE} HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n{length}"
    found = await answered(url, head)
    status, _, rest = found.partition(b"\r\n")
    assert status == b"HTTP/1.1 401 Unauthorized"
    assert b"connection: close" in rest
    assert rest.endswith(b'"param":null,"code":null}}')


async def test_a_client_that_sends_on_gets_its_answer_whole(url: str, service: Service) -> None:
    allow(service, max_body_mb=1)
    body = b'{"prompt": "' + b"x" * (8 << 20) + b'"}'
    async with httpx2.AsyncClient(base_url=url) as client:
        answer = await client.post(ROUTE, content=body, headers=JSON)
    assert_error(answer, 413, type=INVALID, code="body_too_large", param=None)
    assert answer.headers["connection"] == "close"


async def test_a_small_body_that_is_refused_keeps_its_connection(url: str) -> None:
    async with httpx2.AsyncClient(base_url=url) as client:
        answer = await client.post("/v1/nothing", json={"prompt": "x"})
    assert answer.status_code == 404
    assert "connection" not in answer.headers


async def test_a_large_body_that_is_read_keeps_its_connection(url: str) -> None:
    body = b'{"prompt": 1, "user": "' + b"x" * (3 << 20) + b'"}'
    async with httpx2.AsyncClient(base_url=url) as client:
        answer = await client.post(ROUTE, content=body, headers=JSON)
    assert answer.json()["error"]["param"] == "prompt"
    assert "connection" not in answer.headers
