"""Workers that wait for an engine with everything imported, so that a wake need not.

Ray starts a worker for a task that finds none; a task that is cancelled meanwhile leaves the worker
behind, idle and never used, and the next engine is given it. How many there are is told by the
processes of the nodes: Ray itself promises nothing about idle workers. Without a spare a wake takes
the seconds that a process and its imports need; nothing else depends on them.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from engines.marking import is_marked, marked
from gateway.ray_node import PRELOAD_VARIABLE, PRELOADED

_logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 30.0
"""How often it is looked whether the spares are still there: Ray ends idle workers as it likes."""
REST_SECONDS: Final = 0.5
"""How often it is looked whether loads have ended."""
APPEAR_SECONDS: Final = 10.0
"""How long a worker's process may take to appear."""
LOOK_AGAIN_SECONDS: Final = 0.05
ANSWER_SECONDS: Final = 10.0
"""How long another node may take to count its spares."""
IDLE: Final = "ray::IDLE"

_one_at_a_time = threading.Lock()


class Spares:
    """Keeps ``count`` spare workers ready on every node that engines run on; Ray may start one more.

    ``resting`` says whether no model is being loaded; spares are started only then.
    """

    def __init__(self, count: int, *, resting: Callable[[], bool]) -> None:
        self._count = count
        self._resting = resting
        self._asked = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to keep spares, in the running event loop.

        A cluster that was started without the preloading has no use for them.
        """
        if self._count and preloads(os.environ) and self._keeping is None:
            self._asked.set()
            self._keeping = asyncio.create_task(self._keep())

    def refill(self) -> None:
        """Say that a spare may have been used: it is replaced as soon as nothing is being loaded."""
        self._asked.set()

    def close(self) -> None:
        """Keep no more; the spares there are stay until the next engines."""
        if self._keeping is not None:
            self._keeping.cancel()
            self._keeping = None

    async def _keep(self) -> None:
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), LOOK_SECONDS)
            self._asked.clear()
            while not self._resting():
                await asyncio.sleep(REST_SECONDS)
            try:
                await asyncio.to_thread(self._fill)
            except Exception:  # the outer edge: without spares wakes are slower, and it is looked again
                _logger.exception("no spare engine could be started")

    def _fill(self) -> None:
        # What was closed may still be at it, in its thread: both would start what is lacking.
        with _one_at_a_time:
            self._fill_nodes()

    def _fill_nodes(self) -> None:
        here = ray.get_runtime_context().get_node_id()
        for node in nodes_for_engines(ray.nodes()):  # type: ignore[no-untyped-call]
            count = count_spares if node == here else functools.partial(_count_on, node)
            for there in range(count(), self._count):
                _leave_a_worker(node, count, there)


def preloads(environment: Mapping[str, str]) -> bool:
    """Whether workers of a node with this environment import an engine's libraries ahead."""
    return PRELOADED in environment.get(PRELOAD_VARIABLE, "").split(",")


def nodes_for_engines(nodes: Iterable[Mapping[str, Any]]) -> list[str]:
    """The ids of the living nodes (as `ray.nodes` lists them) that engines run on: those with a GPU, or
    all where no node has one."""
    alive = [node for node in nodes if node["Alive"]]
    with_gpu = [node for node in alive if node["Resources"].get("GPU")]
    return [str(node["NodeID"]) for node in with_gpu or alive]


def count_spares() -> int:
    """How many spares the node of this process has."""
    node = psutil.Process().parent()
    return 0 if node is None else spares_of(node)


def spares_of(node: psutil.Process) -> int:
    """How many spares a node's raylet has, those included that still import."""
    return sum(_is_spare(process) for process in node.children())


def _is_spare(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        if is_marked(process.environ()):
            # A worker is called after what it runs; before it has a name it is about to be a spare.
            name = process.cmdline()[0].strip()
            return name == IDLE or not name.startswith("ray::")
    return False


def _on(node: str) -> dict[str, Any]:
    strategy = NodeAffinitySchedulingStrategy(node, soft=False)
    return {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": strategy}


def _count_on(node: str) -> int:
    count: int = ray.get(ray.remote(count_spares).options(**_on(node)).remote(), timeout=ANSWER_SECONDS)
    return count


def _leave_a_worker(node: str, count: Callable[[], int], before: int) -> None:
    task: Any = ray.remote(max_calls=1)(_never_run)
    never = task.options(**_on(node), runtime_env=marked({})).remote()
    deadline = time.monotonic() + APPEAR_SECONDS
    while time.monotonic() < deadline and count() <= before:
        time.sleep(LOOK_AGAIN_SECONDS)
    # The process has just appeared: it is far from ready to run anything.
    ray.cancel(never)


def _never_run() -> None:
    """Cancelled before there is a worker for it."""
