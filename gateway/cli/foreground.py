"""Staying in the foreground, for a supervisor or a container."""

from __future__ import annotations

import signal
import threading
from typing import Final, Protocol

from gateway.problems import ClusterFailed

LOOK_SECONDS: Final = 1.0


class Running(Protocol):
    """What runs on this machine: a service, or a node of another one's."""

    def is_up(self) -> bool:
        """Whether it still runs."""

    def stop(self) -> bool:
        """End it, and say whether there was anything to end."""


def stay(running: Running) -> None:
    """Wait for SIGINT or SIGTERM, then stop what runs.

    Raises:
        ClusterFailed: the cluster ended by itself; starting again brings everything back.
    """
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    while not asked.wait(LOOK_SECONDS):
        if not running.is_up():
            raise ClusterFailed("Ray has ended on this machine; start again to bring everything back")
    running.stop()
