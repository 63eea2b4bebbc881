"""When an engine's replicas come and go: a pure decision, and its adapter to Ray Serve.

Runs in Serve's controller, so it imports neither torch nor diffusers. Serve's own policy would keep
a sleeping model asleep for ten seconds after its second waking (it averages over old zeros); with
the settings in `engines.deployment` and this policy it has a process after half a second.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

SETTLE_SECONDS: Final = 15.0
"""How long the load must have been lower before a replica of several is given up."""
START_SECONDS: Final = 30.0
"""After this long a replica that is not there is taken to wait for room."""
LOOK_SECONDS: Final = 1.0
"""How often it is looked whether there is room."""
GIVE_UP_SECONDS: Final = 5.0
"""After this long a start that nobody waits for is given up: Serve repeats one that fails for ever."""
PAUSE_SECONDS: Final = 60.0
"""For how long no replica is added after one of several has failed."""


@dataclass(frozen=True)
class Load:
    """What is known at one look: requests queued and running, replicas, how many of these leave."""

    requests: float
    replicas: int
    target: int
    leaving: int = 0


def decide(
    load: Load,
    *,
    idle_seconds: float,
    idle_limit: float,
    per_replica: float,
    recent_need: int,
    most: float = math.inf,
) -> int:
    """Say how many replicas there should be.

    ``idle_seconds`` is how long no request was seen, ``idle_limit`` how long a model may idle,
    ``recent_need`` the most replicas needed within `SETTLE_SECONDS`, ``most`` how many there can be. Zero
    is never asked for while requests are counted: Serve would start a replica for them at once.
    """
    if load.replicas == 0:
        return load.target if load.requests > 0 or idle_seconds < GIVE_UP_SECONDS else 0
    if load.requests == 0 and (load.leaving or idle_seconds > idle_limit):
        return 0
    return max(1, int(min(max(math.ceil(load.requests / per_replica), recent_need), most)))


def has_room(reserved: Mapping[str, float], available: Mapping[str, float]) -> bool:
    """Whether what a replica reserves is there."""
    return all(available.get(name, 0.0) >= amount for name, amount in reserved.items() if amount)


class Growth:
    """How many replicas a model can have: those that work, and more where there is room.

    ``reserved`` is what a replica reserves, ``available`` looks at what nobody has. A replica that found no
    room would wait for it in front of every other model, so none is asked for; one that waits all the
    same (others were faster) is given up. One of several that failed is let go, and for a while none
    takes its place.
    """

    def __init__(self, reserved: Mapping[str, float], available: Callable[[], Mapping[str, float]]) -> None:
        self._reserved = reserved
        self._available = available
        self._paused_until = -math.inf
        self._complete_at = -math.inf
        self._looked_at = -math.inf
        self._room = True

    def most(self, load: Load, needed: int, now: float) -> float:
        """The number of replicas not to be exceeded where ``needed`` are wanted; ``now`` in seconds of a
        steady clock."""
        if load.target <= load.replicas:
            self._complete_at = now
        staying = load.replicas - load.leaving
        if load.leaving and staying:
            self._paused_until = now + PAUSE_SECONDS
        if load.leaving or now < self._paused_until:
            return staying or load.replicas
        waits = now - self._complete_at > START_SECONDS
        if needed <= load.replicas or (needed <= load.target and not waits) or self._has_room(now):
            return math.inf
        return load.replicas if waits else max(load.target, load.replicas)

    def _has_room(self, now: float) -> bool:
        if now - self._looked_at > LOOK_SECONDS:
            self._looked_at = now
            self._room = has_room(self._reserved, self._available())
        return self._room


class ReleasePolicy:
    """Serve's autoscaling policy for an engine: `decide` with a memory.

    ``reserved`` are the cluster's resources that a replica takes, by name. Source of the hooks: Ray Serve's
    ``AutoscalingPolicy`` (a class is built once with ``policy_kwargs``) and ``record_autoscaling_stats``.
    """

    def __init__(
        self, idle_seconds: float | None = 300.0, reserved: Mapping[str, float] | None = None
    ) -> None:
        # Without a limit the model is kept warm: only who tells it to leave sends it to sleep.
        self._idle_limit = math.inf if idle_seconds is None else idle_seconds
        self._growth = Growth(reserved or {}, _available_resources)
        self._last_busy = time.monotonic()
        self._needs: deque[tuple[float, int]] = deque()

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        now = time.monotonic()
        per_replica = context.config.get_target_ongoing_requests()
        load = Load(
            requests=context.total_num_requests,
            replicas=context.current_num_replicas,
            target=context.target_num_replicas,
            leaving=_leaving(context.raw_metrics),
        )
        if load.requests > 0 or load.target == 0:
            self._last_busy = now
        recent_need = self._recent_need(now, load, per_replica)
        wanted = decide(
            load,
            idle_seconds=now - self._last_busy,
            idle_limit=self._idle_limit,
            per_replica=per_replica,
            recent_need=recent_need,
            most=self._growth.most(load, recent_need, now),
        )
        return wanted, {}

    def _recent_need(self, now: float, load: Load, per_replica: float) -> int:
        self._needs.append((now, math.ceil(load.requests / per_replica)))
        while self._needs and now - self._needs[0][0] > SETTLE_SECONDS:
            self._needs.popleft()
        return max(need for _, need in self._needs)


def _leaving(raw_metrics: Any) -> int:
    series = raw_metrics.get("leaving", {}).values()
    return sum(1 for points in series if points and points[-1].value > 0)


def _available_resources() -> Mapping[str, float]:
    import ray  # the decision itself needs none

    available: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
    return available
