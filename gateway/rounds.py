"""Work that is looked for again and again in the background: when somebody says so, and from time to time."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Awaitable, Callable

from engines.errors import StorageFailed

_logger = logging.getLogger(__name__)


class Rounds:
    """Does a round of ``work`` at once, then after every `look`, and every ``seconds`` without one.

    ``what`` is worked on, for the log. A round that fails is told there, and the next one comes as any other,
    or where ``pause`` is given after so many seconds, whoever looks. `start` needs a running loop.
    """

    def __init__(
        self, what: str, work: Callable[[], Awaitable[None]], *, seconds: float, pause: float | None = None
    ) -> None:
        self._what = what
        self._work = work
        self._seconds = seconds
        self._pause = pause
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, unless it has begun."""
        if self._task is None:
            # In a context of its own: the request that starts it is not the one worked for.
            self._task = asyncio.create_task(self._run(), context=contextvars.Context())

    def close(self) -> None:
        """End, in the middle of a round too."""
        if self._task is not None:
            self._task.cancel()

    def look(self) -> None:
        """Say that there may be something to do."""
        self._news.set()

    async def _run(self) -> None:
        while True:
            self._news.clear()
            try:
                await self._work()
            except Exception as error:  # the task's outer edge: there are rounds as long as the gateway lives
                if isinstance(error, StorageFailed):
                    _logger.warning("%s wait for the storage: %s", self._what, error)
                else:
                    _logger.exception("%s could not be worked on", self._what)
                if self._pause is not None:
                    await asyncio.sleep(self._pause)
                    continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._news.wait()
