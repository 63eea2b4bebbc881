"""When an engine's replicas come and go: a pure decision, and its adapter to Ray Serve.

Runs in Serve's controller, so it imports neither torch nor diffusers. Serve's own policy would keep
a sleeping model asleep for ten seconds after its second waking (it averages over old zeros); with
the settings in `engines.replica` and this policy the constructor runs after 1.2 s.
"""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

SETTLE_SECONDS: Final = 15.0
"""How long the load must have been lower before a replica of several is given up."""


@dataclass(frozen=True)
class Load:
    """What is known at one look: requests queued and running, replicas, who asked to leave."""

    requests: float
    replicas: int
    target: int
    leaving: bool


def decide(
    load: Load, *, idle_seconds: float, idle_limit: float, per_replica: float, recent_need: int
) -> int:
    """Say how many replicas there should be.

    ``idle_seconds`` is how long no request was seen, ``idle_limit`` how long a model may idle,
    ``recent_need`` the most replicas needed within `SETTLE_SECONDS`. Zero is never asked for while
    requests are counted: Serve would start a replica for them at once.
    """
    if load.replicas == 0:
        return load.target
    if load.requests > 0:
        return max(1, math.ceil(load.requests / per_replica), recent_need)
    if load.leaving or idle_seconds > idle_limit:
        return 0
    return max(1, recent_need)


class ReleasePolicy:
    """Serve's autoscaling policy for an engine: `decide` with a memory.

    Source of the hooks: Ray Serve's ``AutoscalingPolicy`` (a class is built once with
    ``policy_kwargs``) and ``record_autoscaling_stats``.
    """

    def __init__(self, idle_seconds: float = 300.0) -> None:
        self._idle_limit = idle_seconds
        self._last_busy = time.monotonic()
        self._needs: deque[tuple[float, int]] = deque()

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        now = time.monotonic()
        per_replica = context.config.get_target_ongoing_requests()
        load = Load(
            requests=context.total_num_requests,
            replicas=context.current_num_replicas,
            target=context.target_num_replicas,
            leaving=_asked_to_leave(context.raw_metrics),
        )
        if load.requests > 0 or load.replicas == 0:
            self._last_busy = now
        wanted = decide(
            load,
            idle_seconds=now - self._last_busy,
            idle_limit=self._idle_limit,
            per_replica=per_replica,
            recent_need=self._recent_need(now, load, per_replica),
        )
        return wanted, {}

    def _recent_need(self, now: float, load: Load, per_replica: float) -> int:
        self._needs.append((now, math.ceil(load.requests / per_replica)))
        while self._needs and now - self._needs[0][0] > SETTLE_SECONDS:
            self._needs.popleft()
        return max(need for _, need in self._needs)


def _asked_to_leave(raw_metrics: Any) -> bool:
    series = raw_metrics.get("leaving", {}).values()
    return any(points and points[-1].value > 0 for points in series)
