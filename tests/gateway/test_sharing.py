"""Two models and room for one: real engines, real pictures, and a conductor that decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest

from engines.calls import EngineCall, EngineResult
from engines.detection import demo_card
from engines.errors import ModelLoading, OutOfMemory, UnknownModel
from engines.schema import PipelineSchema
from gateway.callers import caller
from gateway.conductor import Demand, Verdict
from gateway.needs import GIGABYTE
from gateway.placement import HOST_MEMORY, Room
from gateway.service import GatewayConfig, Service
from gateway.settings import Settings
from gateway.status import State
from tests.gateway import in_process

pytestmark = pytest.mark.anyio

ONE_AT_A_TIME = (Room("here", {HOST_MEMORY: 1.5 * GIGABYTE}),)

Make = Callable[..., Service]


@pytest.fixture
async def share() -> AsyncIterator[Make]:
    """Makes a service of the models a and b, which have room for one of them."""
    made: list[Service] = []

    def make(patience: float = 30.0, **options: Any) -> Service:
        cards = [demo_card().model_copy(update={"name": name}) for name in ("a", "b")]
        wanted = in_process.OPTIONS.model_copy(update={"memory_gb": 1.0, **options})
        settings = Settings(swap_patience_seconds=patience)
        made.append(
            in_process.service(in_process.config(*cards, settings=settings, options=wanted), ONE_AT_A_TIME)
        )
        return made[-1]

    yield make
    for service in made:
        service.close()
        await service._keeping.settled()


def call(schema: PipelineSchema, steps: int = 2) -> EngineCall:
    parameters: dict[str, Any] = {"prompt": "the sea", "num_inference_steps": steps}
    return EngineCall(request_id="r", method=schema.call.name, parameters=parameters, seed=5)


async def drawn(service: Service, model: str, *, steps: int = 2, hold: float = 60.0) -> EngineResult:
    return await service.generate(model, call(service.models.get(model).schema_, steps), hold_seconds=hold)


def loads(service: Service) -> dict[str, int]:
    engines = {name: service.served(name).engine for name in ("a", "b")}
    return {name: engine.loads for name, engine in engines.items()}  # type: ignore[attr-defined]  # in_process


def exchanges(service: Service) -> list[dict[str, Verdict]]:
    """What the conductor tells this gateway from now on."""
    told: list[dict[str, Verdict]] = []
    coordination: Any = service._coordination
    exchange = coordination._exchange

    async def noted(gateway: str, demands: Mapping[str, Demand]) -> dict[str, Verdict]:
        told.append(await exchange(gateway, demands))
        return told[-1]

    coordination._exchange = noted
    return told


async def contended(service: Service) -> tuple[asyncio.Task[EngineResult], asyncio.Task[EngineResult]]:
    """The model a at work on a request, and a request that waits for b."""
    drawing = asyncio.create_task(drawn(service, "a", steps=30))
    await until(lambda: service.status("a").state is State.BUSY)
    waiting = asyncio.create_task(drawn(service, "b"))
    await until(lambda: service.status("b").phase == "waiting_for_room")
    return drawing, waiting


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


async def test_alternating_requests_cost_one_swap(share: Make) -> None:
    service = share()
    await drawn(service, "a")
    await asyncio.gather(*(drawn(service, name, steps=4) for name in "ababab"))
    assert loads(service) == {"a": 1, "b": 1}


async def test_busy_model_is_never_put_to_sleep(share: Make) -> None:
    service = share()
    expected = await drawn(service, "a", steps=30)
    drawing, waiting = await contended(service)
    assert (await drawing).images[0].data == expected.images[0].data
    await waiting
    assert service.status("a").state is State.ASLEEP
    assert loads(service) == {"a": 1, "b": 1}


async def test_nobody_waits_for_ever(share: Make) -> None:
    """Three callers keep the one model busy without a pause; the other's turn comes all the same."""
    service = share(patience=0.3)
    await drawn(service, "a")
    served = 0

    async def insist() -> None:
        nonlocal served
        while True:
            await drawn(service, "a")
            served += 1

    insisting = [asyncio.create_task(insist()) for _ in range(3)]
    await until(lambda: served > 3)
    await asyncio.wait_for(drawn(service, "b"), 30)
    after = served
    await until(lambda: served > after + 3)
    for each in insisting:
        each.cancel()
    await asyncio.gather(*insisting, return_exceptions=True)


async def test_pinned_model_keeps_its_room_and_the_other_is_told(share: Make) -> None:
    service = share(keep_warm=True)
    await until(lambda: State.READY in {service.status(name).state for name in "ab"})
    awake = next(name for name in "ab" if service.status(name).state is State.READY)
    with pytest.raises(ModelLoading):
        await drawn(service, "b" if awake == "a" else "a", hold=0.5)
    assert service.status(awake).state is State.READY


async def test_model_sent_to_sleep_is_kept_warm_at_no_gateway_until_somebody_calls_it() -> None:
    options = in_process.OPTIONS.model_copy(update={"keep_warm": True})
    card = demo_card().model_copy(update={"name": "a"})
    one, other = gateways = in_process.services(2, in_process.config(card, options=options))
    engine: Any = one.served("a").engine

    def at_both(state: State) -> bool:
        return all(gateway.status("a").state is state for gateway in gateways)

    async with in_process.closing(*gateways):
        await until(lambda: at_both(State.READY))
        await one.served("a").sleep(10)
        await until(lambda: at_both(State.ASLEEP))
        spoken = exchanges(one), exchanges(other)
        # The second speaks when it wakes the model, and the first every few seconds.
        await until(lambda: bool(len(spoken[0]) > 1 and spoken[1]))
        assert at_both(State.ASLEEP)
        assert engine.loads == 1
        await drawn(other, "a")
        await until(lambda: at_both(State.READY))
        # From now on it is kept warm again.
        await engine.release(only_if_idle=False)
        await until(lambda: engine.loads == 3)


