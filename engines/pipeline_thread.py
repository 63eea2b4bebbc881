"""The one thread of an engine in which its pipeline is loaded and called."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

Done = TypeVar("Done")


class PipelineThread:
    """Runs what it is given one after the other: a pipeline object is not safe for concurrent calls."""

    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="pipeline")
        """For work that nobody stops."""
        self._runs: set[Future[Any]] = set()

    @property
    def busy(self) -> bool:
        """Whether a run is going on or waits, even one whose caller has gone."""
        return bool(self._runs)

    async def run(self, work: Callable[[], Done], stop: threading.Event) -> Done:
        """Run ``work`` in the thread; when the caller goes away, set ``stop`` and wait for its end.

        What still waits for its turn is taken out at once. The slot of what runs is given on only when the
        thread has really stopped.
        """
        submitted: Future[Done] = self.executor.submit(work)
        self._runs.add(submitted)
        # Before anybody hears of its end: it holds what was made, pictures and all.
        submitted.add_done_callback(self._runs.discard)
        future = asyncio.wrap_future(submitted)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            stop.set()
            future.add_done_callback(_retrieve)
            if not submitted.cancel():
                await asyncio.wait([future])
            raise


def _retrieve(future: asyncio.Future[Done]) -> None:
    """Mark a failure as seen: whoever would have seen it has gone."""
    if not future.cancelled():
        future.exception()
