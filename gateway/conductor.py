"""The one owner of the decisions who wakes and who sleeps.

Every gateway tells what its models want (`Demand`) and hears what they may do (`Verdict`); with one
gateway that is a call in its process, with several a call to a Serve deployment. What is decided is in
`gateway.placement`; here it is carried out: a model is granted its room, or told to leave it. An engine
has the last word: one that works on something does not go, whatever this module believes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Protocol

from engines.calls import EngineOptions
from engines.errors import EngineError
from gateway.needs import need_of
from gateway.placement import GPU_MEMORY, Claim, Decision, Room, decide

_logger = logging.getLogger(__name__)

GATEWAY_LOST_SECONDS: Final = 10.0
"""A gateway that has said nothing for so long counts as gone, with what it wanted."""
SETTLE_SECONDS: Final = 3.0
"""How long a new client of an engine may take to know its replicas; until then the gateways are believed."""
LEAVING_SECONDS: Final = 15.0
"""How long an idle engine may take to be gone; one that is still there stays, and may be asked again."""
SEND_SECONDS: Final = 30.0
"""How long an engine may take to be parked, or to say that it leaves."""


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What one gateway knows and wants of one model.

    ``memory_bytes`` is what a copy needs on its device, as declared, measured or estimated; ``places`` are
    the nodes of its running replicas, ``gpus`` what one of them was seen to have reserved, ``parked`` whether
    its weights are set aside. ``waiting_seconds`` is how long nobody has had a turn although somebody waits,
    ``None`` where nobody does; ``waking`` the number of the waking under way here, 0 where there is none;
    ``looking`` says that a running engine was found and has not answered yet where it stands, ``busy`` that
    requests are worked on or expected at once, ``wanted`` that anybody asks for it, more than its being kept
    warm; ``told_to_sleep`` that it was sent to sleep by hand although it is kept warm.
    """

    options: EngineOptions
    memory_bytes: float
    load_seconds: float
    waiting_seconds: float | None = None
    waking: int = 0
    busy: bool = False
    looking: bool = False
    wanted: bool = False
    told_to_sleep: bool = False
    places: tuple[str, ...] = ()
    gpus: float | None = None
    parked: bool = False
    held_seconds: float = 0.0
    idle_seconds: float = 0.0


class Verdict(StrEnum):
    """What a model may do."""

    GO = "go"
    """It has room: it may wake, and give turns."""
    WAIT = "wait"
    """It must not wake yet."""
    YIELD = "yield"
    """It gives no more turns: others have waited too long for its room, or it is being told to sleep."""
    LEAVING = "leaving"
    """It was told to sleep."""
    PARKED = "parked"
    """Its weights wait in the host's memory."""
    REST = "rest"
    """It was sent to sleep by hand, at whichever gateway: until somebody asks for it, it is not kept warm."""


class Occupant(Protocol):
    """What the conductor does with an engine."""

    def places(self) -> Sequence[str]:
        """The nodes of its running replicas, as far as they are known."""

    def release(self, *, only_if_idle: bool) -> Awaitable[bool]:
        """Send it to sleep; says whether it goes."""

    def park(self) -> Awaitable[bool]:
        """Move its weights to the host's memory; says whether it did."""


Survey = Callable[[], Awaitable[Sequence[Room]]]


async def _nowhere() -> Sequence[Room]:
    return ()


