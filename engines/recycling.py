"""When an engine had better start anew in a fresh process."""

from __future__ import annotations

import logging
from typing import Final

from engines.errors import DeviceFailed, EngineFault, OutOfMemory

_logger = logging.getLogger(__name__)

MOST_IN_A_ROW: Final = 2
"""Calls without memory, with none between that was drawn, after which a fresh process takes over."""


class Recycling:
    """Watches how an engine's calls end; written in the pipeline's thread, read from any."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._exhausted = 0
        self._reason: str | None = None

    @property
    def due(self) -> bool:
        """Whether the engine is to leave: nothing more is to be drawn in this process."""
        return self._reason is not None

    def drawn(self) -> None:
        """A call was drawn to its end."""
        self._exhausted = 0

    def failed(self, error: EngineFault, *, given_back: bool) -> None:
        """A call has failed; ``given_back`` says whether its memory is free again."""
        if isinstance(error, DeviceFailed):
            self._demand("its GPU computes nothing more")
        elif isinstance(error, OutOfMemory):
            self._exhausted += 1
            if not given_back:
                self._demand("it ran out of memory, and did not get it back")
            elif self._exhausted >= MOST_IN_A_ROW:
                self._demand(f"it ran out of memory {self._exhausted} times in a row")

    def _demand(self, reason: str) -> None:
        self._reason = reason
        _logger.warning("%s: a new engine is to take over, because %s", self._model, reason)
