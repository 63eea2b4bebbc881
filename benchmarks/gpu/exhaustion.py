"""The GPU's memory run out for real: another process takes all but a little, and too much is asked for.

``python -m benchmarks.gpu.exhaustion FOLDER [--edge 512] [--huge 4096] [--leave-gib 2] [--cudnn]`` checks
that the call is refused with what it was short of, that its memory is given back, that the next picture is
the same, and that an engine which is out of memory twice in a row takes no more work.

cuDNN is switched off for that. It takes another algorithm for a convolution where there is no memory for the
workspace of the usual one, and keeps to it from then on: with ``--cudnn`` pictures that are drawn in little
room, and all after them in that process, may differ, and by how much is told.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch

from benchmarks.gpu.driven import Driven, free
from benchmarks.gpu.findings import Findings, gib
from engines.errors import EngineLeaving, OutOfMemory

_SLACK: Final = 2**28
_PIECE: Final = 2**28


async def measure(
    folder: Path, findings: Findings, *, edge: int, steps: int, huge: int, leave: int, exact: bool
) -> None:
    """Exhaust the memory once, then twice in a row."""
    driven = Driven(folder, edge=edge, steps=steps, device="cuda", warm_up=False)
    _, seconds = await driven.load()
    first = await driven.draw()
    findings.figure("load, first picture", f"{seconds:.2f} s, {first.seconds:.2f} s")
    with _taken(leave):
        findings.figure("free beside the engine and the other process", gib(free()))
        await _exhaust(driven, findings, huge)
        after = await driven.draw()
        differs = f"differs by {first.difference(after)} of 255 at most"
        findings.check("the picture after that", differs, not exact or after.digest == first.digest)
        findings.check("the engine leaves", str(_leaves(driven)), not _leaves(driven))
        for _ in range(2):
            await _exhaust(driven, findings, huge)
        findings.check("after two in a row it leaves", str(_leaves(driven)), _leaves(driven))
        try:
            await driven.draw()
        except EngineLeaving as error:
            findings.check("another call", str(error), True)
        else:
            findings.check("another call", "was drawn", False)


async def _exhaust(driven: Driven, findings: Findings, edge: int) -> None:
    before, started = torch.cuda.memory_allocated(), time.perf_counter()
    try:
        await driven.draw(edge=edge, steps=2)
    except OutOfMemory as error:
        findings.check(f"{edge} x {edge}", f"{error} ({time.perf_counter() - started:.2f} s)", True)
    else:
        findings.check(f"{edge} x {edge}", "fitted: ask for more", False)
    allocated = torch.cuda.memory_allocated() - before
    kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    findings.check(
        "still allocated, kept by torch",
        f"{gib(allocated)}, {gib(kept)}; {gib(free())} free",
        allocated < _SLACK,
    )


def _leaves(driven: Driven) -> bool:
    return bool(driven.engine.record_autoscaling_stats()["leaving"])


@contextmanager
def _taken(leave: int) -> Iterator[None]:
    """Let another process take the GPU's memory but for ``leave`` bytes."""
    torch.cuda.empty_cache()
    command = [sys.executable, "-m", "benchmarks.gpu.exhaustion", "--take-all-but", str(leave)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        if other.stdout.readline() != "taken\n":
            raise RuntimeError("the process that takes the memory has failed")
        try:
            yield
        finally:
            other.stdin.close()


def take(leave: int) -> None:
    """Take memory piece by piece, say so, and hold it until the standard input ends."""
    held = []
    while torch.cuda.mem_get_info()[0] > leave + _PIECE:
        held.append(torch.empty(_PIECE, dtype=torch.uint8, device="cuda"))
    print("taken", flush=True)
    sys.stdin.read()


def main() -> None:
    """Measure, check and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--edge", type=int, default=512)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--huge", type=int, default=4096, help="pixels of what is too much")
    parser.add_argument("--leave-gib", type=float, default=2.0)
    parser.add_argument("--cudnn", action="store_true", help="as engines are run")
    parser.add_argument("--take-all-but", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.take_all_but is not None:
        take(given.take_all_but)
        return
    if given.folder is None:
        parser.error("a folder is needed")
    torch.backends.cudnn.enabled = given.cudnn
    with Findings(f"exhaustion: {given.folder.name}, {given.edge} and {given.huge} pixels") as findings:
        asyncio.run(
            measure(
                given.folder,
                findings,
                edge=given.edge,
                steps=given.steps,
                huge=given.huge,
                leave=round(given.leave_gib * 2**30),
                exact=not given.cudnn,
            )
        )


if __name__ == "__main__":
    main()