class Conductor:
    """Decides for all gateways of a service.

    ``connect`` makes the client of a model's engine, ``clock`` tells seconds that only go forward.
    """

    def __init__(
        self, connect: Callable[[str], Occupant], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._survey: Survey = _nowhere
        self._patience = 0.0
        self._parking = 0.0
        self._engines: dict[str, tuple[Occupant, float]] = {}
        self._told: dict[str, tuple[float, Mapping[str, Demand]]] = {}
        self._granted: dict[str, str] = {}
        self._leaving: dict[str, float] = {}
        self._parked: dict[str, float] = {}
        self._parking_now: dict[str, float] = {}
        self._sending: dict[str, asyncio.Task[None]] = {}

    def configure(self, survey: Survey, *, patience: float, parking: float = 0.0) -> None:
        """Take over what the operator wants.

        ``survey`` looks at the cluster's nodes (none: there is room for everybody); ``patience`` is how
        long a model may wait beside a busy one, in seconds; ``parking`` how many bytes of parked weights
        the host may hold.
        """
        self._survey, self._patience, self._parking = survey, patience, parking

    @property
    def waking(self) -> bool:
        """Whether any model is being loaded, or is about to be."""
        told = (demands.values() for _, demands in self._told.values())
        return bool(self._granted) or any(demand.waking for demands in told for demand in demands)

    async def exchange(self, gateway: str, demands: Mapping[str, Demand]) -> dict[str, Verdict]:
        """Take note of what ``gateway`` wants, decide for all, and say what its models may do."""
        rooms = await self._survey()
        self._told[gateway] = (self._clock(), demands)
        wanted = self._merged()
        resting = {model for model, demand in wanted.items() if self._rests(model, demand)}
        for model in resting:
            wanted[model] = replace(wanted[model], waking=0, waiting_seconds=None)
        claims = {model: self._claim(model, demand, rooms) for model, demand in wanted.items()}
        # Whether they are parked, and take no room, is known in a moment: until then nobody leaves or wakes.
        looking = any(demand.looking for demand in wanted.values())
        decision = Decision() if looking else decide(claims.values(), rooms, patience=self._patience)
        for model, room in decision.wake.items():
            self._granted[model] = room
            self._parked.pop(model, None)
        for model in decision.sleep:
            self._send(model, claims[model])
        verdicts = {model: self._verdict(model, claims[model], decision.yielding) for model in demands}
        return verdicts | dict.fromkeys(resting & demands.keys(), Verdict.REST)

    def _rests(self, model: str, demand: Demand) -> bool:
        return demand.told_to_sleep and not demand.wanted and model not in self._granted

    def _merged(self) -> dict[str, Demand]:
        """What is wanted of each model, over all gateways that still speak."""
        now = self._clock()
        self._told = {
            gateway: told for gateway, told in self._told.items() if now - told[0] < GATEWAY_LOST_SECONDS
        }
        merged: dict[str, Demand] = {}
        for _, demands in self._told.values():
            for model, demand in demands.items():
                merged[model] = _together(merged[model], demand) if model in merged else demand
        for model in list(self._granted):
            if model not in merged:
                del self._granted[model]
        return merged

    def _claim(self, model: str, demand: Demand, rooms: Sequence[Room]) -> Claim:
        places = self._places(model, demand)
        starting = model in self._granted
        return Claim(
            model=model,
            need=need_of(demand.options, demand.memory_bytes, rooms, gpus=demand.gpus),
            places=places,
            leaving=model in self._leaving,
            busy=demand.busy or bool(demand.waking) or starting,
            pinned=demand.options.keep_warm,
            waiting_seconds=demand.waiting_seconds,
            held_seconds=demand.held_seconds,
            idle_seconds=demand.idle_seconds,
            load_seconds=demand.load_seconds,
        )

    def _places(self, model: str, demand: Demand) -> tuple[str, ...]:
        """Where the model takes room: where it runs, or is going to because it was granted that."""
        running = self._running(model, demand)
        if not running or self._clock() - self._leaving.get(model, 0.0) > LEAVING_SECONDS:
            self._leaving.pop(model, None)
        if not running:
            self._parked.pop(model, None)
        elif demand.parked and model not in self._granted:
            # Another conductor has parked it, before this one was there.
            self._parked.setdefault(model, demand.memory_bytes)
        if model in self._granted:
            # A replica that starts is in no list of running ones yet, and holds its room all the same.
            if running and not demand.waking:
                del self._granted[model]
            elif not running:
                wanted = bool(demand.waking) or demand.waiting_seconds is not None
                if wanted:
                    return (self._granted[model],)
                del self._granted[model]
        return () if model in self._parked else running

    def _verdict(self, model: str, claim: Claim, yielding: Iterable[str]) -> Verdict:
        if model in self._leaving:
            return Verdict.LEAVING
        if model in self._parked:
            return Verdict.PARKED
        if model in yielding or (model in self._sending and claim.places):
            return Verdict.YIELD
        return Verdict.GO if claim.places or model in self._granted else Verdict.WAIT

    def _send(self, model: str, claim: Claim) -> None:
        if model not in self._sending:
            task = asyncio.create_task(self._put_to_sleep(model, claim))
            self._sending[model] = task
            task.add_done_callback(lambda _: self._sending.pop(model, None))

    async def _put_to_sleep(self, model: str, claim: Claim) -> None:
        engine = self._engine(model)
        try:
            async with asyncio.timeout(SEND_SECONDS):
                if await self._park(model, engine, claim.need.get(GPU_MEMORY, 0.0)):
                    _logger.info("%s is parked in the host's memory", model)
                elif await engine.release(only_if_idle=True):
                    self._leaving[model] = self._clock()
                    _logger.info("%s makes room for others", model)
        except (EngineError, TimeoutError) as error:
            # It is looked at again by the next exchange.
            _logger.warning("%s could not be put to sleep: %s", model, error or "it does not answer")

    async def _park(self, model: str, engine: Occupant, size: float) -> bool:
        taken = sum(self._parked.values()) + sum(self._parking_now.values())
        if not 0 < size <= self._parking - taken:
            return False
        self._parking_now[model] = size
        try:
            parked = await engine.park()
            if parked:
                self._parked[model] = size
            return parked
        finally:
            del self._parking_now[model]

    def _engine(self, model: str) -> Occupant:
        if model not in self._engines:
            self._engines[model] = self._connect(model), self._clock()
        return self._engines[model][0]

    def _running(self, model: str, demand: Demand) -> tuple[str, ...]:
        places = tuple(self._engine(model).places())
        fresh = self._clock() - self._engines[model][1] < SETTLE_SECONDS
        return places or (demand.places if fresh else ())


def _together(one: Demand, other: Demand) -> Demand:
    """One model's demand as two gateways see it."""
    waiting = [each for each in (one.waiting_seconds, other.waiting_seconds) if each is not None]
    return Demand(
        options=one.options,
        memory_bytes=max(one.memory_bytes, other.memory_bytes),
        load_seconds=max(one.load_seconds, other.load_seconds),
        waiting_seconds=max(waiting) if waiting else None,
        waking=one.waking or other.waking,
        busy=one.busy or other.busy,
        looking=one.looking or other.looking,
        wanted=one.wanted or other.wanted,
        told_to_sleep=one.told_to_sleep or other.told_to_sleep,
        places=max(one.places, other.places, key=len),
        gpus=one.gpus if one.gpus is not None else other.gpus,
        parked=one.parked and other.parked,
        held_seconds=max(one.held_seconds, other.held_seconds),
        idle_seconds=min(one.idle_seconds, other.idle_seconds),
    )
