"""What a drawing thread tells, on its way to the event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from engines.calls import StepProgress


class Events:
    """A mailbox between the pipeline's thread and one reader in the loop.

    Previews are kept in their order, all of them; of the steps only the latest is kept, so that a slow
    reader never makes it grow.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._step: StepProgress | None = None
        self._previews: deque[tuple[int, Any]] = deque()
        self._ended = False
        self._news = asyncio.Event()

    def step(self, step: int, total: int) -> None:
        """Tell of a step; from any thread."""
        self._loop.call_soon_threadsafe(self._put_step, StepProgress(step, total))

    def preview(self, index: int, image: Any) -> None:
        """Tell of a picture of the way; from any thread."""
        self._loop.call_soon_threadsafe(self._put_preview, index, image)

    def end(self) -> None:
        """Say that nothing more comes; from the loop."""
        self._ended = True
        self._news.set()

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> StepProgress | tuple[int, Any]:
        while True:
            if self._previews:
                return self._previews.popleft()
            if self._step is not None:
                step, self._step = self._step, None
                return step
            if self._ended:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()

    def _put_step(self, step: StepProgress) -> None:
        self._step = step
        self._news.set()

    def _put_preview(self, index: int, image: Any) -> None:
        self._previews.append((index, image))
        self._news.set()
