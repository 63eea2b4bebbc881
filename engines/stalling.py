"""A load that no longer moves, told from one that is slow."""

from __future__ import annotations

import time
from typing import Final

import psutil

from engines.calls import LoadPhase, LoadProgress

_LOOKS: Final = 4
"""How often one looks within the time that a load may stand still."""
_READ_BYTES: Final = 2**20
"""Bytes from the disk that are progress: a slow disk reads one component for minutes."""


class Stall:
    """Tells when a load has reported nothing, and read nothing, for ``limit`` seconds."""

    def __init__(self, limit: float) -> None:
        self.patience = limit / _LOOKS
        """Seconds after which to look again."""
        self._limit = limit
        self._moved_at = time.monotonic()
        self._report: LoadProgress | None = None
        self._read = 0

    def lasts(self, report: LoadProgress) -> bool:
        """Take the latest report; says whether the load stands still for longer than it may."""
        now, read = time.monotonic(), bytes_read()
        if report is not self._report or read - self._read >= _READ_BYTES:
            self._moved_at, self._report, self._read = now, report, read
        return now - self._moved_at >= self._limit

    def described(self, report: LoadProgress) -> str:
        """Where it stands still, in words."""
        part = f" the component {report.component}" if report.component else ""
        doing = _DOING.get(report.phase, report.phase.value)
        return f"no progress for {self._limit:g} s while {doing}{part}"


_DOING: Final = {
    LoadPhase.STARTING: "starting",
    LoadPhase.IMPORTING: "importing torch and diffusers, or looking for the model's files",
    LoadPhase.DOWNLOADING: "downloading",
    LoadPhase.CONVERTING: "converting",
    LoadPhase.LOADING: "loading",
    LoadPhase.WARMING_UP: "drawing the picture to warm up with",
}


def bytes_read() -> int:
    """Bytes that this process has had read from storage; 0 where the system does not count them."""
    counters = getattr(psutil.Process(), "io_counters", None)
    try:
        return 0 if counters is None else int(counters().read_bytes)
    except (psutil.Error, OSError):
        return 0
