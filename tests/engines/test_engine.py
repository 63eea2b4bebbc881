"""What an engine promises to those who call it: turns, stops, leaving, and coming back from faults."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from engines.calls import EngineResult, LoadPhase
from engines.card import ModelCard
from engines.detection import detect
from engines.errors import DeviceFailed, EngineFault, EngineLeaving, GenerationFailed, OutOfMemory
from engines.exhaustion import Extent
from engines.replica import Engine
from tests.engines.engines import Denoiser, Hold, call, engine_of, picture, ready, warmed

pytestmark = pytest.mark.anyio

PICTURE = 4
"""Calls of the denoiser for a picture: PNDM makes a step more than is asked for."""


@pytest.fixture(scope="module")
def card(tiny_models: Callable[[str], Path]) -> ModelCard:
    return detect(tiny_models("sd15"), name="sd15")


@pytest.fixture
def denoiser(monkeypatch: pytest.MonkeyPatch) -> Denoiser:
    return Denoiser(monkeypatch)


async def failure(engine: Engine, denoiser: Denoiser, error: Exception) -> EngineFault:
    """What a call comes to whose denoiser raises ``error`` in its second step."""
    first = denoiser.calls + 1

    def fail(number: int) -> None:
        if number == first + 1:
            raise error

    denoiser.before = fail
    with pytest.raises(EngineFault) as caught:
        await engine.generate(call())
    denoiser.before = lambda _: None
    return caught.value


async def test_a_call_that_waits_is_taken_back_at_once_and_never_begins(
    card: ModelCard, denoiser: Denoiser
) -> None:
    engine, hold = await ready(card), Hold(denoiser, at=2)
    first = asyncio.create_task(engine.generate(call()))
    await hold.entered.wait()
    second = asyncio.create_task(engine.generate(call("snow")))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([second])
    assert not first.done()
    hold.let_go()
    await first
    assert denoiser.calls == PICTURE


async def test_a_caller_who_goes_frees_the_engine_within_a_step(card: ModelCard, denoiser: Denoiser) -> None:
    engine, hold = await ready(card), Hold(denoiser, at=2)
    gone = asyncio.create_task(engine.generate(call()))
    await hold.entered.wait()
    gone.cancel()
    hold.let_go()
    await asyncio.wait([gone])
    assert denoiser.calls == 2
    assert await engine.release(only_if_idle=True)


async def test_a_stream_that_is_left_ends_its_drawing(card: ModelCard, denoiser: Denoiser) -> None:
    engine = await ready(card)
    fresh = picture(await engine.generate(call()))
    stream, before = engine.stream(call()), denoiser.calls
    await anext(stream)
    await stream.aclose()
    assert denoiser.calls - before <= PICTURE
    assert picture(await engine.generate(call())) == fresh


async def test_an_engine_at_work_is_not_sent_away_unless_told(card: ModelCard, denoiser: Denoiser) -> None:
    engine, hold = await ready(card), Hold(denoiser, at=1)
    working = asyncio.create_task(engine.generate(call()))
    await hold.entered.wait()
    assert not await engine.release(only_if_idle=True)
    assert not await engine.park()
    assert engine.record_autoscaling_stats() == {"leaving": 0.0}
    assert await engine.release()
    assert engine.record_autoscaling_stats() == {"leaving": 1.0}
    with pytest.raises(EngineLeaving):
        await engine.generate(call())
    hold.let_go()
    assert (await working).images


async def test_an_engine_whose_caller_has_gone_is_busy_until_its_thread_is_free(
    card: ModelCard, denoiser: Denoiser
) -> None:
    engine, hold = await ready(card), Hold(denoiser, at=1)
    gone = asyncio.create_task(engine.generate(call()))
    await hold.entered.wait()
    for _ in range(2):  # the second one takes the wait for the thread away, too
        gone.cancel()
        await asyncio.sleep(0)
    with suppress(asyncio.CancelledError):
        await gone
    assert not await engine.release(only_if_idle=True)
    hold.let_go()
    assert picture(await engine.generate(call()))
    assert await engine.release(only_if_idle=True)


async def test_an_engine_that_loads_for_somebody_stays(card: ModelCard) -> None:
    engine = engine_of(card)
    waking = engine.warm()
    await anext(waking)
    assert not await engine.release(only_if_idle=True)
    await waking.aclose()  # type: ignore[attr-defined]  # an async generator, typed as an iterator
    assert await engine.release(only_if_idle=True)
    with pytest.raises(EngineLeaving):
        await warmed(engine)


async def test_the_loop_answers_while_python_computes(card: ModelCard, denoiser: Denoiser) -> None:
    # Serve's health check and the autoscaler's question are answered in the same loop.
    engine, answers = await ready(card), 0

    def compute(number: int) -> None:
        deadline = time.monotonic() + 60
        while number == 2 and answers < 20 and time.monotonic() < deadline:
            sum(range(100))

    denoiser.before = compute
    drawing = asyncio.create_task(engine.generate(call()))
    while not drawing.done():
        engine.record_autoscaling_stats()
        answers += denoiser.calls == 2
        await asyncio.sleep(0)
    assert answers >= 20
    assert (await drawing).images


async def test_after_running_out_of_memory_the_next_picture_is_as_ever(
    card: ModelCard, denoiser: Denoiser
) -> None:
    engine = await ready(card)
    fresh = picture(await engine.generate(call()))
    error = await failure(engine, denoiser, torch.OutOfMemoryError("CUDA out of memory."))
    assert isinstance(error, OutOfMemory)
    assert error.shortage is not None
    assert error.shortage.asked == Extent(64, 64)
    assert "64x64 needs more" in str(error)
    assert picture(await engine.generate(call())) == fresh
    assert engine.record_autoscaling_stats() == {"leaving": 0.0}


@pytest.mark.parametrize("between", [False, True])
async def test_memory_that_runs_out_twice_in_a_row_calls_for_a_new_process(
    between: bool, card: ModelCard, denoiser: Denoiser
) -> None:
    engine = await ready(card)
    await failure(engine, denoiser, MemoryError())
    if between:
        await engine.generate(call())
    await failure(engine, denoiser, MemoryError())
    assert engine.record_autoscaling_stats() == {"leaving": float(not between)}


async def test_a_failed_device_calls_for_a_new_process_at_once_and_sends_on_who_waits(
    card: ModelCard, denoiser: Denoiser
) -> None:
    engine, hold = await ready(card), Hold(denoiser, at=1)
    first = asyncio.create_task(engine.generate(call()))
    await hold.entered.wait()
    waiting = asyncio.create_task(engine.generate(call()))
    await asyncio.sleep(0)
    wait = denoiser.before

    def assertion(number: int) -> None:
        wait(number)
        if number == 2:
            raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    denoiser.before = assertion
    hold.let_go()
    results = await asyncio.gather(first, waiting, return_exceptions=True)
    assert [type(each) for each in results] == [DeviceFailed, EngineLeaving]
    assert isinstance(results[0], GenerationFailed)
    assert engine.record_autoscaling_stats() == {"leaving": 1.0}


async def test_ready_and_the_result_tell_the_memory_needed(card: ModelCard) -> None:
    engine = engine_of(card, warm_up=True)
    *before, last = await warmed(engine)
    assert LoadPhase.WARMING_UP in {report.phase for report in before}
    assert (last.phase, last.note) == (LoadPhase.READY, None)
    assert last.memory_bytes is not None
    result = await engine.generate(call())
    assert result.memory_bytes is not None
    assert result.memory_bytes >= last.memory_bytes


async def test_a_warm_up_that_fails_is_told_and_changes_nothing(card: ModelCard, denoiser: Denoiser) -> None:
    fresh = picture(await (await ready(card)).generate(call()))
    first = denoiser.calls + 1

    def fail(number: int) -> None:
        if number == first:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    denoiser.before = fail
    engine = engine_of(card, warm_up=True)
    last = (await warmed(engine))[-1]
    assert last.phase is LoadPhase.READY
    assert "ran out of memory" in (last.note or "")
    assert picture(await engine.generate(call())) == fresh


async def test_whoever_comes_during_the_warm_up_ends_it(card: ModelCard, denoiser: Denoiser) -> None:
    hold, engine = Hold(denoiser, at=1), engine_of(card, warm_up=True)
    loading = asyncio.create_task(warmed(engine))
    await hold.entered.wait()
    drawing: asyncio.Task[EngineResult] = asyncio.create_task(engine.generate(call()))
    await asyncio.sleep(0)
    hold.let_go()
    assert (await loading)[-1].note is None
    assert (await drawing).images
    assert denoiser.calls == 1 + PICTURE


async def test_a_parked_engine_comes_back_by_itself(card: ModelCard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engines.parking.DEVICES", ("cpu",))
    engine = await ready(card)
    assert await engine.park()
    assert not await engine.park(), "it is parked already"
    drawn = picture(await engine.generate(call()))
    assert await engine.park()
    for _ in range(2):
        assert [report.phase async for report in engine.warm(look=True)] == [LoadPhase.PARKED]
    reports = await warmed(engine)
    assert [reports[-1].phase, reports[-1].schema is not None] == [LoadPhase.READY, True]
    assert LoadPhase.LOADING in {report.phase for report in reports}
    assert (await anext(engine.warm(look=True))).phase is LoadPhase.READY
    assert picture(await engine.generate(call())) == drawn


async def test_weights_that_lie_in_the_hosts_memory_are_not_parked(card: ModelCard) -> None:
    engine = await ready(card)
    assert not await engine.park()
    assert (await engine.generate(call())).images
