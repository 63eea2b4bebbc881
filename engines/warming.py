"""One load of one model, run in the background and watched by any number of callers."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import TYPE_CHECKING

from engines.calls import EngineOptions, LoadPhase, LoadProgress
from engines.card import ModelCard
from engines.errors import EngineError, LoadFailed
from engines.stalling import Stall

if TYPE_CHECKING:
    from engines.bringing import Brought

_logger = logging.getLogger(__name__)

Report = Callable[[LoadProgress], None]
Bring = Callable[[Report], "Brought"]
"""Brings the model to its device, in the pipeline's thread: the load, or the way back once it was parked."""


class Warming:
    """Brings a model to its device once, in ``executor``, and tells how far it is.

    The constructor starts nothing; the first `watch` or `result` does. A load that failed stays
    failed: the engine leaves, and its successor tries again. One that makes no progress for
    `EngineOptions.load_timeout_seconds` has failed; its thread is left to itself.
    """

    def __init__(self, card: ModelCard, options: EngineOptions, executor: Executor) -> None:
        self._card = card
        self._options = options
        self._executor = executor
        self._hurry = threading.Event()
        self._bring: Bring = self._load
        self._task: asyncio.Task[Brought] | None = None
        self._parked = False
        self._latest = LoadProgress(phase=LoadPhase.STARTING)
        self._changed = asyncio.Event()

    @property
    def latest(self) -> LoadProgress:
        """The last report."""
        return self._latest

    @property
    def parked(self) -> bool:
        """Whether the weights are set aside, and nobody has asked for them since."""
        return self._parked

    def begin(self) -> None:
        """Start to load for nobody in particular. Needs a running event loop."""
        self._start()

    async def result(self) -> Brought:
        """The model on its device and its completed description, waiting for the load if need be.

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

    def hurry(self) -> None:
        """Draw no picture to warm up with, or no more of it: somebody waits for a real one, or leaves."""
        self._hurry.set()

    async def park(self) -> bool:
        """Set the weights of the loaded model aside, see `engines.parking`; the next `watch` or `result`
        brings them back. False where it makes no sense, or is not possible now."""
        task = self._task
        if task is None or not task.done() or self._latest.phase is not LoadPhase.READY:
            return False
        from engines import bringing

        brought = task.result()
        parked = bringing.parkable(brought.model, self._options)
        if parked is None:
            return False
        self._task = None
        self._latest = LoadProgress(phase=LoadPhase.STARTING, bytes_total=self._card.size)
        self._bring = lambda report: bringing.come_back(brought.model, brought.schema, parked, report)
        loop = asyncio.get_running_loop()
        aside = await loop.run_in_executor(self._executor, bringing.set_aside, parked)
        # Unless somebody has asked for them meanwhile.
        self._parked = aside and self._task is None
        return aside

    def _load(self, report: Report) -> Brought:
        report(LoadProgress(phase=LoadPhase.IMPORTING, bytes_total=self._card.size))
        from engines import preloading

        preloading.give_way()
        from engines.bringing import load_and_warm_up

        return load_and_warm_up(self._card, self._options, report, hurry=self._hurry)

    def _start(self) -> asyncio.Task[Brought]:
        if self._task is None:
            self._parked = False
            self._task = asyncio.create_task(self._run())
            self._task.add_done_callback(_retrieve)
        return self._task

    async def _run(self) -> Brought:
        loop = asyncio.get_running_loop()
        started = time.monotonic()

        def report(progress: LoadProgress) -> None:
            timed = replace(progress, elapsed_seconds=time.monotonic() - started)
            loop.call_soon_threadsafe(self._publish, timed)

        try:
            brought = await self._watched(loop.run_in_executor(self._executor, self._bring, report))
        except Exception as error:  # the task's outer edge: a failed load is a state, not a crash
            failure = error if isinstance(error, EngineError) else _unforeseen(self._card.name, error)
            reason = failure.reason if isinstance(failure, LoadFailed) else str(failure)
            self._publish(
                LoadProgress(
                    phase=LoadPhase.FAILED, reason=reason, elapsed_seconds=time.monotonic() - started
                )
            )
            raise failure from error
        report(brought.ready)
        return brought

    async def _watched(self, bringing: asyncio.Future[Brought]) -> Brought:
        """Wait for the thread as long as it makes progress.

        Raises:
            LoadFailed: it makes none.
        """
        stall = Stall(self._options.load_timeout_seconds)
        while not stall.lasts(self._latest):
            done, _ = await asyncio.wait({bringing}, timeout=stall.patience)
            if done:
                return await bringing
        bringing.add_done_callback(_retrieve)
        raise LoadFailed(self._card.name, stall.described(self._latest))

    def _publish(self, progress: LoadProgress) -> None:
        if self._latest.phase is LoadPhase.FAILED:
            return  # a thread that was given up still moves
        self._latest = progress
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _unforeseen(model: str, error: Exception) -> LoadFailed:
    _logger.error("%s: a fault of this program", model, exc_info=error)
    return LoadFailed(model, f"unexpected {type(error).__name__}")


def _retrieve(future: asyncio.Future[Brought]) -> None:
    """Mark the failure as seen: whoever waits raises it again, and nobody may be waiting."""
    if not future.cancelled():
        future.exception()
