"""How long a model takes to load and in how much memory, against plain ``from_pretrained`` in the same run.

``python -m benchmarks.loading [--size-gb 1.4] [--repeats 3] [--folder FOLDER] [--weights bfloat16]`` from the
repository's root makes a model of Kandinsky 3's shape in 16 bits with random weights (once, if a folder is
given), as a diffusers folder, as a packed file and as originally released, and prints a table. Every load has
a fresh process, which has imported everything and has loaded a tiny model of the same form before its clock
starts.

"ready" is when the pipeline is there; "touched" when, after that, a byte of every page of every weight has
been read, which a mapped file takes until then to load. "touched, net" leaves out the time for which the
main thread could have run and another process had its core (the second number of its schedstat): on a busy
machine it is what compares, and the ratios are of it. "cpu" is what all threads computed. Both sides have as
many threads as an engine takes. Cold: the files were dropped from the page cache (``POSIX_FADV_DONTNEED``);
warm: they were read just before. A model's card, which is made when it is deployed, is there already.
The load's memory, as a multiple of the weight files' size, beyond what the process had before:

- own: the peak of RssAnon, sampled every 5 ms. What the process needs for itself, and cannot be taken away.
  On a GPU's machine this is the peak that counts: mapped pages are let go as soon as they are copied.
- all: the peak of VmHWM, with the mapped pages of the files. These are the page cache's, one copy for every
  replica on the machine, and are dropped under pressure; to compute on a CPU at full speed they must stay.

The kernel's own figures of a process are taken and not its cgroup's, where a page of a file counts for
whoever read it first.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.loading_model import Forms, make
from engines.calls import EngineOptions
from engines.detection import detect
from engines.devices import cpu_threads

_PAGE: Final = 4096


@dataclass(frozen=True)
class Case:
    """One way to load: ``form`` is a field of `Forms`; ``first`` empties the cache of conversions before."""

    name: str
    form: str
    dtype: str
    plain: bool = False
    disable_mmap: bool = False
    first: bool = False


def cases(dtype: str) -> list[Case]:
    """Everything that is compared with one dtype; the plain ones first."""
    return [
        Case("from_pretrained", "folder", dtype, plain=True),
        Case("from_pretrained, disable_mmap", "folder", dtype, plain=True, disable_mmap=True),
        Case("engine, diffusers folder", "folder", dtype),
        Case("engine, packed file", "pack", dtype),
        Case("engine, original, first load", "original", dtype, first=True),
        Case("engine, original, later loads", "original", dtype),
    ]


@dataclass(frozen=True)
class Measured:
    """Seconds of the load and until every page was touched; peaks of memory beyond the start, in bytes."""

    ready: float
    touched: float
    net: float
    cpu: float
    own: int
    all: int


def run_here(case: Case, root: Path) -> None:
    """The measured process: load the tiny model, say so, wait for a line, load the large one, say how long.

    The first makes what the libraries import late and set up once.
    """
    import diffusers
    import transformers

    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
    torch.set_num_threads(cpu_threads(EngineOptions()))
    _touch(_loader(case, Forms(root / "tiny"), root / "tiny" / "cache")())
    load = _loader(case, Forms(root / "model"), root / "model" / "cache")
    print("ready", flush=True)
    sys.stdin.readline()
    Path("/proc/self/clear_refs").write_text("5")
    before, displaced, computed = _memory(os.getpid()), _displaced(), time.process_time()
    started = time.perf_counter()
    pipeline = load()
    ready = time.perf_counter() - started
    _touch(pipeline)
    touched = time.perf_counter() - started
    net, cpu = touched - (_displaced() - displaced), time.process_time() - computed
    print(json.dumps([ready, touched, net, cpu, before, _memory(os.getpid())]), flush=True)
    # The clock has stopped; to free the weights takes time, too.
    os._exit(0)


def _loader(case: Case, forms: Forms, cache: Path) -> Callable[[], Any]:
    """A function that gives the pipeline."""
    from diffusers import DiffusionPipeline

    from engines.loading import load

    if case.plain:
        return partial(
            DiffusionPipeline.from_pretrained,
            forms.folder,
            dtype=getattr(torch, case.dtype),
            disable_mmap=case.disable_mmap,
            local_files_only=True,
        )
    card = detect(getattr(forms, case.form))
    options = EngineOptions.model_validate({"device": "cpu", "dtype": case.dtype, "cache_folder": str(cache)})
    return lambda: load(card, options, lambda _: None).pipelines["__call__"]


def _displaced() -> float:
    """Seconds for which the main thread was ready to run and did not."""
    return int(Path(f"/proc/self/task/{os.getpid()}/schedstat").read_text().split()[1]) / 1e9


def _touch(pipeline: Any) -> None:
    """Read one byte of every page of every weight."""
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):
            for tensor in (*component.parameters(), *component.buffers()):
                if tensor.is_contiguous():
                    tensor.detach().reshape(-1).view(torch.uint8)[::_PAGE].sum()


def _memory(process: int) -> dict[str, int]:
    """The lines of a process's status that are sizes, in bytes."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    words = [line.split() for line in lines if line.endswith(" kB")]
    return {name.rstrip(":"): int(size) * 1024 for name, size, _ in words}


