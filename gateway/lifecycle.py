"""One model's life as the gateway sees it: one state machine, woken by requests.

::

                     granted a room
    ASLEEP ──wake──▶ WAKING ──ready──▶ READY ◀──▶ BUSY
      ▲  ▲             │  ▲              │ │
      │  │             │  └──wake── PARKED ◀┤ its room is for another
      │  │             └──failed──▶ FAILED (until the back-off ends)
      │  └── its last replica is gone ── DRAINING ◀── it was told to sleep
      └───── its last replica is gone ◀──────────────┘ idle for its time

A waking is a call of its own (the engine's ``warm`` stream), shared by everybody who waits; no
request of a user is ever queued in front of a sleeping engine. It begins when `grant` says that there
is room. One that finds an engine running, after a restart, first looks where that stands: ready, still
loading, or parked, and then PARKED is where it ends. The effects go through `Engine`, so the machine runs
in tests without Ray.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from engines.calls import LoadPhase, LoadProgress
from engines.errors import (
    EngineError,
    EngineLeaving,
    EngineLost,
    HostMemoryExhausted,
    LoadFailed,
    ModelLoading,
)
from engines.schema import PipelineSchema
from gateway.engine import Engine
from gateway.status import State, Status

_logger = logging.getLogger(__name__)

LONGEST_BACKOFF_SECONDS: Final = 60.0
USUAL_LOAD_SECONDS: Final = 10.0
"""The estimate for a model that was never loaded before."""
LOSSES: Final = 3
"""How many engines may die under one waking before it counts as failed."""
LOOK_AGAIN_SECONDS: Final = 0.25
NOTICE_SECONDS: Final = 15.0
"""How long Serve may go on listing an engine that is dead."""
ANSWER_SECONDS: Final = 5.0
"""How long an engine that is asked where it stands may take before it is no longer waited for."""
WHO_KILLS: Final = (
    "where its process was killed, a limit of memory is the usual cause, and the machine's own log names it"
)
"""What is said where an engine is gone without a word."""
WAITING_FOR_ROOM: Final = "waiting_for_room"
"""The phase of a waking before the engine's own: others hold the room."""


@dataclass(frozen=True, kw_only=True)
class Awake:
    """What a waking has brought. ``seconds`` is ``None`` where the engine was loaded already."""

    schema: PipelineSchema | None
    seconds: float | None
    memory_bytes: float | None
    gpus: float | None = None


