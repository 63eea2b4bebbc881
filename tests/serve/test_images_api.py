"""OpenAI's images API through Serve's own proxy: what in-process tests cannot show."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image

from tests.gateway.test_edit_routes import mask, png
from tests.serve.conftest import RunningService, until

QUICK: dict[str, Any] = {"num_inference_steps": 8, "seed": 5}
SLOW: dict[str, Any] = QUICK | {"num_inference_steps": 60}


@pytest.fixture
def sdk(service: RunningService) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0, timeout=90)


def test_stream_comes_piece_by_piece_and_ends_with_the_plain_calls_picture(sdk: openai.OpenAI) -> None:
    plain = sdk.images.generate(model="demo", prompt="hills", response_format="b64_json", extra_body=SLOW)
    with sdk.images.generate(
        model="demo", prompt="hills", stream=True, partial_images=2, extra_body=SLOW
    ) as stream:
        arrived = [(event.type, time.monotonic(), event.b64_json) for event in stream]
    assert [kind for kind, _, _ in arrived] == ["image_generation.partial_image"] * 2 + [
        "image_generation.completed"
    ]
    assert arrived[0][1] < arrived[1][1] < arrived[2][1]
    assert arrived[-1][2] == (plain.data or [])[0].b64_json


def test_stream_of_a_sleeping_model_is_kept_alive(
    service: RunningService, tiny_models: Callable[[str], Path]
) -> None:
    service.deploy(tiny_models("kandinsky5"), "dreamer")
    body = {"model": "dreamer", "prompt": "a cat", "stream": True, "num_inference_steps": 2}
    with service.client.stream("POST", "/v1/images/generations", json=body) as answer:
        text = "".join(answer.iter_text())
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert text.startswith(": keepalive")
    assert "event: image_generation.completed" in text
    service.command("undeploy", "dreamer")


def test_reader_who_leaves_a_stream_ends_the_drawing(service: RunningService, sdk: openai.OpenAI) -> None:
    endless = QUICK | {"num_inference_steps": 1000, "width": 512, "height": 512}
    with sdk.images.generate(
        model="demo", prompt="x", stream=True, partial_images=3, extra_body=endless
    ) as stream:
        until(lambda: service.health("demo"), lambda seen: seen["active_requests"] == 1)
        stream.close()
    after = service.client.post("/kandinsky-demo/v1/generate", json=QUICK | {"prompt": "x"})
    assert after.json()["compute_metrics"]["queue_seconds"] < 30


def test_edit_in_a_mask_and_fetch_by_url(service: RunningService, sdk: openai.OpenAI) -> None:
    answer = sdk.images.edit(
        model="demo", image=png(), mask=mask(), prompt="a desert", response_format="url", extra_body=QUICK
    )
    url = (answer.data or [])[0].url or ""
    assert url.startswith(service.url)
    fetched = httpx2.get(url)
    assert fetched.headers["content-type"] == "image/png"
    image = Image.open(io.BytesIO(fetched.content))
    assert image.getpixel((5, 5)) == (70, 130, 180)


def test_batch_survives_the_death_of_the_gateway(service: RunningService, sdk: openai.OpenAI) -> None:
    body = {"model": "demo", "prompt": "hills", **QUICK}
    url = "/v1/images/generations"
    rows = [{"custom_id": f"{i}", "method": "POST", "url": url, "body": body} for i in range(6)]
    data = "\n".join(map(json.dumps, rows)).encode()
    file = sdk.files.create(file=("in.jsonl", data), purpose="batch")
    batch = sdk.batches.create(
        input_file_id=file.id, endpoint="/v1/images/generations", completion_window="24h"
    )
    until(lambda: sdk.batches.retrieve(batch.id), lambda seen: seen.status == "in_progress")
    service.process("ServeReplica:gateway").kill()
    patient = sdk.with_options(max_retries=8)
    done = until(lambda: patient.batches.retrieve(batch.id), lambda seen: seen.status == "completed")
    assert done.request_counts is not None
    assert (done.request_counts.completed, done.request_counts.failed) == (6, 0)
    assert len(patient.files.content(done.output_file_id or "").text.splitlines()) == 6
