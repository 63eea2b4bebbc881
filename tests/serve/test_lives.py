"""Sleeping, failing, dying and being deployed, on real Ray Serve with real processes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from tests.gateway.wire import assert_error
from tests.serve.conftest import RunningService, until

GENERATE = "/kandinsky-demo/v1/generate"
QUICK: dict[str, Any] = {"prompt": "the sea at sunset", "num_inference_steps": 2, "seed": 5}


@pytest.fixture
def awake(service: RunningService) -> RunningService:
    """The service with the demo model ready."""
    until(lambda: service.client.post(GENERATE, json=QUICK), lambda answer: answer.status_code == 200)
    return service


def test_idle_model_goes_back_to_sleep_and_wakes_again(
    service: RunningService, tiny_models: Callable[[str], Path]
) -> None:
    service.deploy(tiny_models("sd15"), "sleepy", "--idle-seconds", "1")
    body = {"model": "sleepy", "prompt": "a cat", "size": "64x64", "num_inference_steps": 1}
    for _ in range(2):
        assert service.client.post("/v1/images/generations", json=body).status_code == 200
        service.until("sleepy", "asleep")
    assert service.client.post("/generate", json={"model": "sleepy", "prompt": "a cat"}).status_code == 202
    service.command("undeploy", "sleepy")


def test_load_that_fails_is_told_with_its_reason(service: RunningService, broken_model: Path) -> None:
    service.deploy(broken_model, "broken")
    assert service.client.post("/kandinsky-broken/v1/generate", json=QUICK).status_code == 202
    seen = service.until("broken", "failed")
    assert "unet" in str(seen["reason"]).lower() or "shape" in str(seen["reason"])
    openai = until(
        lambda: service.client.post("/v1/images/generations", json={"model": "broken", "prompt": "x"}),
        lambda answer: answer.status_code == 503,
    )
    message = assert_error_on_serve(openai, 503, "service_unavailable_error", "model_load_failed")
    assert str(broken_model) not in message
    assert 1 <= int(openai.headers["retry-after"]) <= 60
    service.command("undeploy", "broken")


def test_load_that_is_killed_every_time_is_told_as_such(
    service: RunningService, tiny_models: Callable[[str], Path]
) -> None:
    """As the kernel does where memory is limited: nobody hears more of it than that the process is gone."""
    service.deploy(tiny_models("flux"), "doomed")
    assert service.client.post("/kandinsky-doomed/v1/warm").status_code == 202

    def killed_again() -> dict[str, Any]:
        for process in service.processes("ServeReplica:model-doomed"):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return service.health("doomed")

    seen = until(killed_again, lambda seen: seen["state"] == "failed")
    # Before it began to load, or in the midst of it.
    assert "its process was killed" in str(seen["reason"])
    assert "memory" in str(seen["reason"])
    service.command("undeploy", "doomed")


def test_second_model_touches_neither_gateway_nor_first_model(
    awake: RunningService, tiny_models: Callable[[str], Path]
) -> None:
    gateway = awake.process("ServeReplica:gateway").pid
    engine = awake.process("ServeReplica:model-demo").pid
    awake.deploy(tiny_models("flux"), "second")
    assert awake.process("ServeReplica:gateway").pid == gateway
    assert awake.process("ServeReplica:model-demo").pid == engine
    assert awake.client.post(GENERATE, json=QUICK).status_code == 200
    awake.command("undeploy", "second")


def test_status_and_list_tell_what_is_deployed(awake: RunningService) -> None:
    assert "demo" in awake.command("status").stdout
    assert "demo" in awake.command("list").stdout


def test_everything_survives_the_death_of_the_gateway(awake: RunningService) -> None:
    awake.process("ServeReplica:gateway").kill()
    until(lambda: working(awake.client, "/health"), lambda works: works)
    answer = until(lambda: awake.client.post(GENERATE, json=QUICK), lambda answer: answer.status_code == 200)
    assert answer.json()["compute_metrics"]["load_seconds"] == 0


def test_everything_survives_the_death_of_the_controller(awake: RunningService) -> None:
    awake.process("ServeController").kill()
    assert awake.client.post(GENERATE, json=QUICK).status_code == 200
    until(lambda: working(awake.client, "/v1/models"), lambda works: works)
    assert awake.client.post(GENERATE, json=QUICK).status_code == 200


def test_picture_survives_the_death_of_its_engine(awake: RunningService) -> None:
    slow = QUICK | {"num_inference_steps": 150, "width": 256, "height": 256}
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(awake.client.post, GENERATE, json=slow)
        awake.until("demo", "busy")
        awake.process("ServeReplica:model-demo").kill()
        assert answer.result().status_code == 200
    assert answer.result().json()["image"] == awake.client.post(GENERATE, json=slow).json()["image"]


def test_engine_may_die_while_the_controller_is_coming_back(awake: RunningService) -> None:
    controller = awake.process("ServeController")
    engine = awake.process("ServeReplica:model-demo")
    controller.kill()
    until(lambda: awake.has_process("ServeController", other_than=controller.pid), lambda found: found)
    engine.kill()
    until(lambda: awake.client.post(GENERATE, json=QUICK), lambda answer: answer.status_code == 200)


def test_leaving_client_stops_the_drawing(awake: RunningService) -> None:
    endless = QUICK | {"num_inference_steps": 1000, "width": 512, "height": 512}
    with pytest.raises(httpx2.ReadTimeout):
        awake.client.post(GENERATE, json=endless, timeout=2)
    after = awake.client.post(GENERATE, json=QUICK)
    assert after.status_code == 200
    assert after.json()["compute_metrics"]["queue_seconds"] < 30


def working(client: httpx2.Client, path: str) -> bool:
    try:
        return client.get(path).status_code == 200
    except httpx2.TransportError:
        return False


def assert_error_on_serve(answer: httpx2.Response, status: int, type: str, code: str) -> str:
    """As `assert_error`; behind Serve's proxy the request id is Serve's own."""
    assert len(answer.headers.get_list("x-request-id")) == 1
    answer.headers["x-request-id"] = f"req_{answer.headers['x-request-id']}"
    return assert_error(answer, status, type=type, code=code, param=None)
