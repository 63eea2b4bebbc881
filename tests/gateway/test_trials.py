"""Calls under which engines die, and those that are what they die of."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import httpx2
import pytest

from engines.calls import EncodedImage, EngineCall, EngineEvent, EngineResult, ImageFormat, Preview
from engines.errors import EngineError, EngineLost, HostMemoryExhausted
from gateway.service import Service
from gateway.trials import MOST_FILLS, MOST_LOSSES, TRIES
from tests.gateway.wire import assert_error

pytestmark = pytest.mark.anyio

CALL = EngineCall(
    request_id="r",
    method="__call__",
    parameters={"prompt": "x", "num_inference_steps": 1, "width": 64, "height": 64},
)
LOST, FULL = EngineLost("demo"), HostMemoryExhausted("demo")


@pytest.fixture
def tries(service: Service, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[EngineCall]]:
    """Has engines die of these errors, of the last for ever (``None``: it draws); gives their calls."""

    def die_of(*errors: EngineError | None) -> list[EngineCall]:
        engine = service.served("demo").engine
        draw: Callable[[EngineCall], Awaitable[EngineResult]] = engine.generate
        got: list[EngineCall] = []

        async def generate(call: EngineCall) -> EngineResult:
            got.append(call)
            if error := errors[min(len(got), len(errors)) - 1]:
                raise error
            return await draw(call)

        monkeypatch.setattr(engine, "generate", generate)
        return got

    return die_of


async def test_call_outlives_the_death_of_two_engines(service: Service, tries: Any) -> None:
    got = tries(LOST, FULL, None)
    assert (await service.generate("demo", CALL, hold_seconds=60)).images
    assert len({call.seed for call in got}) == 1
    assert len(got) == TRIES


async def test_call_that_fills_the_machines_memory_is_not_tried_a_third_time(
    client: httpx2.AsyncClient, tries: Any
) -> None:
    got = tries(FULL)
    answer = await client.post("/v1/images/generations", json={"model": "demo", "prompt": "hills"})
    message = assert_error(answer, 507, type="server_error", code="out_of_memory", param=None)
    assert "A smaller picture" in message
    assert answer.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.headers
    assert len(got) == MOST_FILLS


async def test_memory_that_was_full_once_is_not_the_calls_fault(service: Service, tries: Any) -> None:
    tries(LOST, LOST, FULL)
    with pytest.raises(EngineLost):
        await service.generate("demo", CALL, hold_seconds=60)


async def test_stream_that_has_shown_a_picture_can_be_asked_for_again(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stream(call: EngineCall) -> AsyncGenerator[EngineEvent]:  # noqa: ARG001  # an engine's
        yield Preview(0, EncodedImage(data=b"x", format=ImageFormat.PNG, width=1, height=1, seed=1))
        raise FULL

    monkeypatch.setattr(service.served("demo").engine, "stream", stream)
    with pytest.raises(EngineLost):
        async for _ in service.stream("demo", CALL, hold_seconds=60):
            pass


@pytest.mark.parametrize(("error", "tried"), [(FULL, MOST_FILLS), (LOST, MOST_LOSSES * TRIES)])
async def test_work_that_nobody_waits_for_ends_engines_only_so_often(
    service: Service, tries: Any, error: EngineError, tried: int
) -> None:
    got = tries(error)
    with pytest.raises(type(error)):
        await service.generate_behind("demo", CALL, until=time.time() + 600)
    assert len(got) == tried
