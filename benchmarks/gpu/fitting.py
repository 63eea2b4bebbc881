"""What a model takes of a GPU in every way that it can be run, beside what is estimated before it is loaded.

``python -m benchmarks.gpu.fitting FOLDER [--edge 512] [--steps 2] [--quantize text_encoder=int8 ...]`` checks
that the weights take what `engines.footprint` says, and that offloading changes no picture.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.gpu.driven import Driven, emptied
from benchmarks.gpu.findings import WIDTH, Findings, gib
from engines.detection import detect
from engines.errors import EngineError
from engines.footprint import device_bytes
from engines.offloading import Offload


@dataclass(frozen=True)
class Way:
    """One way to run a model."""

    dtype: str
    offload: Offload = Offload.NONE
    quantize: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        rounded = ", ".join(f"{name}={kind}" for name, kind in self.quantize.items())
        return ", ".join(word for word in (self.dtype, f"offload {self.offload}", rounded) if word)


@dataclass(frozen=True)
class Seen:
    """Bytes on the device at rest and at most; ``seconds`` are of a load, a first and a second picture."""

    rest: int
    most: int
    seconds: tuple[float, float, float]
    digest: str


async def run(folder: Path, way: Way, *, edge: int, steps: int) -> Seen:
    """Load and draw twice, and leave nothing behind."""
    torch.cuda.reset_peak_memory_stats()
    driven = Driven(
        folder,
        edge=edge,
        steps=steps,
        device="cuda",
        warm_up=False,
        dtype=way.dtype,
        offload=way.offload,
        quantize=way.quantize,
    )
    _, loading = await driven.load()
    rest = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    first = await driven.draw()
    second = await driven.draw()
    most = torch.cuda.max_memory_allocated()
    return Seen(rest, most, (loading, first.seconds, second.seconds), second.digest)


def ways(quantize: dict[str, str]) -> Iterator[Way]:
    """All that is compared; the first is the measure."""
    for dtype in ("float16", "bfloat16", "float32"):
        yield Way(dtype)
    for offload in (Offload.MODEL, Offload.GROUP, Offload.SEQUENTIAL):
        yield Way("bfloat16", offload)
    if quantize and importlib.util.find_spec("torchao"):
        for kind in ("int8", "float8"):
            yield Way("bfloat16", quantize=dict.fromkeys(quantize, kind))


def compare(folder: Path, findings: Findings, *, edge: int, steps: int, quantize: dict[str, str]) -> Table:
    """Run every way."""
    card = detect(folder)
    columns = ("way", "weights: estimate", "at rest", "most", "load", "picture", "again")
    table = Table(
        *columns, title=f"fitting: {folder.name}, {edge} pixels, {steps} steps", title_justify="left"
    )
    exact: dict[str, str] = {}
    working = 0
    for way in ways(quantize):
        started = time.perf_counter()
        try:
            seen = asyncio.run(run(folder, way, edge=edge, steps=steps))
        except (EngineError, RuntimeError) as error:  # the other ways are tried all the same
            findings.check(str(way), f"{type(error).__name__}: {error}"[:200], False)
            continue
        finally:
            emptied()
        estimate = device_bytes(card, dtype=way.dtype, offload=way.offload, quantize=way.quantize).peak
        took = [f"{each:.2f} s" for each in seen.seconds]
        table.add_row(str(way), gib(estimate), gib(seen.rest), gib(seen.most), *took)
        if way.offload is Offload.NONE and not way.quantize:
            exact[way.dtype] = seen.digest
            working = seen.most - seen.rest
            findings.check(
                f"{way}: estimate of the weights",
                f"{estimate / seen.rest:.3f}",
                _close(estimate, seen.rest, 0.02),
            )
        elif way.quantize:
            findings.check(
                f"{way}: estimate of the weights",
                f"{estimate / seen.rest:.3f}",
                _close(estimate, seen.rest, 0.15),
            )
        else:
            held = seen.most - working
            findings.figure(f"{way}: estimate / most less working memory", f"{estimate / max(1, held):.3f}")
            same = seen.digest == exact.get(way.dtype)
            findings.check(f"{way}: the picture", seen.digest, same)
        findings.figure(f"{way}: in all", f"{time.perf_counter() - started:.1f} s")
    return table


def _close(one: float, other: float, by: float) -> bool:
    return abs(one - other) <= by * other


def main() -> None:
    """Measure, check and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--edge", type=int, default=512)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--quantize", nargs="*", default=[], metavar="COMPONENT", help="needs torchao")
    given = parser.parse_args()
    with Findings(f"fitting: {given.folder.name}") as findings:
        table = compare(
            given.folder,
            findings,
            edge=given.edge,
            steps=given.steps,
            quantize=dict.fromkeys(given.quantize, "int8"),
        )
        Console(width=WIDTH).print(table)


if __name__ == "__main__":
    main()
