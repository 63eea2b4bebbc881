"""Minutes of mixed traffic with wakes, swaps, cancels and faults; what is lost, doubled or leaked is told.

    .venv/bin/python -m benchmarks.soak [--minutes 10] [--callers 4] [--fault-seconds 40] [--seed 1]

Deploys the demo model three times in a state folder of its own, with memory for two of them: one is kept
warm, the other two share what is left. Callers draw, edit, stream, submit jobs, repeat themselves, run into
deadlines, leave in the middle, stop their own requests and send nonsense. Meanwhile engines, the gateway and
Serve's controller are killed. Ends with 1 where anything was lost or doubled.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time

import httpx2

from benchmarks.deployed import Deployed, deployed
from benchmarks.soak_leaks import Leaks
from benchmarks.soak_traffic import Tally, Traffic

MODELS = {"kept": ("--keep-warm",), "first": (), "second": ()}
NEED_GB = 1.0
ROOM_GB = 2.5
"""For the one that is kept and one of the others."""
VICTIMS = (
    "ServeReplica:model-first",
    "ServeReplica:gateway",
    "ServeReplica:model-kept",
    "ServeController",
    "ServeReplica:model-second",
)


async def main() -> int:
    parser = argparse.ArgumentParser(description="Let the service run under traffic and faults.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--callers", type=int, default=4)
    parser.add_argument("--fault-seconds", type=float, default=40.0, help="between two kills; 0: none")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with deployed(
        Deployed, KANDINSKY_HOST_MEMORY_GB=str(ROOM_GB), KANDINSKY_SWAP_PATIENCE_SECONDS="10"
    ) as service:
        for name, options in MODELS.items():
            service.command(
                "deploy", "--model-name", name, "--threads", "1", "--memory-gb", str(NEED_GB),
                "--idle-seconds", "60", *options,
            )  # fmt: skip
        return await soak(service, given)


async def soak(service: Deployed, given: argparse.Namespace) -> int:
    tally, leaks = Tally(), Leaks(service)
    until = time.monotonic() + 60 * given.minutes
    async with httpx2.AsyncClient(base_url=service.url, timeout=300) as client:
        traffic = [
            Traffic(client, tally, random.Random(given.seed + number), tuple(MODELS)).run(until)
            for number in range(given.callers)
        ]
        watching = asyncio.create_task(leaks.watch())
        killing = asyncio.create_task(kill(service, given.fault_seconds, tally))
        await asyncio.gather(*traffic)
        killing.cancel()
        watching.cancel()
        await asyncio.gather(killing, watching, return_exceptions=True)
    print(tally.table())
    print(leaks.table())
    return 1 if tally.faults else 0


async def kill(service: Deployed, seconds: float, tally: Tally) -> None:
    """Kill one process after another, each where it happens to be at its work."""
    number = 0
    while seconds:
        await asyncio.sleep(seconds)
        title = VICTIMS[number % len(VICTIMS)]
        number += 1
        for process in service.processes(title):
            process.kill()
            tally.killed(title)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
