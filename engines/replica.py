"""The engine as a Ray Serve deployment: a thin shell around loading and generation.

One Serve application per model, at zero replicas until a call wakes it. The constructor returns at
once and never raises: Serve restarts a replica whose constructor raises for ever and leaves its
queue hanging. Loading runs in the background, and a failed load is an answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from engines.calls import (
    EngineCall,
    EngineEvent,
    EngineOptions,
    EngineResult,
    LoadPhase,
    LoadProgress,
    Preview,
    StepProgress,
)
from engines.card import ModelCard
from engines.errors import EngineLeaving, InvalidParameter
from engines.events import Events
from engines.finishing import Finishing
from engines.pipeline_thread import PipelineThread
from engines.recycling import Recycling
from engines.runs import Run
from engines.schema import Frozen, PipelineSchema
from engines.standing import STANDING, Standing
from engines.warming import Warming

if TYPE_CHECKING:
    from engines.generation import Generated


class EngineArgs(Frozen):
    """The arguments of a model's Serve application."""

    card: ModelCard
    options: EngineOptions = EngineOptions()


class Engine:
    """One replica of one model."""

    def __init__(self, args: EngineArgs) -> None:
        self._card = args.card
        self._options = args.options
        self._thread = PipelineThread()
        self._finishing = Finishing()
        self._warming = Warming(self._card, self._options, self._thread.executor)
        self._recycling = Recycling(self._card.name)
        self._released = False
        self._calls = 0

    async def warm(self, *, look: bool = False) -> AsyncIterator[LoadProgress]:
        """Load the model if need be, and yield the progress until it is ready or has failed.

        With ``look`` weights that are set aside stay there, and are told as such.

        Raises:
            EngineLeaving: the engine is going to sleep.
        """
        self._require_staying()
        if look and self._warming.parked:
            yield LoadProgress(phase=LoadPhase.PARKED)
            return
        with self._call():
            async for progress in self._warming.watch():
                yield progress

    async def generate(self, call: EngineCall) -> EngineResult:
        """Draw what ``call`` asks for; calls are served one after another.

        Raises:
            EngineLeaving: the engine is going to sleep, or a call before this one has spoiled its process.
            LoadFailed: the model could not be loaded.
            InvalidRequest: the parameters do not fit the live pipeline.
            GenerationFailed, BrokenPicture, DeviceFailed, OutOfMemory: the pipeline failed.
            GenerationStopped: the caller went away.
        """
        self._require_staying()
        with self._call():
            run = await self._begin(call)
            return await self._finish(run, await self._thread.run(run, run.stop))

    async def stream(self, call: EngineCall) -> AsyncGenerator[EngineEvent]:
        """As `generate`, telling of the steps and the pictures of the way; the result is the last event.

        Steps that nobody has taken yet are told as one. A caller who leaves ends the run.
        """
        self._require_staying()
        with self._call():
            run = await self._begin(call)
            events = Events(asyncio.get_running_loop())
            run.on_step, run.on_preview = events.step, events.preview
            drawing = asyncio.create_task(self._thread.run(run, run.stop))
            drawing.add_done_callback(lambda _: events.end())
            try:
                async for event in events:
                    if isinstance(event, StepProgress):
                        yield event
                    else:
                        index, image = event
                        pictures = [(image, run.call.seed or 0)]
                        yield Preview(index, (await self._finishing.encoded(pictures, call))[0])
                yield await self._finish(run, await drawing)
            finally:
                drawing.cancel()
                await asyncio.wait([drawing])

    async def release(self, *, only_if_idle: bool = False) -> bool:
        """Ask to be put to sleep: no new work is taken, running work ends first.

        With ``only_if_idle`` an engine that draws, has a call waiting, or loads for somebody stays as it
        is. Says whether the engine leaves.
        """
        if only_if_idle and self._is_busy:
            return False
        self._released = True
        self._warming.hurry()
        return True

    async def park(self) -> bool:
        """Set the weights aside in the host's memory, so that the device's is free and the process stays.

        The next call of `warm`, `generate` or `stream` brings them back. False where the engine is busy,
        leaves, or has nothing to set aside (`engines.parking.refusal`).
        """
        if self._is_busy or self._is_leaving:
            return False
        return await self._warming.park()

    def begin(self) -> None:
        """Start to load for nobody in particular. Needs a running event loop."""
        self._warming.begin()

    def record_routing_stats(self) -> dict[str, int]:
        """What `engines.presence.PresenceRouter` chooses by."""
        ready = self._warming.latest.phase is LoadPhase.READY
        standing = Standing.READY if ready else Standing.LOADING
        return {STANDING: Standing.LEAVING if self._is_leaving else standing}

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What `engines.scaling.ReleasePolicy` looks at."""
        return {"leaving": float(self._is_leaving)}

    @property
    def _is_busy(self) -> bool:
        return self._calls > 0 or self._thread.busy

    @property
    def _is_leaving(self) -> bool:
        failed = self._warming.latest.phase is LoadPhase.FAILED
        return self._released or failed or self._recycling.due

    def _require_staying(self) -> None:
        if self._is_leaving:
            raise EngineLeaving(self._card.name)

    @contextmanager
    def _call(self) -> Iterator[None]:
        """Count a call while it is in the engine."""
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1

    async def _begin(self, call: EngineCall) -> Run:
        """Wait for the model and check the call against it."""
        arrived = time.monotonic()
        was_ready = self._warming.latest.phase is LoadPhase.READY
        self._warming.hurry()
        brought = await self._warming.result()
        loaded = time.monotonic()
        self._check(call, brought.schema)
        run = Run(
            brought.model, brought.schema, call, self._options, arrived=arrived, recycling=self._recycling
        )
        run.load_seconds = 0.0 if was_ready else loaded - arrived
        return run

    async def _finish(self, run: Run, generated: Generated) -> EngineResult:
        started = time.monotonic()
        images = await self._finishing.finished(generated, run.call)
        run.encode_seconds = time.monotonic() - started
        return run.result(generated, images)

    def _check(self, call: EngineCall, schema: PipelineSchema) -> None:
        from engines.validation import check

        method = schema.method(call.method)
        if method is None:
            raise InvalidParameter("method", f"this model has no {call.method!r}")
        if not 1 <= call.count <= self._options.max_images:
            raise InvalidParameter("n", f"expected 1 to {self._options.max_images} images")
        check(method, call.parameters)