async def test_model_told_to_sleep_stays_for_a_caller_at_another_gateway(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, other = in_process.services(2, in_process.config(demo_card()))
    engine: Any = one.served("demo").engine
    async with in_process.closing(one, other):
        with monkeypatch.context() as starting:
            # Serve tells of a replica when its constructor has returned.
            starting.setattr(engine, "running", lambda: False)
            await one.served("demo").warm()
            drawing = asyncio.create_task(drawn(other, "demo"))
            await until(lambda: engine.loads == 1)
            await one.served("demo").sleep()
        assert (await drawing).images
        assert engine.loads == 1


async def test_model_that_somebody_is_coming_back_for_stays(share: Make) -> None:
    service = share()
    assert await service.wake_unless_ready("a") is not None
    await until(lambda: service.status("a").state is State.READY)
    waiting = asyncio.create_task(drawn(service, "b"))
    await until(lambda: service.status("b").phase == "waiting_for_room")
    assert await service.wake_unless_ready("a") is None
    await drawn(service, "a")
    await waiting
    assert loads(service) == {"a": 1, "b": 1}


async def test_model_told_to_sleep_ends_its_work_first(share: Make) -> None:
    service = share()
    await drawn(service, "a")
    drawing = asyncio.create_task(drawn(service, "a", steps=30))
    await until(lambda: service.status("a").state is State.BUSY)
    assert (await service.served("a").sleep()).state is State.DRAINING
    assert (await drawing).images
    await until(lambda: service.status("a").state is State.ASLEEP)
    await drawn(service, "a")
    assert loads(service)["a"] == 2


async def test_what_was_measured_is_what_counts(share: Make) -> None:
    service = share(memory_gb=None)
    await drawn(service, "a")
    measured = service.served("a").measured_bytes
    assert measured is not None
    assert 2**20 < measured < 8 * GIGABYTE
    demand = service.served("a").demand
    assert demand is not None
    assert demand.memory_bytes == measured


async def test_callers_take_turns(share: Make) -> None:
    service = share()
    await drawn(service, "a")
    order: list[str] = []

    async def ask(name: str) -> None:
        caller.set(name)
        await drawn(service, "a", steps=3)
        order.append(name)

    await asyncio.gather(*(ask(name) for name in ("greedy",) * 6 + ("modest",)))
    assert order.index("modest") <= 3


async def test_request_that_runs_out_of_memory_beside_an_idle_model_is_tried_again_alone(share: Make) -> None:
    service = share(memory_gb=0.6)
    expected = await drawn(service, "a")
    await drawn(service, "b")
    engine = service.served("a").engine
    draw = engine.generate

    async def crowded(call: EngineCall) -> EngineResult:
        if service.served("b").engine.running():
            raise OutOfMemory("a", "no memory left")
        return await draw(call)

    engine.generate = crowded  # type: ignore[method-assign]  # what a GPU that is shared does
    assert (await drawn(service, "a")).images == expected.images
    assert not service.served("b").engine.running()


async def test_request_that_runs_out_of_memory_alone_is_told_so(share: Make) -> None:
    service = share()
    await drawn(service, "a")
    engine, tries = service.served("a").engine, 0

    async def too_large(call: EngineCall) -> EngineResult:
        nonlocal tries
        tries += call.count
        raise OutOfMemory("a", "no memory left")

    engine.generate = too_large  # type: ignore[method-assign]  # what a GPU that is full does
    with pytest.raises(OutOfMemory):
        await drawn(service, "a")
    assert tries == 1


async def test_model_that_nobody_wants_any_more_takes_nobodys_room(share: Make) -> None:
    service = share()
    await drawn(service, "a")
    drawing, waiting = await contended(service)
    waiting.cancel()
    await drawing
    await until(lambda: service.status("b").state is State.ASLEEP)
    assert service.status("a").state is State.READY
    assert loads(service) == {"a": 1, "b": 0}


async def test_request_that_waits_is_served_by_the_model_as_it_was_deployed_anew(share: Make) -> None:
    service = share()
    await drawn(service, "a")
    drawing, waiting = await contended(service)
    entries = [
        entry.model_copy(update={"options": entry.options.model_copy(update={"max_images": 3})})
        if entry.name == "b"
        else entry
        for entry in service.models
    ]
    service.configure(GatewayConfig(models=tuple(entries), settings=service.settings))
    await drawing
    assert (await waiting).images


async def test_request_that_waits_for_a_model_that_is_taken_away_is_told(share: Make) -> None:
    service = share()
    await drawn(service, "a")
    drawing, waiting = await contended(service)
    left = tuple(entry for entry in service.models if entry.name == "a")
    service.configure(GatewayConfig(models=left, settings=service.settings))
    with pytest.raises(UnknownModel):
        await asyncio.wait_for(waiting, 5)
    await drawing


async def test_one_odd_model_does_not_keep_the_others_asleep(share: Make) -> None:
    service = share(memory_gb=None)
    odd = service.served("b")
    odd.entry = odd.entry.model_copy(update={"card": odd.entry.card.model_copy(update={"dtype": "uint8"})})
    odd.presence_changed(False)
    assert (await drawn(service, "b")).images
    assert (await drawn(service, "a")).images


async def test_model_told_to_sleep_while_it_loads_does_not_wake_again(share: Make) -> None:
    service = share()
    assert await service.wake_unless_ready("a") is not None
    await until(lambda: service.served("a").engine.running())
    assert (await service.served("a").sleep(20)).state is State.ASLEEP
    assert not service.served("a").engine.running()
    assert loads(service)["a"] == 1
