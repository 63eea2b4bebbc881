"""What has expired is removed, from time to time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from engines.errors import StorageFailed

_logger = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 300.0


class Sweeper:
    """Calls ``sweep`` at once and then every ``seconds``, until closed. Needs a running loop."""

    def __init__(self, sweep: Callable[[], Awaitable[None]], *, seconds: float = SWEEP_SECONDS) -> None:
        self._sweep = sweep
        self._seconds = seconds
        self._task = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        """Stop."""
        self._task.cancel()

    async def _run(self) -> None:
        while True:
            try:
                await self._sweep()
            except StorageFailed as error:
                _logger.warning("nothing expired was removed this time: %s", error)
            await asyncio.sleep(self._seconds)
