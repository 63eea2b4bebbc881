"""Requests ended on real Ray Serve, by their callers and by their time; refused uploads through its proxy."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from tests.serve.conftest import RunningService, until

GENERATIONS = "/v1/images/generations"
QUICK: dict[str, Any] = {"model": "demo", "prompt": "the sea", "num_inference_steps": 2, "seed": 5}
ENDLESS = QUICK | {"num_inference_steps": 1000}


@pytest.fixture
def awake(service: RunningService) -> RunningService:
    assert service.client.post(GENERATIONS, json=QUICK).status_code == 200
    return service


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_ends_its_request(awake: RunningService, stream: bool) -> None:
    identity = f"ended-{stream}"
    with ThreadPoolExecutor(1) as threads:
        headers = {"x-request-id": identity}
        call = threads.submit(
            awake.client.post, GENERATIONS, json=ENDLESS | {"stream": stream}, headers=headers
        )
        # The answer of a stream begins with its first event.
        until(
            lambda: row(awake, identity), lambda seen: seen["step"] if stream else seen["state"] == "running"
        )
        assert awake.client.delete(f"/requests/{identity}").json()["state"] == "stopped"
        answer = call.result()
    assert answer.headers["x-request-id"] == identity
    assert "generation_stopped" in answer.text
    assert answer.status_code == (200 if stream else 499)
    assert awake.client.post(GENERATIONS, json=QUICK).status_code == 200


def row(service: RunningService, identity: str) -> dict[str, Any]:
    found: dict[str, Any] = service.client.get(f"/requests/{identity}").json()
    return {"step": None, "state": None} | found


def test_a_request_ends_with_its_time(awake: RunningService) -> None:
    answer = awake.client.post(GENERATIONS, json=ENDLESS | {"timeout": 0.5})
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert awake.client.post(GENERATIONS, json=QUICK).status_code == 200


def test_a_refused_upload_gets_its_answer_through_the_proxy(service: RunningService) -> None:
    def content() -> Iterator[bytes]:
        for _ in range(80):
            yield b" " * (1 << 20)

    with httpx2.Client(base_url=service.url, timeout=60) as client:
        answer = client.post(GENERATIONS, content=content(), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
    assert answer.headers["connection"] == "close"
