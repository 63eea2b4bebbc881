"""Which replicas of which engine are running, known inside every process that calls one.

Serve pushes the set of running replicas to each handle's request router. `PresenceRouter` is the
stock router that also writes the set down here, so that "is this model awake?" is a dictionary
look-up (50 ns) instead of a call to the controller. ``handle.running_replicas_populated()`` cannot
answer it: it stays true after a model has gone to sleep.

With several replicas a call goes to one that is loaded (`engines.standing`): Serve counts a replica as
running as soon as its constructor has returned, and a call that was sent to one that still loads would
wait while another idles.

The base class has no public path in Ray 2.60; it is the only private import of this project.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from ray.serve._private.request_router.pow_2_router import PowerOfTwoChoicesRequestRouter

Listener = Callable[[str, frozenset[str]], None]

_running: dict[str, Mapping[str, str]] = {}
"""Of each application the nodes of its running replicas, by the replicas' ids."""
_listeners: list[Listener] = []


def running(application: str) -> frozenset[str]:
    """Ids of the running replicas of a Serve application, as last told by the controller."""
    return frozenset(_running.get(application, ()))


def nodes(application: str) -> tuple[str, ...]:
    """Ids of the nodes of the running replicas, one for each replica."""
    return tuple(_running.get(application, {}).values())


def listen(listener: Listener) -> Callable[[], None]:
    """Call ``listener(application, replica_ids)`` at every change, from the router's thread.

    Returns a function that ends the subscription.
    """
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)


def publish(application: str, replicas: Mapping[str, str]) -> None:
    """Write down which replicas run, on which nodes, and tell the listeners if that is news."""
    if _running.get(application, {}) == replicas:
        return
    _running[application] = replicas
    for listener in tuple(_listeners):
        listener(application, frozenset(replicas))


class PresenceRouter(PowerOfTwoChoicesRequestRouter):
    """Serve's default router, which also records the running replicas, and prefers the loaded ones."""

    # Serve sends this class by value, with globals of its own; the imports inside find the one module
    # that the rest of the process reads.

    def initialize_state(self, **_: Any) -> None:
        """Called by Serve before anything else; the eldest replica comes first."""
        self._by_age: list[Any] = []

    def update_replicas(self, replicas: Any) -> None:
        super().update_replicas(replicas)
        self._record()

    def on_replica_actor_died(self, replica_id: Any) -> None:
        super().on_replica_actor_died(replica_id)
        self._record()

    async def choose_replicas(self, candidate_replicas: Any, pending_request: Any = None) -> Any:
        """At most two of the replicas that are preferred, of which Serve takes the one with the shorter
        queue."""
        if len(candidate_replicas) > 1:
            from engines.standing import STANDING, Standing, preferred

            running = self.curr_replicas
            stats = ((each, running[each].routing_stats) for each in self._by_age if each in running)
            chosen = preferred(
                (running[each], Standing(told.get(STANDING, Standing.LOADING))) for each, told in stats
            )
            if len(chosen) < len(running):
                if pending_request is not None:
                    pending_request.routing_context.should_backoff = True
                return [random.sample(chosen, min(2, len(chosen)))]
        return await super().choose_replicas(candidate_replicas, pending_request)

    def _record(self) -> None:
        from engines import presence

        running = self.curr_replicas
        self._by_age = [each for each in self._by_age if each in running]
        self._by_age += [each for each in running if each not in self._by_age]
        replicas = {replica.unique_id: told.node_id or "" for replica, told in running.items()}
        presence.publish(self._deployment_id.app_name, replicas)