class Lifecycle:
    """The state machine of one model.

    ``on_ready`` is told of every completed waking, ``on_change`` of every change of the state;
    ``estimate`` is how long a waking usually takes, in seconds.
    """

    def __init__(
        self,
        model: str,
        engine: Engine,
        *,
        backoff_seconds: float,
        on_ready: Callable[[Awake], None],
        on_change: Callable[[], None],
        estimate: float | None = None,
    ) -> None:
        self._model = model
        self._engine = engine
        self._first_backoff = backoff_seconds
        self._backoff = backoff_seconds
        self._estimate = estimate
        self._on_ready = on_ready
        self._on_change = on_change
        self._state = State.ASLEEP
        self._waking: asyncio.Task[None] | None = None
        self._granted = asyncio.Event()
        self._news = asyncio.Event()
        self._looking = False
        self._number = 0
        self._asked = 0.0
        self._started = 0.0
        self._became_ready = 0.0
        self._progress: LoadProgress | None = None
        self._reason = ""
        self._retry_at = 0.0

    @property
    def state(self) -> State:
        """Where the model stands; whether a ready one is busy is not known here."""
        if self._state is State.READY and not self._engine.running():
            return State.ASLEEP
        return self._state

    @property
    def ready(self) -> bool:
        """Whether a call would be worked on at once."""
        return self.state is State.READY

    @property
    def looking(self) -> bool:
        """Whether a running engine was found, and has not said yet where it stands."""
        fresh = time.monotonic() - self._asked < ANSWER_SECONDS
        return self._looking and self._state is State.WAKING and fresh

    @property
    def waking_seconds(self) -> float | None:
        """How long ago the waking under way was asked for, ``None`` where there is none."""
        return time.monotonic() - self._asked if self.waking_number else None

    @property
    def waking_number(self) -> int:
        """Which waking is under way, counted from 1; 0 where there is none."""
        return self._number if self._state is State.WAKING and not self._looking else 0

    @property
    def ready_seconds(self) -> float:
        """How long the model has been ready; 0 where it is not."""
        return time.monotonic() - self._became_ready if self.ready else 0.0

    @property
    def load_seconds(self) -> float:
        """How long a waking takes, as learned, or as usual."""
        return self._estimate if self._estimate is not None else USUAL_LOAD_SECONDS

    @property
    def status(self) -> Status:
        """The present state with what a waiting caller wants to know."""
        now = time.monotonic()
        if self._state is State.WAKING:
            return self._waking_status(now)
        if self._state is State.FAILED:
            return Status(
                state=State.FAILED,
                reason=self._reason,
                retry_after_seconds=max(0.0, self._retry_at - now),
            )
        if self.ready:
            return Status(state=State.READY, progress=1.0)
        return Status(state=self.state, estimated_seconds=self._estimate)

    def wake(self, *, look: bool = False) -> asyncio.Task[None]:
        """Start waking the model, or join the waking under way; never waits itself.

        The task ends when the model is ready and raises `LoadFailed` when it is not going to be. One that
        only ``look``s asks a running engine where it stands, needs no room for that, and unless somebody
        joins it ends as well where the model is found parked.

        Raises:
            LoadFailed: at once, while the back-off after a failed load lasts.
        """
        if self._waking is not None:
            if self._looking and not look:
                self._stop_looking()
            return self._waking
        if self._state is State.FAILED and (rest := self._retry_at - time.monotonic()) > 0:
            raise self._failure(rest)
        self._looking = look
        self._asked = self._started = time.monotonic()
        self._number += 1
        self._progress = None
        self._granted.clear()
        self._waking = asyncio.create_task(self._wake())
        self._waking.add_done_callback(_retrieve)
        self._become(State.WAKING)
        return self._waking

    def grant(self, waking: int) -> None:
        """Let the waking of this number begin: there is room for the model.

        A permission for an earlier one comes to nothing: the room may be another's by now.
        """
        if waking and waking == self.waking_number and not self._granted.is_set():
            self._started = time.monotonic()
            self._granted.set()

    def give_up(self) -> None:
        """End a waking that has no room yet: nobody wants it any more."""
        if self._waking is not None and not self._granted.is_set() and not self._looking:
            self._waking.cancel()
            self._waking = None
            self._become(State.ASLEEP)

    def not_ready(self) -> ModelLoading:
        """What a caller is told whose patience has ended."""
        status = self.status
        return ModelLoading(self._model, status.progress, status.retry_after_seconds or 1.0)

    def presence_changed(self, running: bool) -> None:
        """Take note that the model's last replica is gone, or that one has appeared.

        A replica that nobody here has woken is found after a restart of the gateway: joining its
        load tells where it stands.
        """
        if running and self._state is State.ASLEEP:
            self.wake(look=True)
        elif not running and self._state in (State.READY, State.DRAINING, State.PARKED):
            _logger.info("%s has gone to sleep", self._model)
            self._become(State.ASLEEP)

    def drain(self) -> None:
        """Take note that the engine was told to sleep, and takes no new work."""
        if self._state in (State.READY, State.PARKED):
            self._become(State.DRAINING)

    def lost(self) -> None:
        """Take note that an engine died under a call, and that others may be there: it is looked for anew."""
        if self._state is State.READY:
            self._become(State.ASLEEP)

    def parked(self) -> None:
        """Take note that the engine's weights are in the host's memory."""
        if self._state is State.READY:
            self._become(State.PARKED)

    async def changed(self) -> None:
        """Wait for the next change of the state."""
        await self._news.wait()

    def close(self) -> None:
        """Stop following the engine: the model is no longer served."""
        if self._waking is not None:
            self._waking.cancel()

    def _become(self, state: State) -> None:
        self._state = state
        news, self._news = self._news, asyncio.Event()
        news.set()
        self._on_change()

    async def _wake(self) -> None:
        try:
            if not self._looking:
                await self._granted.wait()
            await self._follow_to_the_end()
        except EngineError as error:
            self._fail(error.reason if isinstance(error, LoadFailed) else str(error))
            raise self._failure(self._retry_at - time.monotonic()) from error
        finally:
            if self._waking is asyncio.current_task():
                self._waking = None
                if self._state is State.WAKING:
                    self._become(State.ASLEEP)

    async def _follow_to_the_end(self) -> None:
        """Ask again while a leaving engine is in the way, and a few times when one is lost.

        The room of one that is gone is free for all: a successor needs a permission of its own.
        """
        losses = 0
        noticed_by = time.monotonic() + NOTICE_SECONDS
        while True:
            try:
                return await self._follow()
            except EngineLeaving:
                if self._looking:
                    return self._become(State.DRAINING)
                _logger.info("%s: waiting for the leaving engine to be gone", self._model)
            except (EngineLost, HostMemoryExhausted) as error:
                if self._looking:
                    return self._become(State.ASLEEP)
                # One that said nothing had died before, and is listed all the same.
                listed = self._progress is None and self._engine.running()
                losses += not listed or time.monotonic() > noticed_by
                if losses == LOSSES:
                    raise LoadFailed(self._model, self._death(error)) from error
            await asyncio.sleep(LOOK_AGAIN_SECONDS)
            if not self._engine.running():
                self._granted.clear()
                self._on_change()
                await self._granted.wait()

    def _death(self, error: EngineLost | HostMemoryExhausted) -> str:
        """What is to be said of engines that died, one after the other, while they loaded the model."""
        seen = self._progress
        doing = f" ({seen.component or seen.phase.value})" if seen else ""
        cause = error.reason if isinstance(error, HostMemoryExhausted) else WHO_KILLS
        return f"its engine was lost {LOSSES} times in a row while it loaded{doing}: {cause}"

    async def _follow(self) -> None:
        loaded_before = True
        self._progress = None
        async for progress in self._engine.warm(look=self._looking):
            if progress.phase is LoadPhase.PARKED:
                return await self._found_parked()
            self._progress = progress
            if self._looking and progress.phase not in (LoadPhase.READY, LoadPhase.FAILED):
                self._stop_looking()
            if progress.phase is LoadPhase.FAILED:
                raise LoadFailed(self._model, progress.reason or "the engine gave no reason")
            if progress.phase is LoadPhase.READY:
                self._become_ready(progress, loaded_before)
                return None
            loaded_before = False
        raise EngineLost(self._model)

    async def _found_parked(self) -> None:
        if self._looking:
            self._become(State.PARKED)
        else:
            # Somebody has joined, who wants it on its device: for that there must be room.
            await self._granted.wait()
            await self._follow()

    def _stop_looking(self) -> None:
        """Make the look under way a waking like any other."""
        self._looking = False
        self._asked = self._started = time.monotonic()
        self._on_change()

    def _become_ready(self, progress: LoadProgress, loaded_before: bool) -> None:
        self._became_ready = time.monotonic()
        seconds = self._became_ready - self._started
        self._backoff = self._first_backoff
        if not loaded_before:
            self._estimate = seconds
        awake = Awake(
            schema=progress.schema,
            seconds=None if loaded_before else seconds,
            memory_bytes=progress.memory_bytes,
            gpus=progress.gpus,
        )
        self._on_ready(awake)
        _logger.info("%s is ready after %.1f s", self._model, seconds)
        if progress.note:
            _logger.warning("%s: %s", self._model, progress.note)
        self._become(State.READY)

    def _fail(self, reason: str) -> None:
        self._reason = reason
        self._retry_at = time.monotonic() + self._backoff
        _logger.warning("%s failed to load: %s", self._model, reason)
        self._backoff = min(2 * self._backoff, LONGEST_BACKOFF_SECONDS)
        self._become(State.FAILED)

    def _failure(self, retry_after: float) -> LoadFailed:
        return LoadFailed(self._model, self._reason, retry_after_seconds=retry_after)

    def _waking_status(self, now: float) -> Status:
        elapsed = now - self._asked
        seen = self._progress
        share = seen.bytes_read / seen.bytes_total if seen and seen.bytes_total else 0.0
        eta = max(0.0, self.load_seconds - (now - self._started))
        phase = (seen.phase if seen else LoadPhase.STARTING).value
        return Status(
            state=State.WAKING,
            phase=phase if self._granted.is_set() else WAITING_FOR_ROOM,
            component=seen.component if seen else None,
            progress=share,
            bytes_loaded=seen.bytes_read if seen else None,
            bytes_total=seen.bytes_total if seen else None,
            elapsed_seconds=elapsed,
            estimated_seconds=self.load_seconds,
            eta_seconds=eta,
            retry_after_seconds=min(60.0, max(1.0, eta)),
        )


def raise_failure(waking: asyncio.Task[None]) -> None:
    """Raise what a waking that has ended failed with."""
    if waking.done() and not waking.cancelled():
        waking.result()


def _retrieve(task: asyncio.Task[None]) -> None:
    """Mark the failure as seen: a waking may have no one waiting."""
    if not task.cancelled():
        task.exception()
