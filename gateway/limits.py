"""The limits of what a client may send."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How much a client may send (bytes), how large a file may be, how long (seconds) it may pause."""

    body: int
    file: int
    pause: float
