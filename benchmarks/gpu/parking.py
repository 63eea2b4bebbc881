"""A model set aside in the host's memory and brought back, beside a fresh load.

``python -m benchmarks.gpu.parking FOLDER [--edge 1024] [--steps 4] [--repeats 3]`` checks that the GPU's
memory is free meanwhile, and that the pictures stay the same.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

import psutil
import torch

from benchmarks.gpu.driven import Driven, used
from benchmarks.gpu.findings import Findings, gib
from engines.metrics import resident


async def measure(folder: Path, findings: Findings, *, edge: int, steps: int, repeats: int) -> None:
    """Park and come back, again and again; the last time by a call for a picture."""
    driven = Driven(folder, edge=edge, steps=steps, device="cuda", warm_up=True)
    _, seconds = await driven.load()
    first = await driven.draw()
    findings.figure("load with a warm page cache", f"{seconds:.2f} s")
    findings.figure("host memory: resident, available", _host())
    for _ in range(repeats):
        before, started = used() or 0, time.perf_counter()
        parked = await driven.engine.park()
        there = time.perf_counter() - started
        meanwhile = used() or 0
        findings.check(
            "parked",
            f"{there:.2f} s, {_rate(driven, there)}; GPU {gib(before)} to {gib(meanwhile)}",
            parked and before - meanwhile > 0.95 * driven.card.size,
        )
        findings.figure("left to torch; host memory", f"{gib(torch.cuda.memory_reserved())}; {_host()}")
        _, back = await driven.load()
        findings.check(
            "came back",
            f"{back:.2f} s, {_rate(driven, back)}, a load is {seconds / back:.1f} times that",
            back < seconds,
        )
        again = await driven.draw()
        findings.check(
            "the picture after that", f"{again.digest}, {again.seconds:.2f} s", again.digest == first.digest
        )
    parked = await driven.engine.park()
    again = await driven.draw()
    findings.check(
        "a picture asked of a parked engine",
        f"{again.digest}, {again.seconds:.2f} s",
        parked and again.digest == first.digest,
    )
    findings.check(
        "its metrics",
        f"load {again.result.metrics.load_seconds:.2f} s",
        again.result.metrics.load_seconds > 0,
    )
    findings.figure("host memory at the end", _host())


def _rate(driven: Driven, seconds: float) -> str:
    return f"{driven.card.size / seconds / 1e9:.1f} GB/s"


def _host() -> str:
    return f"{gib(resident())}, {gib(psutil.virtual_memory().available)}"


def main() -> None:
    """Measure, check and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--edge", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    with Findings(f"parking: {given.folder.name}") as findings:
        asyncio.run(
            measure(given.folder, findings, edge=given.edge, steps=given.steps, repeats=given.repeats)
        )


if __name__ == "__main__":
    main()
