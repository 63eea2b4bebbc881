"""One load of one model, run in the background and watched by any number of callers."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from dataclasses import replace
from typing import TYPE_CHECKING

from engines.calls import EngineOptions, LoadPhase, LoadProgress
from engines.card import ModelCard
from engines.errors import EngineError, LoadFailed
from engines.schema import PipelineSchema

if TYPE_CHECKING:
    from engines.loading import LoadedModel


class Warming:
    """Loads a model once, in ``executor``, and tells how far it is.

    The constructor starts nothing; the first `watch` or `result` does. A load that failed stays
    failed: the engine leaves, and its successor tries again.
    """

    def __init__(self, card: ModelCard, options: EngineOptions, executor: Executor) -> None:
        self._card = card
        self._options = options
        self._executor = executor
        self._task: asyncio.Task[tuple[LoadedModel, PipelineSchema]] | None = None
        self._latest = LoadProgress(phase=LoadPhase.STARTING)
        self._changed = asyncio.Event()

    @property
    def latest(self) -> LoadProgress:
        """The last report."""
        return self._latest

    async def result(self) -> tuple[LoadedModel, PipelineSchema]:
        """The loaded model and its completed description, waiting for the load if need be.

        Raises:
            LoadFailed: with the reason in words.
        """
        return await asyncio.shield(self._start())

    async def watch(self) -> AsyncIterator[LoadProgress]:
        """Yield every report until one is READY or FAILED."""
        self._start()
        while True:
            changed = self._changed
            latest = self._latest
            yield latest
            if latest.phase in (LoadPhase.READY, LoadPhase.FAILED):
                return
            if self._latest is latest:
                await changed.wait()

    def _start(self) -> asyncio.Task[tuple[LoadedModel, PipelineSchema]]:
        if self._task is None:
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(_retrieve)
        return self._task

    async def _run(self) -> tuple[LoadedModel, PipelineSchema]:
        loop = asyncio.get_running_loop()
        started = time.monotonic()

        def report(progress: LoadProgress) -> None:
            timed = replace(progress, elapsed_seconds=time.monotonic() - started)
            loop.call_soon_threadsafe(self._publish, timed)

        try:
            model, schema = await loop.run_in_executor(
                self._executor, _load, self._card, self._options, report
            )
        except Exception as error:  # the task's outer edge: a failed load is a state, not a crash
            failure = error if isinstance(error, EngineError) else _unforeseen(self._card.name, error)
            reason = failure.reason if isinstance(failure, LoadFailed) else str(failure)
            report(LoadProgress(phase=LoadPhase.FAILED, reason=reason))
            raise failure from error
        report(
            LoadProgress(
                phase=LoadPhase.READY, bytes_read=self._card.size, bytes_total=self._card.size, schema=schema
            )
        )
        return model, schema

    def _publish(self, progress: LoadProgress) -> None:
        self._latest = progress
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _load(card: ModelCard, options: EngineOptions, report: object) -> tuple[LoadedModel, PipelineSchema]:
    assert callable(report)
    report(LoadProgress(phase=LoadPhase.IMPORTING, bytes_total=card.size))
    from engines.discovery import complete, discover
    from engines.loading import load

    model = load(card, options, report)
    schema = complete(discover(card, max_images=options.max_images), model.pipelines)
    # Half a million objects are here to stay: without this each full search for garbage takes 0.3 s.
    gc.freeze()
    return model, schema


def _unforeseen(model: str, error: Exception) -> LoadFailed:
    return LoadFailed(model, f"unexpected {type(error).__name__}")


def _retrieve(task: asyncio.Task[object]) -> None:
    """Mark the failure as seen: whoever waits raises it again, and nobody may be waiting."""
    if not task.cancelled():
        task.exception()
