"""Two models on one GPU, through the whole service: side by side where both fit, in turns where one does.

``python -m benchmarks.gpu.sharing FOLDER FOLDER [--edge 512] [--steps 4] [--rounds 3]`` deploys both by the
command line, without reserving anything: the GPU is shared by memory. How much of it there is, is then set to
what the larger one needs, so that A B A B swaps; and with parking, so that the one that makes room comes
back from the host's memory. Checked: pictures are the same after every swap, both stay where both fit, and
all memory of the GPU is given back when the service ends.
"""

from __future__ import annotations

import argparse
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pynvml

from benchmarks.deployed import deployed, until
from benchmarks.gpu.findings import Findings, gib
from benchmarks.gpu.service import Answer, Service
from engines.detection import detect

_SLACK: Final = 2**28
_NAMES: Final = ("a", "b")


def measure(folders: list[Path], findings: Findings, *, edge: int, steps: int, rounds: int) -> None:
    """Start a service, and go through the three cases."""
    before = _used()
    with deployed(Service, KANDINSKY_SPARE_ENGINES="1") as running:
        starting = [
            running.command("deploy", str(folder), "--model-name", name, "--idle-seconds", "3600")
            for name, folder in zip(_NAMES, folders, strict=True)
        ]
        findings.figure("deployed", f"{starting[0]:.1f} s with the start of the service, {starting[1]:.1f} s")
        needs = _both_fit(running, findings, edge=edge, steps=steps, rounds=rounds)
        one = (max(needs) + min(needs) / 2) / _total()
        _limit(running, folders[0], gpu_memory_share=f"{one:.4f}")
        findings.figure("now there is room for one", f"{gib(one * _total())} of {gib(_total())}")
        _in_turns(running, findings, "swap", edge=edge, steps=steps, rounds=rounds)
        _limit(running, folders[0], parking_gb="64")
        _in_turns(running, findings, "swap with parking", edge=edge, steps=steps, rounds=rounds)
        _at_once(running, findings, edge=edge, steps=steps)
        findings.figure("GPU memory before the end", gib(_used()))
    given_back = until(lambda: _used() <= before + _SLACK)
    findings.check("GPU memory before and after", f"{gib(before)}, {gib(_used())} ({given_back:.1f} s)", True)


def _both_fit(running: Service, findings: Findings, *, edge: int, steps: int, rounds: int) -> list[int]:
    """Wake both; what the GPU has more after each is what it needs."""
    needs = []
    for name in _NAMES:
        before = _used()
        first = running.draw(name, edge=edge, steps=steps)
        needs.append(_used() - before)
        awake = [running.draw(name, edge=edge, steps=steps).seconds for _ in range(rounds)]
        findings.check(
            f"{name}: first, next",
            f"{first.seconds:.2f} s from {first.state}, {statistics.median(awake):.2f} s, {gib(needs[-1])}",
            not first.picture.startswith("5") and needs[-1] > 0,
        )
    answers = [running.draw(name, edge=edge, steps=steps) for _ in range(rounds) for name in _NAMES]
    states = {answer.state for answer in answers}
    findings.check("both fit: both stay", ", ".join(sorted(states)), states <= {"ready", "busy"})
    return needs


def _in_turns(running: Service, findings: Findings, what: str, *, edge: int, steps: int, rounds: int) -> None:
    """A B A B …, one request after the other: each costs a swap."""
    reference = {name: running.draw(name, edge=edge, steps=steps).picture for name in _NAMES}
    answers: list[tuple[str, Answer]] = [
        (name, running.draw(name, edge=edge, steps=steps)) for _ in range(rounds) for name in _NAMES
    ]
    for name in _NAMES:
        took = [answer.seconds for asked, answer in answers if asked == name]
        again = running.draw(name, edge=edge, steps=steps)
        awake = running.draw(name, edge=edge, steps=steps)
        findings.figure(
            f"{what}: to {name}",
            f"{_listed(took)}, {again.seconds:.2f} s; awake {awake.seconds:.2f} s",
        )
    same = all(answer.picture == reference[name] for name, answer in answers)
    findings.check(f"{what}: the pictures", "the same" if same else _failure(answers), same)
    states = [answer.state for _, answer in answers]
    findings.check(f"{what}: states before", ", ".join(states), not set(states) & {"ready", "busy"})


def _at_once(running: Service, findings: Findings, *, edge: int, steps: int) -> None:
    """Six calls at once, A B A B A B: those for the loaded model go first."""
    started = time.perf_counter()
    with ThreadPoolExecutor(6) as pool:
        waiting = [
            pool.submit(running.draw, name, edge=edge, steps=steps) for _ in range(3) for name in _NAMES
        ]
    answers = [each.result() for each in waiting]
    failed = [answer.picture for answer in answers if answer.picture[:3].isdigit()]
    findings.check(
        "six at once, A B A B A B",
        f"{time.perf_counter() - started:.2f} s in all; {failed or 'all drawn'}",
        not failed,
    )


def _listed(seconds: list[float]) -> str:
    return ", ".join(f"{each:.2f}" for each in seconds)


def _failure(answers: list[tuple[str, Answer]]) -> str:
    return next((answer.picture for _, answer in answers if answer.picture[:3].isdigit()), "differ")


def _limit(running: Service, folder: Path, **settings: str) -> None:
    """Change settings of the running service, with a deployment that sends the first model to sleep."""
    variables = {f"KANDINSKY_{name.upper()}": value for name, value in settings.items()}
    # Another value than before: the engine is replaced.
    idle_seconds = f"{3600 + time.time() % 60:.3f}"
    running.command(
        "deploy", str(folder), "--model-name", _NAMES[0], "--idle-seconds", idle_seconds, **variables
    )
    running.until(_NAMES[0], "asleep")


def _used() -> int:
    return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).used)


def _total() -> int:
    return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).total)


def main() -> None:
    """Measure, check and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folders", type=Path, nargs=2)
    parser.add_argument("--edge", type=int, default=512)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    pynvml.nvmlInit()
    sizes = ", ".join(f"{folder.name} {gib(detect(folder).size)}" for folder in given.folders)
    with Findings(f"sharing: {sizes}; {given.edge} pixels, {given.steps} steps") as findings:
        measure(given.folders, findings, edge=given.edge, steps=given.steps, rounds=given.rounds)


if __name__ == "__main__":
    main()