def measure(case: Case, root: Path, *, cold: bool) -> Measured:
    """Run a case in a process of its own."""
    argument = json.dumps([vars(case), str(root)])
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.loading", "--run", argument]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    cache = root / "model" / "cache"
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise SystemExit(f"{case.name}: the process that loads it has failed")
        if case.first:
            shutil.rmtree(cache, ignore_errors=True)
        for file in _files(case, Forms(root / "model"), cache):
            _drop(file) if cold else _read(file)
        process.stdin.write("\n")
        process.stdin.flush()
        own = 0
        answer = ""
        # It ends by itself, and its status is then one without sizes.
        while process.poll() is None:
            own = max(own, _memory(process.pid).get("RssAnon", 0))
            time.sleep(0.005)
        answer = process.stdout.readline()
    if not answer:
        raise SystemExit(f"{case.name}: the process that loads it has failed")
    ready, touched, net, cpu, before, after = json.loads(answer)
    return Measured(ready, touched, net, cpu, own - before["RssAnon"], after["VmHWM"] - before["VmRSS"])


def _files(case: Case, forms: Forms, cache: Path) -> Iterator[Path]:
    """What a case reads."""
    if case.form == "pack":
        yield forms.pack
        return
    folders = [forms.folder] if case.form == "folder" else [forms.original.parent, cache]
    yield from (file for folder in folders for file in folder.rglob("*") if file.is_file())


def _drop(file: Path) -> None:
    """Take a file out of the page cache."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _read(file: Path) -> None:
    buffer = bytearray(2**22)
    with file.open("rb", buffering=0) as opened:
        while opened.readinto(buffer):
            pass


def table_of(results: Mapping[Case, Mapping[bool, list[Measured]]], size: int, title: str) -> Table:
    """Medians, beside the faster of the plain ways with the same cache."""
    table = Table("load", title=title)
    headings = ("cache", "ready s", "touched s", "net s", "of plain", "cpu s", "own memory", "all memory")
    for heading in headings:
        table.add_column(heading, justify="right")
    for cold in (False, True):
        plain = min(_median(runs[cold], "net") for case, runs in results.items() if case.plain)
        for case, runs in results.items():
            net = _median(runs[cold], "net")
            table.add_row(
                case.name,
                "cold" if cold else "warm",
                f"{_median(runs[cold], 'ready'):.2f}",
                f"{_median(runs[cold], 'touched'):.2f}",
                f"{net:.2f}",
                f"{net / plain:.2f}",
                f"{_median(runs[cold], 'cpu'):.2f}",
                f"{_median(runs[cold], 'own') / size:.2f}",
                f"{_median(runs[cold], 'all') / size:.2f}",
                end_section=case is list(results)[-1],
            )
    return table


def _median(runs: list[Measured], field: str) -> float:
    return float(statistics.median(getattr(run, field) for run in runs))


def compare(root: Path, size_gb: float, repeats: int, weights: str) -> None:
    """Make the model, measure every case in turn as often as asked, and print."""
    make(root / "tiny", 0.01, weights)
    forms = make(root / "model", size_gb, weights)
    size = sum(file.stat().st_size for file in forms.folder.rglob("*.safetensors"))
    for dtype, why in ((weights, "the files' dtype"), ("float32", "the default on a CPU, from 16 bits")):
        results: dict[Case, dict[bool, list[Measured]]] = {
            case: {True: [], False: []} for case in cases(dtype)
        }
        for _ in range(repeats):
            for case, runs in results.items():
                for cold in (True, False):
                    runs[cold].append(measure(case, root, cold=cold))
        load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
        Console(width=130).print(
            table_of(results, size, f"{dtype}: {why}; {size / 1e9:.2f} GB, load average {load}")
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size-gb", type=float, default=1.4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the models are made and stay")
    parser.add_argument("--weights", default="float16", help="of the files: float16 or bfloat16")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        case, root = json.loads(given.run)
        run_here(Case(**case), Path(root))
    elif given.folder:
        compare(given.folder, given.size_gb, given.repeats, given.weights)
    else:
        with tempfile.TemporaryDirectory() as folder:
            compare(Path(folder), given.size_gb, given.repeats, given.weights)


if __name__ == "__main__":
    main()
