"""How long a model takes to load and in how much memory, against plain ``from_pretrained`` in the same run.

``python -m benchmarks.loading [--size-gb 1.4] [--repeats 3] [--folder FOLDER]`` from the repository's root
makes a model of Kandinsky 3's shape in 16 bits with random weights (once, if a folder is given), as a
diffusers folder, as a packed file and as originally released, and prints a table. Every load has a fresh
process, which has imported everything and has loaded a tiny model of the same form before its clock starts.

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
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console
from rich.table import Table

from engines.calls import EngineOptions
from engines.conversion.cache import Cache
from engines.conversion.converting import Tally
from engines.conversion.original import convert_original
from engines.conversion.reading import map_safetensors
from engines.conversion.writing import write_json, write_safetensors
from engines.detection import detect
from engines.devices import cpu_threads
from engines.packing import write_pack

_PIECES: Final = 32000
_POOL: Final = 2**22
_PAGE: Final = 4096
_INDEX: Final[Mapping[str, Any]] = {
    "_class_name": "Kandinsky3Pipeline",
    "tokenizer": ["transformers", "T5Tokenizer"],
    "text_encoder": ["transformers", "T5EncoderModel"],
    "unet": ["diffusers", "Kandinsky3UNet"],
    "scheduler": ["diffusers", "DDPMScheduler"],
    "movq": ["diffusers", "VQModel"],
}


class RandomWeights(Mapping[str, torch.Tensor]):
    """Random tensors in 16 bits by name, each made when it is asked for, the same one every time."""

    def __init__(self, shapes: Mapping[str, torch.Size]) -> None:
        self._shapes = shapes
        self._pool = (0.02 * torch.randn(_POOL, generator=torch.Generator().manual_seed(0))).half()

    def __getitem__(self, name: str) -> torch.Tensor:
        shape = self._shapes[name]
        count = math.prod(shape)
        whole = self._pool if count <= _POOL else self._pool.repeat(count // _POOL + 1)
        start = zlib.crc32(name.encode()) % (len(whole) - count + 1)
        return whole[start : start + count].view(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


@dataclass(frozen=True)
class Forms:
    """One model in the three forms."""

    root: Path

    @property
    def folder(self) -> Path:
        """As diffusers stores it."""
        return self.root / "diffusers"

    @property
    def pack(self) -> Path:
        """As one file."""
        return self.root / "packed.safetensors"

    @property
    def original(self) -> Path:
        """As released; the name of its main file."""
        return self.root / "original" / "weights" / "kandinsky3.pt"


def make(root: Path, size_gb: float) -> Forms:
    """Write a model of about ``size_gb`` (10**9 bytes of weights) in all forms, unless it is there."""
    forms, note = Forms(root), root / "made.json"
    if note.is_file() and json.loads(note.read_bytes()) == {"size_gb": size_gb}:
        return forms
    shutil.rmtree(root, ignore_errors=True)
    _write_original(forms.original, size_gb)
    _write_folder(forms)
    _write_pack(forms)
    write_json(note, {"size_gb": size_gb})
    return forms


def _write_original(main: Path, size_gb: float) -> None:
    """kandinsky3.pt, movq.pt, flan_ul2_encoder/: half the bytes are the UNet's, half the text encoder's."""
    from transformers import T5Config, T5EncoderModel

    from tests.originals import kandinsky3_unet, movq

    count = size_gb * 1e9 / 4
    # Both grow with the square of their width; 3.06 and 8.6 billion parameters are the released sizes.
    wide, deep = (count / 3.06e9) ** 0.5, (count / 8.6e9) ** 0.5
    context, width = _multiple(4096 * wide), _multiple(4096 * deep)
    size = kandinsky3_unet.Size(
        widths=[_multiple(each * wide) for each in (384, 768, 1536, 3072)],
        time_width=_multiple(1536 * wide),
        context_width=context,
    )
    config = T5Config(
        vocab_size=_PIECES + 128,
        d_model=width,
        d_kv=max(8, width // 16),
        d_ff=4 * width,
        num_layers=32 if size_gb > 0.1 else 2,
        num_heads=16,
        is_encoder_decoder=False,
        feed_forward_proj="gated-gelu",
    )
    with torch.device("meta"):
        unet = kandinsky3_unet.UNet(size).state_dict()
        autoencoder = movq.kandinsky3(channels=_multiple(256 * wide, 32)).state_dict()
        projection = kandinsky3_unet.text_projection(width, context).state_dict()
        encoder = T5EncoderModel(config).state_dict()
    encoder.pop("encoder.embed_tokens.weight", None)
    texts = main.parent / "flan_ul2_encoder"
    _write_pickle(main, {"unet": unet, "null_embedding": torch.empty(context, device="meta")})
    _write_pickle(main.parent / "movq.pt", autoencoder)
    _write_pickle(texts / "projection.pt", projection)
    _write_weights(texts / "model.safetensors", encoder)
    config.save_pretrained(texts)
    _tokenizer().save_pretrained(texts)


def _multiple(value: float, of: int = 64) -> int:
    return of * max(1, round(value / of))


def _tokenizer() -> Any:
    from transformers import T5Tokenizer

    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces = [(f"▁{rank:x}", -2.0 - rank * 1e-4) for rank in range(_PIECES - len(special))]
    return T5Tokenizer(vocab=special + pieces, model_max_length=512)


def _write_weights(path: Path, shaped: Mapping[str, torch.Tensor]) -> None:
    weights = RandomWeights({name: tensor.shape for name, tensor in shaped.items()})
    write_safetensors(path, weights, metadata={"format": "pt"}, report=lambda _: None)


def _write_pickle(path: Path, tree: Mapping[str, Any]) -> None:
    """Write random tensors of a tree's shapes as ``torch.save`` does, by way of a mapped file."""
    flat: dict[str, torch.Tensor] = {}
    for name, value in tree.items():
        flat |= (
            {f"{name}.{key}": inner for key, inner in value.items()}
            if isinstance(value, dict)
            else {name: value}
        )
    scratch = path.with_suffix(".scratch")
    _write_weights(scratch, flat)
    mapped = map_safetensors(scratch)
    content = {
        name: {key: mapped[f"{name}.{key}"] for key in value} if isinstance(value, dict) else mapped[name]
        for name, value in tree.items()
    }
    torch.save(content, path)
    scratch.unlink()


