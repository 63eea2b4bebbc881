"""An engine's process that ends by itself when nothing in it can move any more.

Native code that hangs with Python's lock in its hands (a mapped file on a dead network drive, a driver that
does not return) stops every thread. Serve gives such a replica up after three health checks, but its process
cannot even be told to end: it stays, with its GPU memory, and its callers wait for ever (Ray 2.60, seen). The
timer of `faulthandler` needs no lock, and ends it.
"""

from __future__ import annotations

import asyncio
import faulthandler
from typing import Final

LIMIT_SECONDS: Final = 120.0
"""Three times what Serve waits before it gives a replica up."""
_BEATS: Final = 10
"""Within the limit."""
_STDERR: Final = 2


class Heartbeat:
    """Ends the process, with a trace of its threads, when the loop stands still for ``limit`` seconds."""

    def __init__(self, limit: float = LIMIT_SECONDS) -> None:
        self._limit = limit
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the running loop; once is enough."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._beat())

    def stop(self) -> None:
        """End the watch."""
        if self._task is not None:
            self._task.cancel()
            faulthandler.cancel_dump_traceback_later()

    async def _beat(self) -> None:
        while True:
            faulthandler.dump_traceback_later(self._limit, exit=True, file=_STDERR)
            await asyncio.sleep(self._limit / _BEATS)
