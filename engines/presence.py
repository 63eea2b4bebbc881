"""Which replicas of which engine are running, known inside every process that calls one.

Serve pushes the set of running replicas to each handle's request router. `PresenceRouter` is the
stock router that also writes the set down here, so that "is this model awake?" is a dictionary
look-up (50 ns) instead of a call to the controller. ``handle.running_replicas_populated()`` cannot
answer it: it stays true after a model has gone to sleep.

The base class has no public path in Ray 2.60; it is the only private import of this project.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter

Listener = Callable[[str, frozenset[str]], None]

_running: dict[str, frozenset[str]] = {}
_listeners: list[Listener] = []


def running(application: str) -> frozenset[str]:
    """Ids of the running replicas of a Serve application, as last told by the controller."""
    return _running.get(application, frozenset())


def listen(listener: Listener) -> Callable[[], None]:
    """Call ``listener(application, replica_ids)`` at every change, from the router's thread.

    Returns a function that ends the subscription.
    """
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)


def publish(application: str, replicas: frozenset[str]) -> None:
    """Write down which replicas run, and tell the listeners if that is news."""
    if _running.get(application, frozenset()) == replicas:
        return
    _running[application] = replicas
    for listener in tuple(_listeners):
        listener(application, replicas)


class PresenceRouter(PowerOfTwoChoicesRequestRouter):
    """Serve's default router, which also records the running replicas."""

    def update_replicas(self, replicas: Any) -> None:
        super().update_replicas(replicas)
        self._record()

    def on_replica_actor_died(self, replica_id: Any) -> None:
        super().on_replica_actor_died(replica_id)
        self._record()

    def _record(self) -> None:
        # Serve sends this class by value, with globals of its own; the import finds the one module
        # that the rest of the process reads.
        from engines import presence

        replicas = frozenset(replica.unique_id for replica in self.curr_replicas)
        presence.publish(self._deployment_id.app_name, replicas)
