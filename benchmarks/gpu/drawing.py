"""A model's load and its first pictures on a GPU: times, metrics, exactness, the end on request.

``python -m benchmarks.gpu.drawing FOLDER [--edge 1024] [--steps 20] [--warm-up]`` loads the model into an
engine of its own process, without Ray. What must hold is checked: the second picture equals the first and the
plain pipeline's, bit for bit; every figure about the GPU is there; a caller who leaves ends the drawing
within about a step, and the next picture is the same.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from contextlib import aclosing
from pathlib import Path
from typing import Final

from benchmarks.gpu.driven import Driven, device, emptied, stock, used, waited
from benchmarks.gpu.findings import Findings, gib
from engines.calls import ComputeMetrics, StepProgress

_STOP_AFTER: Final = 5
_MEGABYTE: Final = 2**20


async def measure(folder: Path, findings: Findings, *, edge: int, steps: int, warm_up: bool) -> None:
    """Do it all with one engine."""
    before = used()
    driven = Driven(folder, edge=edge, steps=steps, device=device(), warm_up=warm_up)
    ready, seconds = await driven.load()
    findings.figure("load", f"{seconds:.2f} s, of {gib(driven.card.size)}; {ready.note or 'no note'}")
    if before is not None:
        _check_need(findings, ready.memory_bytes, (used() or 0) - before)
    findings.figure(
        "its phases began at", ", ".join(f"{each} {at:.2f}" for each, at in driven.phases.items())
    )
    (first, ways), (second, _), (third, later) = [await driven.timed() for _ in range(3)]
    findings.figure(
        "first, second, third picture", f"{first.seconds:.3f}, {second.seconds:.3f}, {third.seconds:.3f} s"
    )
    findings.figure("the first costs more", f"{1000 * (first.seconds - third.seconds):.0f} ms")
    for name, each in (("first", ways), ("third", later)):
        listed = [round(1000 * step) for step in each]
        findings.figure(
            f"steps of the {name} picture, ms", f"{listed[:4]}, median {sorted(listed)[len(listed) // 2]}"
        )
    findings.check("pictures of one seed", first.digest, first.digest == second.digest == third.digest)
    other = await driven.draw(seed=8)
    findings.check("another seed", other.digest, other.digest != first.digest)
    if device() == "cuda":
        _check_metrics(findings, third.result.metrics, driven.card.size)
        findings.figure("most memory so far", gib(third.result.memory_bytes))
    await _check_stop(findings, driven, third.result.metrics.inference_seconds / steps, first.digest)
    del driven
    emptied()
    plain, seconds = stock(folder, seed=7, num_inference_steps=steps, width=edge, height=edge)
    findings.check("the plain pipeline's picture", f"{plain}, {seconds:.3f} s", plain == first.digest)


def _check_need(findings: Findings, told: int | None, seen: int) -> None:
    close = told is not None and abs(told - seen) < 0.05 * seen + 300 * _MEGABYTE
    findings.check("memory needed, told and by NVML", f"{gib(told)}, {gib(seen)}", close)


def _check_metrics(findings: Findings, metrics: ComputeMetrics, size: int) -> None:
    allocated = metrics.replica_gpu_memory_allocated_mb or 0
    reserved = metrics.replica_gpu_memory_reserved_mb or 0
    taken = metrics.replica_gpu_memory_used_mb or 0
    total = metrics.replica_gpu_memory_total_mb or 0
    rising = size / _MEGABYTE * 0.95 < allocated <= reserved < taken < total
    findings.check(
        "MB allocated, reserved, used, in all",
        f"{allocated:.0f}, {reserved:.0f}, {taken:.0f}, {total:.0f}",
        rising,
    )
    mean = metrics.replica_gpu_utilization_percent or 0
    peak = metrics.replica_gpu_utilization_peak_percent or 0
    findings.check("utilisation, mean and peak", f"{mean:.0f} %, {peak:.0f} %", 0 < mean <= peak <= 100)
    energy = metrics.gpu_energy_joules or 0
    power = energy / metrics.inference_seconds
    findings.check("energy", f"{energy:.0f} J, {power:.0f} W", 30 < power < 1500)


async def _check_stop(findings: Findings, driven: Driven, step_seconds: float, digest: str) -> None:
    """Leave in the middle of a long picture."""
    seen = 0
    async with aclosing(driven.engine.stream(driven.call(steps=40 * driven.steps))) as events:
        async for event in events:
            if isinstance(event, StepProgress):
                seen = event.step
            if seen >= _STOP_AFTER:
                left = time.perf_counter()
                break
    freed = time.perf_counter() - left
    idle = freed + waited()
    findings.figure("a step", f"{1000 * step_seconds:.1f} ms")
    findings.check(
        f"left after step {seen}: engine free, GPU idle",
        f"{1000 * freed:.0f} ms, {1000 * idle:.0f} ms, {idle / step_seconds:.1f} steps",
        idle < 2 * step_seconds + 0.1,
    )
    after = await driven.draw()
    findings.check("the picture after that", after.digest, after.digest == digest)


def main() -> None:
    """Measure, check and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--edge", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warm-up", action="store_true", help="draw a picture at the end of the load")
    given = parser.parse_args()
    warmed = "warmed up" if given.warm_up else "not warmed up"
    with Findings(
        f"drawing: {given.folder.name}, {given.edge} pixels, {given.steps} steps, {warmed}"
    ) as findings:
        asyncio.run(
            measure(given.folder, findings, edge=given.edge, steps=given.steps, warm_up=given.warm_up)
        )


if __name__ == "__main__":
    main()
