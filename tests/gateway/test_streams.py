"""Streams of a drawing: the way to the picture, and the same picture at its end."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from openai import AsyncOpenAI

from gateway.service import Service
from tests.gateway.test_edit_routes import mask, png
from tests.gateway.wire import assert_error, picture

pytestmark = pytest.mark.anyio

QUICK: dict[str, Any] = {"num_inference_steps": 8, "seed": 5}


@pytest.fixture
async def sdk(client: httpx2.AsyncClient) -> AsyncOpenAI:
    return AsyncOpenAI(base_url="http://gateway/v1", api_key="none", http_client=client, max_retries=0)


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Names and data of the events of a stream, comments left out."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


async def test_stream_ends_with_the_picture_of_a_plain_call(sdk: AsyncOpenAI) -> None:
    plain = await sdk.images.generate(model="demo", prompt="hills", extra_body=QUICK)
    stream = await sdk.images.generate(
        model="demo", prompt="hills", stream=True, partial_images=2, extra_body=QUICK
    )
    *partial, last = [event async for event in stream]
    assert [event.type for event in partial] == ["image_generation.partial_image"] * 2
    assert [getattr(event, "partial_image_index", None) for event in partial] == [0, 1]
    assert picture(partial[0].b64_json).size == (128, 128)
    assert last.type == "image_generation.completed"
    assert last.b64_json == (plain.data or [])[0].b64_json
    assert (last.size, last.quality, last.background, last.output_format) == (
        "128x128",
        "high",
        "opaque",
        "png",
    )
    assert last.usage.output_tokens == 64 + 200


async def test_edit_streams_too(sdk: AsyncOpenAI) -> None:
    stream = await sdk.images.edit(
        model="demo", image=png(), mask=mask(), prompt="x", stream=True, partial_images=1, extra_body=QUICK
    )
    assert [event.type async for event in stream] == ["image_edit.partial_image", "image_edit.completed"]


async def test_refusal_before_the_stream_is_a_plain_error(client: httpx2.AsyncClient) -> None:
    body = {"model": "demo", "prompt": "x", "stream": True, "n": 2}
    answer = await client.post("/v1/images/generations", json=body)
    kind, code = "image_generation_user_error", "unsupported_parameter"
    message = assert_error(answer, 400, type=kind, code=code, param="n")
    assert message == "Streaming is only supported with n=1."


async def test_native_stream_tells_every_stage(client: httpx2.AsyncClient, service: Service) -> None:
    body = QUICK | {"prompt": "hills", "partial_images": 1}
    answer = await client.post(
        "/kandinsky-demo/v1/generate", json=body, headers={"accept": "text/event-stream"}
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer.text)
    names = [name for name, _ in events]
    assert set(names) - {"waking"} == {"progress", "preview", "completed"}
    steps = [data["step"] for name, data in events if name == "progress"]
    assert steps == sorted(steps)
    plain = await client.post("/kandinsky-demo/v1/generate", json=QUICK | {"prompt": "hills"})
    assert events[-1][1]["image"] == plain.json()["image"]
    assert service.status("demo").state == "ready"


async def test_reader_who_leaves_ends_the_drawing(sdk: AsyncOpenAI, service: Service) -> None:
    await sdk.images.generate(model="demo", prompt="x", extra_body=QUICK)
    drawing = service.stream("demo", _endless(), hold_seconds=10)
    await anext(drawing)
    await drawing.aclose()
    assert service.status("demo").active_requests == 0
    again = await sdk.images.generate(model="demo", prompt="x", extra_body=QUICK)
    assert again.data


def _endless() -> Any:
    from engines.calls import EngineCall

    return EngineCall(
        request_id="r", method="__call__", parameters={"prompt": "x", "num_inference_steps": 1000}
    )
