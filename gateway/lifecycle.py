"""One model's life as the gateway sees it: one state machine, woken by requests.

::

    ASLEEP ──wake──▶ WAKING ──ready──▶ READY ◀──▶ BUSY
      ▲                │                 │
      │                └──failed──▶ FAILED (until the back-off ends)
      └───────────── the last replica is gone ◀──┘

A waking is a call of its own (the engine's ``warm`` stream), shared by everybody who waits; no
request of a user is ever queued in front of a sleeping engine. The effects go through `Engine`, so
the machine runs in tests without Ray.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from engines.calls import EngineCall, EngineEvent, EngineResult, LoadPhase, LoadProgress
from engines.errors import EngineError, EngineLeaving, EngineLost, LoadFailed, ModelLoading
from engines.schema import PipelineSchema

if TYPE_CHECKING:
    from collections.abc import Iterator

_logger = logging.getLogger(__name__)

LONGEST_BACKOFF_SECONDS: Final = 60.0
USUAL_LOAD_SECONDS: Final = 10.0
"""The estimate for a model that was never loaded before."""
LOSSES: Final = 3
"""How many engines may die under one waking before it counts as failed."""
LOOK_AGAIN_SECONDS: Final = 0.25
TELL_SECONDS: Final = 1.0
"""How often a waiting stream is told where the model stands."""


class State(StrEnum):
    """Where a model stands."""

    ASLEEP = "asleep"
    WAKING = "waking"
    READY = "ready"
    BUSY = "busy"
    FAILED = "failed"
    REMOTE = "remote"
    """Another server answers for it, and knows where it stands."""


class Engine(Protocol):
    """What the gateway can do with a model's engine."""

    def running(self) -> bool:
        """Whether a replica runs, known without a call."""

    def warm(self) -> AsyncIterator[LoadProgress]:
        """Wake the engine and follow its load."""

    def generate(self, call: EngineCall) -> Awaitable[EngineResult]:
        """Draw."""

    def stream(self, call: EngineCall) -> AsyncGenerator[EngineEvent]:
        """Draw, and tell of the way."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """A look at a model. ``progress`` is the read share of its weights, 0 to 1."""

    state: State
    phase: str | None = None
    component: str | None = None
    progress: float | None = None
    elapsed_seconds: float | None = None
    estimated_seconds: float | None = None
    reason: str | None = None
    retry_after_seconds: float | None = None
    active_requests: int = 0


class Lifecycle:
    """The state machine of one model.

    ``on_ready(schema, seconds)`` is told of every completed waking (seconds is ``None`` where the
    engine turned out to be loaded already); ``estimate`` is how long one usually takes, in seconds.
    """

    def __init__(
        self,
        model: str,
        engine: Engine,
        *,
        backoff_seconds: float,
        on_ready: Callable[[PipelineSchema | None, float | None], None],
        estimate: float | None = None,
    ) -> None:
        self._model = model
        self._engine = engine
        self._first_backoff = backoff_seconds
        self._backoff = backoff_seconds
        self._estimate = estimate
        self._on_ready = on_ready
        self._state = State.ASLEEP
        self._waking: asyncio.Task[None] | None = None
        self._started = 0.0
        self._progress: LoadProgress | None = None
        self._reason = ""
        self._retry_at = 0.0
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def engine(self) -> Engine:
        """The engine that this life is about."""
        return self._engine

    @property
    def engine_running(self) -> bool:
        """Whether a replica runs, loaded or not."""
        return self._engine.running()

    @property
    def ready(self) -> bool:
        """Whether a call would be worked on at once."""
        return self._state is State.READY and self._engine.running()

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
        if not self.ready:
            return Status(state=State.ASLEEP, estimated_seconds=self._estimate)
        state = State.BUSY if self._active else State.READY
        return Status(state=state, progress=1.0, active_requests=self._active)

    def wake(self) -> asyncio.Task[None]:
        """Start waking the model, or join the waking under way; never waits itself.

        The task ends when the model is ready and raises `LoadFailed` when it is not going to be.

        Raises:
            LoadFailed: at once, while the back-off after a failed load lasts.
        """
        if self._waking is not None:
            return self._waking
        if self._state is State.FAILED and (rest := self._retry_at - time.monotonic()) > 0:
            raise self._failure(rest)
        self._state = State.WAKING
        self._started = time.monotonic()
        self._progress = None
        self._waking = asyncio.create_task(self._wake())
        self._waking.add_done_callback(_retrieve)
        return self._waking

    async def ensure_ready(self, hold_seconds: float) -> None:
        """Return once the model is ready, waiting at most ``hold_seconds``.

        Raises:
            ModelLoading: it was not ready in time; the load goes on.
            LoadFailed: it could not be loaded.
        """
        if self.ready:
            return
        waking = self.wake()
        try:
            await asyncio.wait_for(asyncio.shield(waking), hold_seconds)
        except TimeoutError:
            status = self.status
            raise ModelLoading(self._model, status.progress, status.retry_after_seconds or 1.0) from None

    async def becoming_ready(self, hold_seconds: float) -> AsyncIterator[Status]:
        """As `ensure_ready`, telling every `TELL_SECONDS` where the model stands.

        Raises:
            ModelLoading, LoadFailed: as `ensure_ready`.
        """
        deadline = time.monotonic() + hold_seconds
        while not self.ready:
            rest = deadline - time.monotonic()
            try:
                await self.ensure_ready(max(0.0, min(TELL_SECONDS, rest)))
            except ModelLoading:
                if rest <= TELL_SECONDS:
                    raise
                yield self.status

    def presence_changed(self, running: bool) -> None:
        """Take note that the model's last replica is gone, or that one has appeared.

        A replica that nobody here has woken is found after a restart of the gateway: joining its
        load tells where it stands.
        """
        if running and self._state is State.ASLEEP:
            self.wake()
        elif not running and self._state is State.READY:
            self._state = State.ASLEEP
            _logger.info("%s has gone to sleep", self._model)

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count a request as being worked on."""
        self._active += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._active -= 1
            if not self._active:
                self._idle.set()

    async def idle(self) -> None:
        """Wait until no request is being worked on."""
        await self._idle.wait()

    def close(self) -> None:
        """Stop following the engine: the model is no longer served."""
        if self._waking is not None:
            self._waking.cancel()

    async def _wake(self) -> None:
        try:
            await self._follow_to_the_end()
        except EngineError as error:
            self._fail(error.reason if isinstance(error, LoadFailed) else str(error))
            raise self._failure(self._retry_at - time.monotonic()) from error
        finally:
            self._waking = None
            if self._state is State.WAKING:
                self._state = State.ASLEEP

    async def _follow_to_the_end(self) -> None:
        """Ask again while a leaving engine is in the way, and a few times when one is lost."""
        losses = 0
        while True:
            try:
                return await self._follow()
            except EngineLeaving:
                _logger.info("%s: waiting for the leaving engine to be gone", self._model)
            except EngineLost:
                losses += 1
                if losses == LOSSES:
                    raise
            await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def _follow(self) -> None:
        loaded_before = True
        async for progress in self._engine.warm():
            self._progress = progress
            if progress.phase is LoadPhase.FAILED:
                raise LoadFailed(self._model, progress.reason or "the engine gave no reason")
            if progress.phase is LoadPhase.READY:
                self._become_ready(progress.schema, loaded_before)
                return
            loaded_before = False
        raise EngineLost(self._model)

    def _become_ready(self, schema: PipelineSchema | None, loaded_before: bool) -> None:
        seconds = time.monotonic() - self._started
        self._state = State.READY
        self._backoff = self._first_backoff
        if not loaded_before:
            self._estimate = seconds
        self._on_ready(schema, None if loaded_before else seconds)
        _logger.info("%s is ready after %.1f s", self._model, seconds)

    def _fail(self, reason: str) -> None:
        self._state = State.FAILED
        self._reason = reason
        self._retry_at = time.monotonic() + self._backoff
        _logger.warning("%s failed to load: %s", self._model, reason)
        self._backoff = min(2 * self._backoff, LONGEST_BACKOFF_SECONDS)

    def _failure(self, retry_after: float) -> LoadFailed:
        return LoadFailed(self._model, self._reason, retry_after_seconds=retry_after)

    def _waking_status(self, now: float) -> Status:
        elapsed = now - self._started
        estimate = self._estimate if self._estimate is not None else USUAL_LOAD_SECONDS
        seen = self._progress
        share = seen.bytes_read / seen.bytes_total if seen and seen.bytes_total else 0.0
        return Status(
            state=State.WAKING,
            phase=(seen.phase if seen else LoadPhase.STARTING).value,
            component=seen.component if seen else None,
            progress=share,
            elapsed_seconds=elapsed,
            estimated_seconds=estimate,
            retry_after_seconds=min(60.0, max(1.0, estimate - elapsed)),
        )


def _retrieve(task: asyncio.Task[None]) -> None:
    """Mark the failure as seen: a waking may have no one waiting."""
    if not task.cancelled():
        task.exception()
