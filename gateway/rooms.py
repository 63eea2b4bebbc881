"""The nodes of the Ray cluster as `gateway.placement` sees them: their resources and their memory."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from engines.gpu_memory import gpu_memory_bytes
from gateway.needs import GIGABYTE
from gateway.placement import GPU_MEMORY, HOST_MEMORY, Room

_logger = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS: Final = 5.0
ASK_SECONDS: Final = 20.0
"""How long a node may take to tell how much memory its GPU has."""
UNKNOWN: Final = float(2**62)
"""The memory of a GPU that does not tell: as good as endless, so that Ray alone decides."""
_COUNTED_ELSEWHERE: Final = ("node:", "memory", "object_store_memory", "accelerator_type:")


class Rooms:
    """Looks at the cluster, not more often than every few seconds.

    ``gpu_share`` is the part of a GPU's memory that engines may fill, ``host_memory_gb`` what they may
    take of each node's memory (``None``: what Ray found there).
    """

    def __init__(self, *, gpu_share: float, host_memory_gb: float | None) -> None:
        self._gpu_share = gpu_share
        self._host_memory_gb = host_memory_gb
        self._rooms: tuple[Room, ...] = ()
        self._looked_at = -LOOK_AGAIN_SECONDS
        self._gpu_memory: dict[str, float] = {}
        self._looking: asyncio.Task[None] | None = None

    async def survey(self) -> Sequence[Room]:
        """The nodes as last seen; only the first look is waited for."""
        if self._looking is None and time.monotonic() - self._looked_at >= LOOK_AGAIN_SECONDS:
            self._looking = asyncio.create_task(self._look())
        if self._looking is not None and not self._rooms:
            await asyncio.shield(self._looking)
        return self._rooms

    async def _look(self) -> None:
        try:
            self._rooms = await asyncio.to_thread(self._read)
        except ray.exceptions.RayError as error:
            _logger.warning("the cluster's nodes cannot be seen: %s", error)
        finally:
            self._looked_at = time.monotonic()
            self._looking = None

    def _read(self) -> tuple[Room, ...]:
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        return tuple(self._room(node["NodeID"], node["Resources"]) for node in nodes if node["Alive"])

    def _room(self, name: str, resources: Mapping[str, float]) -> Room:
        amounts = {
            resource: amount
            for resource, amount in resources.items()
            if not resource.startswith(_COUNTED_ELSEWHERE)
        }
        given = self._host_memory_gb
        amounts[HOST_MEMORY] = resources.get("memory", 0.0) if given is None else given * GIGABYTE
        if resources.get("GPU", 0.0) > 0:
            amounts[GPU_MEMORY] = self._gpu_share * self._memory_of_gpu(name) * resources["GPU"]
        return Room(name, amounts)

    def _memory_of_gpu(self, node: str) -> float:
        found = self._gpu_memory.get(node) or _asked(node)
        if found is None:
            return UNKNOWN
        self._gpu_memory[node] = found
        return found


def _asked(node: str) -> float | None:
    """Ask a node for the memory of its first GPU, by a task there; ``None`` where it does not tell."""
    here = NodeAffinitySchedulingStrategy(node, soft=False)
    task = ray.remote(num_cpus=0)(gpu_memory_bytes).options(scheduling_strategy=here)
    try:
        found = ray.get(task.remote(), timeout=ASK_SECONDS)
    except ray.exceptions.RayError as error:
        _logger.warning("node %s does not tell the memory of its GPU: %s", node, error)
        return None
    return None if found is None else float(found)
