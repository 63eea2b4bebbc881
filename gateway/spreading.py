"""A gateway on every node: the scaling policy of the gateway's deployment.

Runs in Serve's controller. Nodes come and go; Serve has no "one on each", only "at most one on each" and a
number, which is this policy's to say.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import ray

LOOK_SECONDS: Final = 2.0
MOST_NODES: Final = 1000

Nodes = Callable[[], Iterable[Mapping[str, Any]]]


class EveryNode:
    """Asks for as many replicas as the cluster has living nodes, which `nodes` lists (`ray.nodes`)."""

    def __init__(self, nodes: Nodes = ray.nodes) -> None:
        self._nodes = nodes
        self._seen = 1
        self._next_look = 0.0

    def __call__(self, _context: Any) -> tuple[int, dict[str, Any]]:
        """The policy as Ray Serve calls it: the number of replicas, and no state."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self._seen = sum(1 for node in self._nodes() if node["Alive"])
        return max(1, self._seen), {}
