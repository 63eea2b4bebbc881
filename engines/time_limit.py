"""The time that a call may spend in an engine: its end is a stop that nobody has to ask for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from engines.errors import DeadlineExceeded, GenerationStopped


class TimedStop(threading.Event):
    """A stop flag that sets itself ``seconds`` after ``since`` (by `time.monotonic`), where any are given.

    Every look at the flag is a look at the clock, so a call that waits in the engine past its time is
    never begun, and one that runs ends at its next step.
    """

    def __init__(self, seconds: float | None, *, since: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._since = since

    def is_set(self) -> bool:
        """Whether the run is to end."""
        return super().is_set() or self._overdue

    @contextmanager
    def told_apart(self) -> Iterator[None]:
        """Say of a run that ended here whether its time was over.

        Raises:
            DeadlineExceeded: in the place of `GenerationStopped`.
        """
        try:
            yield
        except GenerationStopped as stopped:
            if self._seconds is None or super().is_set() or not self._overdue:
                raise
            doing = "drawing" if stopped.step else "waiting for its turn"
            raise DeadlineExceeded(self._seconds, doing, stopped.step or None) from stopped

    @property
    def _overdue(self) -> bool:
        return self._seconds is not None and time.monotonic() - self._since >= self._seconds
