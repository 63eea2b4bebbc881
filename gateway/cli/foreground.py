"""Staying in the foreground, for a supervisor or a container."""

from __future__ import annotations

import signal
import threading
from typing import Final

from gateway.control import Control
from gateway.problems import ClusterFailed

LOOK_SECONDS: Final = 1.0


def stay(control: Control) -> None:
    """Wait for SIGINT or SIGTERM, then stop the service.

    Raises:
        ClusterFailed: the cluster ended by itself; starting again brings everything back.
    """
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    while not asked.wait(LOOK_SECONDS):
        if not control.is_up():
            raise ClusterFailed("the Ray cluster has ended; start again to bring everything back")
    control.stop()
