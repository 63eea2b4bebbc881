"""The state machine of one model, with an engine whose load the test drives step by step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from engines.calls import EngineCall, EngineEvent, EngineResult, LoadPhase, LoadProgress
from engines.errors import EngineLeaving, EngineLost, LoadFailed, ModelLoading
from engines.schema import PipelineSchema
from gateway.lifecycle import Lifecycle, State

pytestmark = pytest.mark.anyio

LOADING = LoadProgress(phase=LoadPhase.LOADING, component="unet", bytes_read=25, bytes_total=100)
READY = LoadProgress(phase=LoadPhase.READY)
FAILED = LoadProgress(phase=LoadPhase.FAILED, reason="the unet is truncated")


class DrivenEngine:
    """Yields, waking by waking, the reports it was given; a report that is an error is raised."""

    def __init__(self, *wakings: list[LoadProgress | Exception]) -> None:
        self.wakings = list(wakings)
        self.go_on = asyncio.Event()
        self.wakes = 0
        self.alive = False

    def running(self) -> bool:
        return self.alive

    async def warm(self) -> AsyncIterator[LoadProgress]:
        self.wakes += 1
        self.alive = True
        for report in self.wakings.pop(0):
            if isinstance(report, Exception):
                raise report
            yield report
            if report is LOADING:
                await self.go_on.wait()

    async def generate(self, call: EngineCall) -> EngineResult:
        raise NotImplementedError

    def stream(self, call: EngineCall) -> AsyncGenerator[EngineEvent]:
        raise NotImplementedError


def lifecycle(engine: DrivenEngine, *, backoff: float = 60.0, estimate: float | None = None) -> Lifecycle:
    def on_ready(schema: PipelineSchema | None, seconds: float | None) -> None:
        assert schema is None
        assert seconds is None or seconds >= 0

    return Lifecycle("m", engine, backoff_seconds=backoff, on_ready=on_ready, estimate=estimate)


async def test_model_is_asleep_at_first() -> None:
    life = lifecycle(DrivenEngine())
    assert life.status.state is State.ASLEEP
    assert not life.ready


async def test_waking_tells_its_progress() -> None:
    life = lifecycle(DrivenEngine([LOADING, READY]), estimate=8.0)
    life.wake()
    with pytest.raises(ModelLoading):
        await life.ensure_ready(0.05)
    assert life.status.state is State.WAKING
    assert life.status.progress == 0.25
    assert life.status.component == "unet"
    assert life.status.estimated_seconds == 8.0


async def test_held_call_returns_when_the_model_is_ready() -> None:
    engine = DrivenEngine([LOADING, READY])
    life = lifecycle(engine)
    asyncio.get_running_loop().call_later(0.02, engine.go_on.set)
    await life.ensure_ready(5)
    assert life.ready
    assert life.status.state is State.READY


async def test_twenty_first_requests_start_one_load() -> None:
    engine = DrivenEngine([LOADING, READY])
    life = lifecycle(engine)
    asyncio.get_running_loop().call_later(0.02, engine.go_on.set)
    await asyncio.gather(*(life.ensure_ready(5) for _ in range(20)))
    assert engine.wakes == 1


async def test_failed_load_is_told_with_its_reason() -> None:
    life = lifecycle(DrivenEngine([FAILED]))
    with pytest.raises(LoadFailed, match="the unet is truncated"):
        await life.ensure_ready(5)
    assert life.status.state is State.FAILED
    assert life.status.reason == "the unet is truncated"


async def test_failed_load_is_not_repeated_within_the_backoff() -> None:
    engine = DrivenEngine([FAILED])
    life = lifecycle(engine)
    for _ in range(3):
        with pytest.raises(LoadFailed) as caught:
            await life.ensure_ready(5)
        assert 0 < (caught.value.retry_after_seconds or 0) <= 60
    assert engine.wakes == 1


async def test_next_request_after_the_backoff_tries_again() -> None:
    engine = DrivenEngine([FAILED], [READY])
    life = lifecycle(engine, backoff=0.01)
    with pytest.raises(LoadFailed):
        await life.ensure_ready(5)
    while life.status.retry_after_seconds:
        await asyncio.sleep(0)
    await life.ensure_ready(5)
    assert life.ready


async def test_leaving_engine_is_asked_again_until_its_successor_answers() -> None:
    engine = DrivenEngine([EngineLeaving("m")], [READY])
    await lifecycle(engine).ensure_ready(5)
    assert engine.wakes == 2


async def test_engine_that_dies_again_and_again_counts_as_failed() -> None:
    life = lifecycle(DrivenEngine([EngineLost("m")], [EngineLost("m")], [EngineLost("m")]))
    with pytest.raises(LoadFailed, match="was lost"):
        await life.ensure_ready(5)


async def test_model_is_asleep_when_its_last_replica_is_gone() -> None:
    engine = DrivenEngine([READY])
    life = lifecycle(engine)
    await life.ensure_ready(5)
    engine.alive = False
    life.presence_changed(False)
    assert life.status.state is State.ASLEEP


async def test_running_engine_found_after_a_restart_is_joined() -> None:
    engine = DrivenEngine([READY])
    life = lifecycle(engine)
    life.presence_changed(True)
    await life.ensure_ready(5)
    assert life.ready


async def test_model_is_busy_while_it_works() -> None:
    life = lifecycle(DrivenEngine([READY]))
    await life.ensure_ready(5)
    with life.working():
        busy = life.status
    assert (busy.state, busy.active_requests) == (State.BUSY, 1)
    assert life.status.state is State.READY


async def test_load_time_becomes_the_next_estimate() -> None:
    engine = DrivenEngine([LOADING, READY])
    life = lifecycle(engine)
    engine.go_on.set()
    await life.ensure_ready(5)
    engine.alive = False
    life.presence_changed(False)
    assert life.status.estimated_seconds is not None
    assert life.status.estimated_seconds < 1
