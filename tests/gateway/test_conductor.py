"""The conductor alone, with engines that a test moves about: what gateways are told, and engines asked."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from engines.calls import EngineOptions
from gateway.conductor import (
    GATEWAY_LOST_SECONDS,
    LEAVING_SECONDS,
    SETTLE_SECONDS,
    Conductor,
    Demand,
    Verdict,
)
from gateway.placement import GPU_MEMORY, Room

pytestmark = pytest.mark.anyio

OPTIONS = EngineOptions()
ROOMS = (Room("node", {"GPU": 1.0, GPU_MEMORY: 24.0}),)


class Seat:
    """An engine that says where it runs and whether it goes."""

    def __init__(self) -> None:
        self.running: tuple[str, ...] = ()
        self.willing = True
        self.asked: list[str] = []

    def places(self) -> tuple[str, ...]:
        return self.running

    async def release(self, *, only_if_idle: bool) -> bool:
        assert only_if_idle
        self.asked.append("release")
        return self.willing

    async def park(self) -> bool:
        self.asked.append("park")
        return self.willing


class Stage:
    """A conductor over engines by name."""

    def __init__(self, *, parking: float = 0.0, patience: float = 30.0) -> None:
        self.seats = {name: Seat() for name in "abc"}
        self.now = 1000.0
        self.conductor = Conductor(self.seats.__getitem__, clock=lambda: self.now)

        async def survey() -> Sequence[Room]:
            return ROOMS

        self.conductor.configure(survey, patience=patience, parking=parking)

    async def told(self, gateway: str = "one", **demands: Demand) -> dict[str, Verdict]:
        verdicts = await self.conductor.exchange(gateway, demands)
        await asyncio.gather(*self.conductor._sending.values())
        return verdicts


def waking(memory: float = 20.0, seconds: float = 1.0) -> Demand:
    return demand(memory, waiting_seconds=seconds, waking=1)


def demand(memory: float = 20.0, **known: Any) -> Demand:
    return Demand(options=OPTIONS, memory_bytes=memory, load_seconds=10.0, **known)


async def test_model_with_room_may_wake() -> None:
    assert await Stage().told(a=waking()) == {"a": Verdict.GO}


async def test_second_model_waits_for_the_one_that_is_starting() -> None:
    """A replica that starts is not among the running ones yet, and holds its room all the same."""
    stage = Stage()
    await stage.told(a=waking(seconds=2.0))
    assert await stage.told(a=waking(seconds=2.0), b=waking()) == {"a": Verdict.GO, "b": Verdict.WAIT}


async def test_idle_model_is_told_to_leave_and_the_room_given_when_it_is_gone() -> None:
    stage = Stage()
    stage.seats["a"].running = ("node",)
    assert (await stage.told(a=demand(idle_seconds=9.0), b=waking()))["b"] is Verdict.WAIT
    assert stage.seats["a"].asked == ["release"]
    assert await stage.told(a=demand(), b=waking()) == {"a": Verdict.LEAVING, "b": Verdict.WAIT}
    stage.seats["a"].running = ()
    assert await stage.told(b=waking()) == {"b": Verdict.GO}


async def test_nobody_leaves_while_it_is_not_known_whether_another_is_parked() -> None:
    stage = Stage()
    for name in "ab":
        stage.seats[name].running = ("node",)
    found = demand(idle_seconds=9.0, looking=True)
    assert await stage.told(a=demand(idle_seconds=9.0), b=found) == {"a": Verdict.GO, "b": Verdict.GO}
    known = demand(idle_seconds=9.0, parked=True)
    assert await stage.told(a=demand(idle_seconds=9.0), b=known) == {"a": Verdict.GO, "b": Verdict.PARKED}
    assert [stage.seats[name].asked for name in "ab"] == [[], []]


async def test_model_gives_no_turns_while_it_is_being_told_to_leave() -> None:
    stage = Stage()
    stage.seats["a"].running = ("node",)
    demands = {"a": demand(idle_seconds=9.0), "b": waking()}
    assert (await stage.conductor.exchange("one", demands))["a"] is Verdict.YIELD


async def test_engine_that_works_has_the_last_word() -> None:
    stage = Stage()
    stage.seats["a"].running = ("node",)
    stage.seats["a"].willing = False
    await stage.told(a=demand(idle_seconds=9.0), b=waking())
    assert await stage.told(a=demand(busy=True), b=waking()) == {"a": Verdict.GO, "b": Verdict.WAIT}


async def test_what_another_gateway_is_busy_with_is_left_alone() -> None:
    stage = Stage()
    stage.seats["a"].running = ("node",)
    await stage.told("other", a=demand(busy=True))
    verdicts = await stage.told("one", a=demand(idle_seconds=900.0), b=waking())
    assert verdicts == {"a": Verdict.GO, "b": Verdict.WAIT}
    assert stage.seats["a"].asked == []


async def test_model_that_two_gateways_want_is_granted_once() -> None:
    stage = Stage()
    assert await stage.told("one", a=waking()) == {"a": Verdict.GO}
    assert await stage.told("two", a=waking()) == {"a": Verdict.GO}
    assert await stage.told("two", a=waking(), b=waking()) == {"a": Verdict.GO, "b": Verdict.WAIT}


async def test_gateway_that_is_gone_wants_nothing_any_more() -> None:
    stage = Stage()
    await stage.told("gone", a=waking())
    stage.now += GATEWAY_LOST_SECONDS
    assert await stage.told("one", b=waking()) == {"b": Verdict.GO}


async def test_room_of_a_waking_that_was_given_up_is_free_again() -> None:
    stage = Stage()
    await stage.told(a=waking())
    await stage.told()
    assert await stage.told(b=waking()) == {"b": Verdict.GO}


async def test_model_is_parked_where_the_host_has_room_for_its_weights() -> None:
    stage = Stage(parking=30.0)
    stage.seats["a"].running = ("node",)
    await stage.told(a=demand(idle_seconds=9.0), b=waking())
    assert stage.seats["a"].asked == ["park"]
    assert await stage.told(a=demand(), b=waking()) == {"a": Verdict.PARKED, "b": Verdict.GO}


async def test_parked_model_comes_back_when_the_room_is_free() -> None:
    stage = Stage(parking=30.0)
    stage.seats["a"].running = ("node",)
    await stage.told(a=demand(idle_seconds=9.0), b=waking())
    await stage.told(a=demand(), b=waking())
    stage.seats["b"].running = ("node",)
    assert (await stage.told(a=waking(), b=demand(busy=True)))["a"] is Verdict.PARKED
    stage.seats["b"].running = ()
    assert await stage.told(a=waking()) == {"a": Verdict.GO}


async def test_host_parks_no_more_than_it_has_room_for() -> None:
    stage = Stage(parking=30.0)
    stage.seats["a"].running = ("node",)
    await stage.told(a=demand(idle_seconds=9.0), b=waking())
    await stage.told(a=demand(), b=waking())
    stage.seats["b"].running = ("node",)
    await stage.told(a=demand(), b=demand(idle_seconds=9.0), c=waking())
    assert stage.seats["b"].asked == ["release"]


async def test_new_conductor_believes_the_gateways_until_it_knows_the_engines() -> None:
    stage = Stage()
    assert await stage.told(a=demand(busy=True, places=("node",)), b=waking()) == {
        "a": Verdict.GO,
        "b": Verdict.WAIT,
    }
    stage.now += SETTLE_SECONDS
    assert (await stage.told(a=demand(busy=True, places=("node",)), b=waking()))["b"] is Verdict.GO


async def test_engine_that_said_it_leaves_and_stays_is_asked_again() -> None:
    stage = Stage()
    stage.seats["a"].running = ("node",)
    await stage.told(a=demand(idle_seconds=9.0), b=waking())
    stage.now += LEAVING_SECONDS + 1
    await stage.told(a=demand(idle_seconds=30.0), b=waking())
    assert stage.seats["a"].asked == ["release", "release"]


async def test_what_a_model_has_really_reserved_counts() -> None:
    """It was deployed before the GPU had joined: it takes the host's memory, and nothing of the GPU."""
    stage = Stage()
    stage.seats["a"].running = ("node",)
    assert (await stage.told(a=demand(busy=True, gpus=0.0), b=waking()))["b"] is Verdict.GO