def _write_folder(forms: Forms) -> None:
    """What the engines' own conversion makes of the originals, and links to the text encoder's files."""
    convert_original(detect(forms.original), forms.folder, Tally(1, lambda _: None))
    for source in (forms.original.parent / "flan_ul2_encoder").iterdir():
        place = "text_encoder" if source.name in ("config.json", "model.safetensors") else "tokenizer"
        (forms.folder / place).mkdir(exist_ok=True)
        if source.suffix != ".pt":
            os.link(source, forms.folder / place / source.name)
    write_json(forms.folder / "model_index.json", _INDEX)


def _write_pack(forms: Forms) -> None:
    cache = Cache(forms.root / "cache")
    write_pack(detect(forms.folder), forms.pack, cache, on_conversion=lambda _: None, on_bytes=lambda _: None)


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


def compare(root: Path, size_gb: float, repeats: int) -> None:
    """Make the model, measure every case in turn as often as asked, and print."""
    make(root / "tiny", 0.01)
    forms = make(root / "model", size_gb)
    size = sum(file.stat().st_size for file in forms.folder.rglob("*.safetensors"))
    for dtype, why in (("float16", "the files' dtype"), ("float32", "the default on a CPU, from 16 bits")):
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
    parser.add_argument("--run", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.run:
        case, root = json.loads(given.run)
        run_here(Case(**case), Path(root))
    elif given.folder:
        compare(given.folder, given.size_gb, given.repeats)
    else:
        with tempfile.TemporaryDirectory() as folder:
            compare(Path(folder), given.size_gb, given.repeats)


if __name__ == "__main__":
    main()
