"""How far a download is, counted over all its files."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

from engines.schema import Frozen

_SECONDS_BETWEEN: Final = 0.1


class DownloadProgress(Frozen):
    """The file that last moved, and bytes over all files of the model, those already there included."""

    file: str
    bytes_done: int
    bytes_total: int


class Meter:
    """Counts bytes from several threads and reports about ten times a second, and at the end.

    Reports come one at a time, from whichever thread moved.
    """

    def __init__(self, report: Callable[[DownloadProgress], None], total: int) -> None:
        self._report = report
        self._total = total
        self._lock = threading.Lock()
        self._there: dict[tuple[str, str], int] = {}
        self._done = 0
        self._reported_at = 0.0

    def of(self, repository: str) -> Callable[[str, int], None]:
        """What is to be told how many bytes of a file of this repository are there."""
        return lambda file, count: self._put((repository, file), count)

    def _put(self, file: tuple[str, str], count: int) -> None:
        with self._lock:
            self._done += count - self._there.get(file, 0)
            self._there[file] = count
            now = time.monotonic()
            if self._done == self._total or now - self._reported_at >= _SECONDS_BETWEEN:
                self._reported_at = now
                now_there = DownloadProgress(file=file[1], bytes_done=self._done, bytes_total=self._total)
                self._report(now_there)
