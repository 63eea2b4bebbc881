"""One model as the gateway serves it: its life, the line in front of it, and the way of a request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Final

from engines.calls import EngineCall, EngineEvent, EngineResult, Preview
from engines.errors import (
    EngineError,
    EngineLeaving,
    EngineLost,
    HostMemoryExhausted,
    LoadFailed,
    OutOfMemory,
)
from gateway.callers import caller
from gateway.conductor import Demand, Verdict
from gateway.engine import Engine
from gateway.lifecycle import LOOK_AGAIN_SECONDS, Awake, Lifecycle, raise_failure
from gateway.memory import Learned
from gateway.registry import ModelEntry
from gateway.status import State, Status
from gateway.trials import LOSSES, Trials
from gateway.under_way import current
from gateway.waiting import Seat, WaitingLine
from gateway.wants import Wants

_logger = logging.getLogger(__name__)

ATTACH_SECONDS: Final = 0.5
"""How long a call waits to learn that a running engine, found after a restart, is loaded."""
TELL_SECONDS: Final = 1.0
"""How often somebody who waits is told where the model stands."""
ROOM_SECONDS: Final = 5.0
"""How long a request that ran out of memory waits for the others to be gone, before it is tried again."""


class ServedModel:
    """Wakes a model, gives it its requests in order, and repeats them when an engine dies.

    ``on_change`` is called whenever what it wants of the cluster may have changed, ``on_learned`` with
    what loading or drawing has taught; ``neighbours`` says whether idle models share its room.
    """

    def __init__(
        self,
        entry: ModelEntry,
        engine: Engine,
        *,
        learned: Learned | None,
        backoff_seconds: float,
        on_change: Callable[[], None],
        on_learned: Callable[[ServedModel, Awake | None], None],
        neighbours: Callable[[ServedModel], bool] = lambda _: False,
    ) -> None:
        self.entry = entry
        self._on_change = on_change
        self._on_learned = on_learned
        self._engine = engine
        self._yielding = False
        self._neighbours = neighbours
        self._told_to_sleep = False
        self._sleeping: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()
        self._wants = Wants(learned.memory_bytes if learned else None)
        self.life = Lifecycle(
            entry.name,
            engine,
            backoff_seconds=backoff_seconds,
            estimate=learned.load_seconds if learned else None,
            on_ready=self._became_ready,
            on_change=self._changed,
        )
        self.line = WaitingLine(
            entry.name,
            width=entry.options.ongoing,
            limit=entry.options.max_queued,
            is_open=lambda: self.life.ready and not self._yielding,
        )

    @property
    def name(self) -> str:
        """The model's name."""
        return self.entry.name

    @property
    def engine(self) -> Engine:
        """The client of the engine."""
        return self._engine

    @property
    def idle(self) -> bool:
        """Whether it is loaded without being used: it takes room, and would give it up."""
        resting = self.life.state in (State.READY, State.DRAINING)
        return resting and not self.line.working and not self.entry.options.keep_warm

    @property
    def status(self) -> Status:
        """Where the model stands."""
        status = self.life.status
        state = State.BUSY if status.state is State.READY and self.line.working else status.state
        return replace(
            status, state=state, active_requests=self.line.working, waiting_requests=self.line.waiting
        )

    @property
    def demand(self) -> Demand | None:
        """What it wants of the cluster; ``None`` while it sleeps and nobody waits."""
        return self._wants.demand(
            self.entry,
            self.life,
            self.line,
            places=tuple(self._engine.places()),
            wanted=self._wanted,
            told_to_sleep=self._told_to_sleep and self.entry.options.keep_warm,
        )

    @property
    def _wanted(self) -> bool:
        """Whether anybody asks for it, or is coming back for it."""
        return bool(self.line.waiting or self.line.working or self._wants.expected)

    @property
    def measured_bytes(self) -> float | None:
        """The memory that the model was seen to need on its device."""
        return self._wants.measured_bytes

    def obey(self, verdict: Verdict, *, waking: int) -> None:
        """Do what the conductor says, who knew of the waking of this number."""
        self._yielding = verdict is Verdict.YIELD
        match verdict:
            case Verdict.GO:
                self.life.grant(waking)
            case Verdict.LEAVING:
                self.life.drain()
            case Verdict.PARKED:
                self.life.parked()
            case Verdict.REST if not self._wanted:
                self._told_to_sleep = True
                self.life.give_up()
        self.line.advance()

    def presence_changed(self, running: bool) -> None:
        """Take note that the last replica is gone, or that one has appeared."""
        if running and self.life.state is State.ASLEEP:
            # Somebody has called the model, at another gateway: it is kept warm again.
            self._told_to_sleep = False
        if not running and self.life.state is not State.WAKING:
            # Whoever was told to come back finds it asleep, and is told so again.
            self._wants.rest()
        self.life.presence_changed(running)
        self._changed()

    async def wake_unless_ready(self) -> Status | None:
        """Return ``None`` when the model is ready; else start waking it and tell where it stands.

        Raises:
            LoadFailed: the last load failed and its back-off still lasts.
        """
        if self.life.ready:
            return None
        self._told_to_sleep = False
        self.life.wake()
        self._wants.expect()
        if self._engine.running():
            await self._follow(ATTACH_SECONDS)
        return None if self.life.ready else self.status

    def keep_warm(self) -> None:
        """Wake a model that is kept warm, unless it was told to sleep; a load that failed is repeated."""
        wanted = self.entry.options.keep_warm and not self._told_to_sleep
        if wanted and self.life.state in (State.ASLEEP, State.FAILED):
            with contextlib.suppress(LoadFailed):  # its back-off lasts
                self.life.wake()

    async def warm(self, wait_seconds: float = 0.0) -> Status:
        """Wake the model, waiting so long for it, and say where it stands.

        Raises:
            LoadFailed: it could not be loaded, within the time that was waited.
        """
        if await self.wake_unless_ready() is not None and wait_seconds:
            await self._follow(wait_seconds)
        return self.status

    async def sleep(self, wait_seconds: float = 0.0) -> Status:
        """Send the model to sleep once its work has ended, waiting so long for it; also one kept warm.

        Raises:
            EngineError: its engine could not be told.
        """
        self._told_to_sleep = True
        self._wants.rest()
        self.life.give_up()
        self._on_change()
        if self._engine.running():
            self.life.drain()
            with contextlib.suppress(EngineLost, HostMemoryExhausted):  # one that is lost sleeps as well
                await self._engine.release(only_if_idle=False)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_seconds):
                while self.life.state not in (State.ASLEEP, State.FAILED):
                    await self.life.changed()
        return self.status

    async def generate(self, call: EngineCall, *, hold_seconds: float) -> EngineResult:
        """Wait for the turn and draw; the call outlives the death of an engine.

        The seed must be fixed (`seeded`), so that a second try draws the same picture.

        Raises:
            EngineBusy: too many wait already.
            ModelLoading: not ready within ``hold_seconds``.
            EngineError: what the engine raised.
        """
        seat = self._join()
        trials, done = Trials(self.name), False
        try:
            while True:
                async for _ in self._turn(seat, hold_seconds):
                    pass
                trials.begin()
                try:
                    result = await self._engine.generate(call)
                    done = True
                    self._learn_from(result)
                    return result
                except LOSSES as error:
                    self._lost(error)
                    trials.lost(error)
                    self.line.return_to(seat)
                except OutOfMemory:
                    if trials.last or not await self._made_room():
                        raise
        finally:
            self._leave(seat, done=done)

    async def stream(self, call: EngineCall, *, hold_seconds: float) -> AsyncGenerator[EngineEvent | Status]:
        """As `generate`, telling of the way; while the request waits, where it stands from time to time.

        An engine that dies is replaced as long as no picture of the way was sent.

        Raises:
            EngineBusy, ModelLoading, EngineError: as `generate`.
        """
        seat = self._join()
        trials, shown, done = Trials(self.name), False, False
        try:
            while True:
                async for status in self._turn(seat, hold_seconds):
                    yield status
                trials.begin()
                try:
                    # Closed at once when the reader leaves: that is what stops the drawing.
                    async with aclosing(self._engine.stream(call)) as events:
                        async for event in events:
                            shown = shown or isinstance(event, Preview)
                            if isinstance(event, EngineResult):
                                done = True
                                self._learn_from(event)
                            yield event
                    return
                except LOSSES as error:
                    self._lost(error)
                    trials.lost(error, final=shown)
                    self.line.return_to(seat)
                except OutOfMemory:
                    if shown or trials.last or not await self._made_room():
                        raise
        finally:
            self._leave(seat, done=done)

    def close(self) -> None:
        """Stop following the engine: the model is no longer served from here.

        Whoever waits for his turn is told that the engine is leaving, and may be served by its successor.
        """
        self._closed.set()
        if self._sleeping is not None:
            self._sleeping.cancel()
        self.life.close()

    async def _turn(self, seat: Seat, hold_seconds: float) -> AsyncIterator[Status]:
        """Wait until it is the request's turn, telling where it stands: at once where the model is not ready,
        then every `TELL_SECONDS`.

        ``hold_seconds`` bounds the time in which the model is not ready, not the time in the line.
        """
        self._told_to_sleep = False
        deadline = time.monotonic() + hold_seconds
        # Held on to until it is over: one that fails while the caller is told something has failed for him.
        waking: asyncio.Task[None] | None = None
        if not seat.called.is_set() and not self.life.ready and not self._closed.is_set():
            waking = self.life.wake()
            yield replace(self.status, position=self.line.position(seat))
        while not seat.called.is_set():
            if self._closed.is_set():
                raise EngineLeaving(self.name)
            if waking is not None:
                raise_failure(waking)
            now = time.monotonic()
            if self.life.ready:
                deadline = now + hold_seconds
                rest = TELL_SECONDS
            elif now >= deadline:
                raise self.life.not_ready()
            else:
                rest = min(TELL_SECONDS, deadline - now)
            if waking is None and not self.life.ready:
                waking = self.life.wake()
            if await self._waited(seat, waking, rest):
                return
            if waking is not None and waking.done():
                waking = None
            yield replace(self.status, position=self.line.position(seat))

    async def _follow(self, seconds: float) -> None:
        """Wait for the end of the waking, so long at most: a failed one is raised."""
        waking = self.life.wake()
        await asyncio.wait([waking], timeout=seconds)
        raise_failure(waking)

    async def _waited(self, seat: Seat, waking: asyncio.Task[None] | None, seconds: float) -> bool:
        """Wait for the turn, or for the end of the waking: a failed one is raised."""
        own = [asyncio.ensure_future(each.wait()) for each in (seat.called, self._closed)]
        waits: set[asyncio.Future[Any]] = {*own, *([waking] if waking is not None else ())}
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if waking is not None:
                raise_failure(waking)
            return seat.called.is_set()
        finally:
            for each in own:
                each.cancel()

    def _join(self) -> Seat:
        seat = self.line.join(caller.get())
        if (request := current.get()) is not None:
            request.look = lambda: replace(self.status, position=self.line.position(seat))
        self._on_change()
        return seat

    def _leave(self, seat: Seat, *, done: bool) -> None:
        self.line.leave(seat, done=done)
        if not self._wanted:
            self.life.give_up()
        self._wants.rest()
        self._on_change()

    def _lost(self, error: EngineError) -> None:
        if not self._engine.running():
            self.life.presence_changed(False)
        elif isinstance(error, EngineLeaving):
            self.life.drain()
        else:
            self.life.lost()
        self._on_change()

    async def _made_room(self) -> bool:
        """Have others leave the room in which memory ran out; says whether there were any, and are gone."""
        if not self._neighbours(self):
            return False
        self._wants.crowded()
        self._on_change()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ROOM_SECONDS):
                while self._neighbours(self):
                    await asyncio.sleep(LOOK_AGAIN_SECONDS)
        return not self._neighbours(self)

    def _became_ready(self, awake: Awake) -> None:
        self._wants.ready(awake.memory_bytes, awake.gpus)
        self._on_learned(self, awake)
        if self._told_to_sleep and not self._wanted:  # while its engine could not be reached yet
            self._sleeping = asyncio.create_task(self._sleep_at_last())

    async def _sleep_at_last(self) -> None:
        """Sleep after all, unless another gateway has a call for the model by now."""
        await asyncio.sleep(LOOK_AGAIN_SECONDS)
        try:
            if not self._wanted and await self._engine.release(only_if_idle=True):
                self.life.drain()
        except EngineError as error:
            _logger.warning("%s could not be put to sleep: %s", self.name, error)

    def _learn_from(self, result: EngineResult) -> None:
        if self._wants.learn(result.memory_bytes):
            self._on_learned(self, None)

    def _changed(self) -> None:
        self.line.advance()
        self._on_change()
