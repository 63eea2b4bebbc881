"""Waking and sleeping by hand, over HTTP."""

from __future__ import annotations

from typing import Any

import anyio
import httpx2
import pytest

from gateway.service import Service
from tests.gateway.wire import assert_error

pytestmark = pytest.mark.anyio

WARM = "/kandinsky-demo/v1/warm"
SLEEP = "/kandinsky-demo/v1/sleep"


async def test_warm_wakes_and_says_where_to_look(client: httpx2.AsyncClient, service: Service) -> None:
    answer = await client.post(WARM)
    assert answer.status_code == 202
    assert answer.headers["location"] == "/kandinsky-demo/v1/health"
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert answer.json()["state"] == "waking"
    await service.served("demo").life.wake()
    assert (await client.post(WARM)).status_code == 200


async def test_warm_that_waits_answers_when_the_model_is_ready(client: httpx2.AsyncClient) -> None:
    answer = await client.post(WARM, params={"wait": 30})
    assert (answer.status_code, answer.json()["state"]) == (200, "ready")


async def test_sleep_that_waits_answers_when_the_model_sleeps(client: httpx2.AsyncClient) -> None:
    await client.post(WARM, params={"wait": 30})
    answer = await client.post(SLEEP, params={"wait": 30})
    assert (answer.status_code, answer.json()["state"]) == (200, "asleep")


async def test_sleeping_model_may_be_sent_to_sleep(client: httpx2.AsyncClient) -> None:
    assert (await client.post(SLEEP)).status_code == 200


async def test_model_whose_engine_only_starts_sleeps_once_it_can_be_told(
    client: httpx2.AsyncClient, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine: Any = service.served("demo").engine
    with monkeypatch.context() as starting:
        # Serve tells of a replica when its constructor has returned.
        starting.setattr(engine, "running", lambda: False)
        await client.post(WARM)
        with anyio.fail_after(30):
            while not engine.loads:
                await anyio.sleep(0.01)
        assert (await client.post(SLEEP)).status_code == 202
    with anyio.fail_after(30):
        while service.status("demo").state != "asleep":
            await anyio.sleep(0.01)
    assert not engine.running()


async def test_next_request_wakes_a_model_that_was_sent_to_sleep(client: httpx2.AsyncClient) -> None:
    await client.post(WARM, params={"wait": 30})
    await client.post(SLEEP, params={"wait": 30})
    body = {"model": "demo", "prompt": "hills", "num_inference_steps": 1}
    with anyio.fail_after(60):
        assert (await client.post("/v1/images/generations", json=body)).status_code == 200


@pytest.mark.parametrize("path", [WARM, SLEEP])
async def test_wait_must_be_a_time(client: httpx2.AsyncClient, path: str) -> None:
    answer = await client.post(path, params={"wait": "long"})
    assert_error(answer, 400, type="invalid_request_error", code="invalid_value", param="wait")


@pytest.mark.parametrize("name", ["warm", "sleep"])
async def test_unknown_model_is_told(client: httpx2.AsyncClient, name: str) -> None:
    answer = await client.post(f"/kandinsky-none/v1/{name}")
    assert_error(answer, 404, type="invalid_request_error", code="model_not_found", param="model")
