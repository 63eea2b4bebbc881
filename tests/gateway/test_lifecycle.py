"""The state machine of one model, with an engine whose load the test drives step by step."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import pytest

from engines.calls import EngineCall, EngineEvent, EngineResult, LoadPhase, LoadProgress
from engines.errors import EngineLeaving, EngineLost, HostMemoryExhausted, LoadFailed
from gateway.lifecycle import LOSSES, Awake, Lifecycle
from gateway.status import State

pytestmark = pytest.mark.anyio

LOADING = LoadProgress(phase=LoadPhase.LOADING, component="unet", bytes_read=25, bytes_total=100)
READY = LoadProgress(phase=LoadPhase.READY)
PARKED = LoadProgress(phase=LoadPhase.PARKED)
FAILED = LoadProgress(phase=LoadPhase.FAILED, reason="the unet is truncated")


class DrivenEngine:
    """Yields, waking by waking, the reports it was given; a report that is an error is raised."""

    def __init__(self, *wakings: Sequence[LoadProgress | Exception]) -> None:
        self.wakings = list(wakings)
        self.go_on = asyncio.Event()
        self.wakes = 0
        self.looks: list[bool] = []
        self.alive = False

    def running(self) -> bool:
        return self.alive

    async def warm(self, *, look: bool = False) -> AsyncIterator[LoadProgress]:
        self.looks.append(look)
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

    def places(self) -> tuple[str, ...]:
        return ("here",) if self.alive else ()

    async def release(self, *, only_if_idle: bool) -> bool:
        raise NotImplementedError

    async def park(self) -> bool:
        raise NotImplementedError


def dying(error: Exception) -> DrivenEngine:
    """An engine that dies of this while it loads, as often as it may."""
    reports: list[LoadProgress | Exception] = [LOADING, error]
    return DrivenEngine(*[reports] * LOSSES)


def lifecycle(engine: DrivenEngine, *, backoff: float = 60.0, estimate: float | None = None) -> Lifecycle:
    def on_ready(awake: Awake) -> None:
        assert awake.schema is None
        assert awake.seconds is None or awake.seconds >= 0

    return Lifecycle(
        "m", engine, backoff_seconds=backoff, on_ready=on_ready, on_change=lambda: None, estimate=estimate
    )


async def ready(life: Lifecycle) -> None:
    """Wake a model that has room at once."""
    waking = life.wake()
    life.grant(life.waking_number)
    await asyncio.wait_for(asyncio.shield(waking), 5)


async def test_model_is_asleep_at_first() -> None:
    life = lifecycle(DrivenEngine())
    assert life.status.state is State.ASLEEP
    assert not life.ready


async def test_waking_tells_its_progress() -> None:
    engine = DrivenEngine([LOADING, READY])
    life = lifecycle(engine, estimate=8.0)
    waking = life.wake()
    life.grant(life.waking_number)
    while life.status.phase != "loading":
        await asyncio.sleep(0)
    assert life.status.state is State.WAKING
    assert life.status.progress == 0.25
    assert life.status.component == "unet"
    assert life.status.estimated_seconds == 8.0
    engine.go_on.set()
    await waking


async def test_held_call_returns_when_the_model_is_ready() -> None:
    engine = DrivenEngine([LOADING, READY])
    life = lifecycle(engine)
    asyncio.get_running_loop().call_later(0.02, engine.go_on.set)
    await ready(life)
    assert life.ready
    assert life.status.state is State.READY


async def test_twenty_first_requests_start_one_load() -> None:
    engine = DrivenEngine([LOADING, READY])
    life = lifecycle(engine)
    asyncio.get_running_loop().call_later(0.02, engine.go_on.set)
    await asyncio.gather(*(ready(life) for _ in range(20)))
    assert engine.wakes == 1


async def test_failed_load_is_told_with_its_reason() -> None:
    life = lifecycle(DrivenEngine([FAILED]))
    with pytest.raises(LoadFailed, match="the unet is truncated"):
        await ready(life)
    assert life.status.state is State.FAILED
    assert life.status.reason == "the unet is truncated"


async def test_failed_load_is_not_repeated_within_the_backoff() -> None:
    engine = DrivenEngine([FAILED])
    life = lifecycle(engine)
    for _ in range(3):
        with pytest.raises(LoadFailed) as caught:
            await ready(life)
        assert 0 < (caught.value.retry_after_seconds or 0) <= 60
    assert engine.wakes == 1


async def test_next_request_after_the_backoff_tries_again() -> None:
    engine = DrivenEngine([FAILED], [READY])
    life = lifecycle(engine, backoff=0.01)
    with pytest.raises(LoadFailed):
        await ready(life)
    while life.status.retry_after_seconds:
        await asyncio.sleep(0)
    await ready(life)
    assert life.ready


async def test_leaving_engine_is_asked_again_until_its_successor_answers() -> None:
    engine = DrivenEngine([EngineLeaving("m")], [READY])
    await ready(lifecycle(engine))
    assert engine.wakes == 2


async def test_engine_that_dies_again_and_again_counts_as_failed() -> None:
    engine = dying(EngineLost("m"))
    engine.go_on.set()
    life = lifecycle(engine)
    with pytest.raises(LoadFailed, match=r"lost 3 times in a row while it loaded \(unet\): where its"):
        await ready(life)


async def test_engines_ended_for_want_of_memory_are_said_to_be_so() -> None:
    engine = dying(HostMemoryExhausted("m"))
    engine.go_on.set()
    with pytest.raises(LoadFailed, match="its machine was running out of memory"):
        await ready(lifecycle(engine))


async def test_dead_engine_that_is_still_listed_is_no_loss_of_this_waking() -> None:
    dead: list[list[LoadProgress | Exception]] = [[HostMemoryExhausted("m")] for _ in range(LOSSES + 1)]
    life = lifecycle(DrivenEngine(*dead, [READY]))
    await ready(life)
    assert life.ready


async def test_model_is_asleep_when_its_last_replica_is_gone() -> None:
    engine = DrivenEngine([READY])
    life = lifecycle(engine)
    await ready(life)
    engine.alive = False
    life.presence_changed(False)
    assert life.status.state is State.ASLEEP


async def test_running_engine_found_after_a_restart_is_joined() -> None:
    engine = DrivenEngine([READY])
    life = lifecycle(engine)
    life.presence_changed(True)
    assert life.state is State.WAKING
    await ready(life)
    assert life.ready


async def test_parked_engine_found_after_a_restart_stays_parked_until_it_is_called() -> None:
    engine = DrivenEngine([PARKED], [READY])
    life = lifecycle(engine)
    life.presence_changed(True)
    assert (life.looking, life.waking_number, life.waking_seconds) == (True, 0, None)
    async with asyncio.timeout(5):
        while life.state is State.WAKING:
            await life.changed()
    assert life.state is State.PARKED
    await ready(life)
    assert life.ready
    assert engine.looks == [True, False]


async def test_caller_who_joins_a_look_has_the_parked_engine_woken_once_there_is_room() -> None:
    engine = DrivenEngine([LOADING, PARKED], [READY])
    life = lifecycle(engine)
    life.presence_changed(True)
    async with asyncio.timeout(5):
        while not engine.looks:
            await asyncio.sleep(0.01)
    waking = life.wake()
    engine.go_on.set()
    await asyncio.sleep(0.05)
    assert engine.looks == [True]
    life.grant(life.waking_number)
    async with asyncio.timeout(5):
        await waking
    assert life.ready
    assert engine.looks == [True, False]


@pytest.mark.parametrize(
    ("found", "state"), [(EngineLeaving("m"), State.DRAINING), (EngineLost("m"), State.ASLEEP)]
)
async def test_engine_that_goes_while_it_is_looked_at_is_not_followed(found: Exception, state: State) -> None:
    life = lifecycle(DrivenEngine([found]))
    life.presence_changed(True)
    async with asyncio.timeout(5):
        while life.state is State.WAKING:
            await life.changed()
    assert life.state is state


async def test_waking_begins_when_there_is_room() -> None:
    engine = DrivenEngine([READY])
    life = lifecycle(engine)
    waking = life.wake()
    await asyncio.sleep(0.02)
    assert engine.wakes == 0
    assert life.status.phase == "waiting_for_room"
    life.grant(life.waking_number)
    await waking
    assert life.ready


async def test_draining_model_sleeps_when_its_last_replica_is_gone() -> None:
    engine = DrivenEngine([READY])
    life = lifecycle(engine)
    await ready(life)
    life.drain()
    draining = life.state
    life.presence_changed(False)
    assert (draining, life.state) == (State.DRAINING, State.ASLEEP)


async def test_draining_model_is_woken_again_by_a_request() -> None:
    engine = DrivenEngine([READY], [EngineLeaving("m")], [READY])
    life = lifecycle(engine)
    await ready(life)
    life.drain()
    await ready(life)
    assert life.ready
    assert engine.wakes == 3


async def test_parked_model_wakes_again() -> None:
    engine = DrivenEngine([READY], [READY])
    life = lifecycle(engine)
    await ready(life)
    life.parked()
    assert life.state is State.PARKED
    await ready(life)
    assert life.ready


async def test_load_time_becomes_the_next_estimate() -> None:
    engine = DrivenEngine([LOADING, READY])
    life = lifecycle(engine)
    engine.go_on.set()
    await ready(life)
    engine.alive = False
    life.presence_changed(False)
    assert life.status.estimated_seconds is not None
    assert life.status.estimated_seconds < 1


async def test_permission_for_an_earlier_waking_starts_nothing() -> None:
    engine = DrivenEngine([READY], [READY])
    life = lifecycle(engine)
    life.wake()
    earlier = life.waking_number
    life.grant(earlier)
    await life.wake()
    engine.alive = False
    life.presence_changed(False)
    life.wake()
    life.grant(earlier)
    await asyncio.sleep(0.02)
    assert engine.wakes == 1
    assert life.status.phase == "waiting_for_room"


async def test_successor_of_a_leaving_engine_needs_room_of_its_own() -> None:
    engine = DrivenEngine([EngineLeaving("m")], [READY])
    life = lifecycle(engine)
    waking = life.wake()
    life.grant(life.waking_number)
    while not engine.wakes:
        await asyncio.sleep(0)
    engine.alive = False
    while life.status.phase != "waiting_for_room":
        await asyncio.sleep(0.01)
    assert engine.wakes == 1
    life.grant(life.waking_number)
    await asyncio.wait_for(waking, 5)
    assert life.ready


async def test_waking_without_room_is_given_up() -> None:
    engine = DrivenEngine([READY])
    life = lifecycle(engine)
    waking = life.wake()
    life.give_up()
    await asyncio.wait([waking])
    assert life.state is State.ASLEEP
    assert engine.wakes == 0
