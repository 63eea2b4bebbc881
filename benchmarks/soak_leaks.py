"""What the service's processes hold while it soaks: memory, files, threads, sockets, and how these grow."""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import psutil

from benchmarks.deployed import Deployed

LOOK_SECONDS: Final = 5.0
SETTLE_SHARE: Final = 0.33
"""Of a process's life that counts as its start, in which it may grow."""
SHORTEST_SECONDS: Final = 60.0
ROLES: Final = {
    "ServeReplica:gateway": "gateway",
    "ServeReplica:model-kept": "engine kept",
    "ServeReplica:model-": "engine",
    "ServeController": "controller",
    "ProxyActor": "proxy",
    "raylet/raylet": "raylet",
    "gcs_server": "gcs",
}


@dataclass(frozen=True)
class Look:
    """A process at one moment: its private memory in MB and what it has open."""

    seconds: float
    memory: float
    files: int
    threads: int
    sockets: int


class Leaks:
    """Looks at every process of a service every few seconds."""

    def __init__(self, service: Deployed) -> None:
        self._service = service
        self._started = time.monotonic()
        self._seen: dict[tuple[str, int], list[Look]] = {}

    async def watch(self) -> None:
        """Go on until cancelled."""
        while True:
            await asyncio.to_thread(self._look)
            await asyncio.sleep(LOOK_SECONDS)

    def table(self) -> str:
        """Of each role the process that lived longest: first and last, and the growth once it had settled."""
        rows = ["process        lived s   MB first > last   MB/min   files   threads   sockets   processes"]
        for role in dict.fromkeys(ROLES.values()):
            lives = [looks for (name, _), looks in self._seen.items() if name == role]
            if not lives:
                continue
            looks = max(lives, key=lambda each: each[-1].seconds - each[0].seconds)
            lived = looks[-1].seconds - looks[0].seconds
            settled = looks[int(SETTLE_SHARE * len(looks)) :]
            slope = f"{_slope(settled):8.2f}" if lived > SHORTEST_SECONDS else "       -"
            first, last = settled[0], looks[-1]
            rows.append(
                f"{role:13} {lived:8.0f} {first.memory:8.0f} > {last.memory:5.0f} {slope}"
                f" {first.files:4} > {last.files:<4} {first.threads:3} > {last.threads:<3}"
                f" {first.sockets:3} > {last.sockets:<3} {len(lives):6}"
            )
        return "\n".join(rows)

    def _look(self) -> None:
        now = time.monotonic() - self._started
        for process in list(self._service.processes()):
            with suppress(psutil.Error):
                line = " ".join(process.cmdline())
                role = next((role for title, role in ROLES.items() if title in line), None)
                if role is not None:
                    look = Look(
                        now,
                        process.memory_full_info().uss / 2**20,
                        process.num_fds(),
                        process.num_threads(),
                        len(process.net_connections("inet")),
                    )
                    self._seen.setdefault((role, process.pid), []).append(look)


def _slope(looks: list[Look]) -> float:
    """Growth of the memory in MB a minute, by least squares."""
    line = statistics.linear_regression([look.seconds for look in looks], [look.memory for look in looks])
    return 60 * line.slope
