"""A deadline holds for another server's model as well, and is watched over here."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx2
import pytest

from gateway.app import create_app
from gateway.remotes import RemoteEntry
from gateway.service import GatewayConfig, Service
from tests.gateway import in_process
from tests.gateway.elsewhere import Elsewhere
from tests.gateway.test_streams import events_of

pytestmark = pytest.mark.anyio

CALL: dict[str, Any] = {"model": "far", "prompt": "the sea"}
GENERATIONS = "/v1/images/generations"


@pytest.fixture
def elsewhere() -> Elsewhere:
    return Elsewhere()


@pytest.fixture
async def client(elsewhere: Elsewhere) -> AsyncIterator[httpx2.AsyncClient]:
    entry = RemoteEntry(name="far", base_url="http://images.internal/v1", model="theirs")
    service = Service(in_process.no_engine, elsewhere.reach)
    service.configure(GatewayConfig(remotes=(entry,)))
    transport = httpx2.ASGITransport(app=create_app(service), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as made:
        yield made
    await service.close_remotes()
    service.close()


async def never(_: httpx2.Request) -> httpx2.Response:
    await anyio.sleep_forever()
    raise AssertionError


def stalling(_: httpx2.Request) -> httpx2.Response:
    async def content() -> AsyncIterator[bytes]:
        yield b'event: x\ndata: {"type": "image_generation.partial_image"}\n\n'
        await anyio.sleep_forever()

    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=content())


async def test_another_servers_silence_ends_with_the_time(
    client: httpx2.AsyncClient, elsewhere: Elsewhere
) -> None:
    elsewhere.respond = never  # type: ignore[assignment]  # the transport awaits what is awaitable
    answer = await client.post(GENERATIONS, json=CALL | {"timeout": 0.05})
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert json.loads(elsewhere.asked[0].content) == {"model": "theirs", "prompt": "the sea"}


async def test_another_servers_stream_ends_with_the_time(
    client: httpx2.AsyncClient, elsewhere: Elsewhere
) -> None:
    elsewhere.respond = stalling
    answer = await client.post(GENERATIONS, json=CALL | {"stream": True, "timeout": 1})
    first, last = events_of(answer.text)
    assert first[0] == "image_generation.partial_image"
    assert (last[0], last[1]["error"]["code"]) == ("error", "deadline_exceeded")


async def test_a_form_and_a_time_that_is_none(client: httpx2.AsyncClient, elsewhere: Elsewhere) -> None:
    form = {**CALL, "timeout": "60"}
    files = {"image": ("a.png", b"x", "image/png")}
    assert (await client.post("/v1/images/edits", data=form, files=files)).status_code == 200
    assert b"timeout" not in elsewhere.asked[0].content
    refused = await client.post(GENERATIONS, json=CALL | {"timeout": 0})
    assert refused.json()["error"]["param"] == "timeout"
