"""One engine in this process, without Ray: loaded, drawn with, watched."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image, ImageChops
from pydantic import JsonValue

from engines.calls import EngineCall, EngineOptions, EngineResult, LoadPhase, LoadProgress, StepProgress
from engines.detection import detect
from engines.metrics import find_gpu
from engines.replica import Engine, EngineArgs

PROMPT: Final = "snowy mountains at night"


@dataclass(frozen=True)
class Drawn:
    """A result and the seconds until it was there."""

    result: EngineResult
    seconds: float

    @property
    def digest(self) -> str:
        """Of the decoded pixels of all pictures."""
        hashed = hashlib.sha256()
        for picture in self.pictures:
            hashed.update(picture.tobytes())
        return hashed.hexdigest()[:16]

    @property
    def pictures(self) -> list[Image.Image]:
        """The pictures, decoded."""
        return [Image.open(io.BytesIO(image.data)) for image in self.result.images]

    def difference(self, other: Drawn) -> int:
        """The largest difference of a value of the first picture, of 255."""
        return max(ImageChops.difference(self.pictures[0], other.pictures[0]).tobytes())


class Driven:
    """An engine for the model in ``folder``; ``edge`` pixels and ``steps`` are what it draws by default."""

    def __init__(self, folder: Path, *, edge: int, steps: int, **options: Any) -> None:
        self.card = detect(folder)
        self.options = EngineOptions.model_validate(options)
        self.engine = Engine(EngineArgs(card=self.card, options=self.options))
        self.edge = edge
        self.steps = steps
        self.phases: dict[LoadPhase, float] = {}

    async def load(self) -> tuple[LoadProgress, float]:
        """Load, and say how long it took; a load that fails ends the run. ``phases`` has when each began."""
        started = time.perf_counter()
        every = [progress async for progress in self.engine.warm()]
        self.phases = {}
        for each in every:
            self.phases.setdefault(each.phase, each.elapsed_seconds)
        last = every[-1]
        if last.phase is not LoadPhase.READY:
            raise RuntimeError(f"{self.card.name} was not loaded: {last.reason}")
        return last, time.perf_counter() - started

    def call(
        self, *, edge: int | None = None, steps: int | None = None, seed: int = 7, count: int = 1
    ) -> EngineCall:
        """A call for a picture."""
        width = edge or self.edge
        parameters: dict[str, JsonValue] = {
            "prompt": PROMPT,
            "num_inference_steps": steps or self.steps,
            "width": width,
            "height": width,
        }
        return EngineCall(
            request_id="gpu", method="__call__", parameters=parameters, seed=seed, count=count, compression=1
        )

    async def draw(self, **asked: int) -> Drawn:
        """Draw, and say how long it took."""
        started = time.perf_counter()
        result = await self.engine.generate(self.call(**asked))
        return Drawn(result, time.perf_counter() - started)

    async def timed(self) -> tuple[Drawn, list[float]]:
        """Draw, and say how long each step took; the first has what comes before it."""
        started = time.perf_counter()
        marks = [started]
        async with aclosing(self.engine.stream(self.call())) as events:
            async for event in events:
                if isinstance(event, StepProgress):
                    marks.append(time.perf_counter())
                elif isinstance(event, EngineResult):
                    result = event
        drawn = Drawn(result, time.perf_counter() - started)
        return drawn, [later - earlier for earlier, later in pairwise(marks)]


def device() -> str:
    """What is there to compute on."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def used() -> int | None:
    """Bytes of the GPU that all processes have, by NVML."""
    gpu = find_gpu("cuda") if torch.cuda.is_available() else None
    return gpu.read().memory_used if gpu else None


def free() -> int | None:
    """Bytes of the GPU that nobody has, as the driver tells."""
    return int(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else None


def waited() -> float:
    """Wait until the GPU has done what it was given, and say how long that took, in seconds."""
    started = time.perf_counter()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def stock(folder: Path, *, seed: int, **arguments: Any) -> tuple[str, float]:
    """What the plain pipeline draws with a generator on the CPU, and the seconds of its second call."""
    import diffusers

    from engines.card import ModelCard

    card: ModelCard = detect(folder)
    dtype = getattr(torch, card.dtype or "float32") if torch.cuda.is_available() else torch.float32
    # Any: it declares no types.
    kind: Any = diffusers.DiffusionPipeline
    pipeline = kind.from_pretrained(folder, dtype=dtype, local_files_only=True).to(device())
    pipeline.set_progress_bar_config(disable=True)
    for _ in range(2):
        started = time.perf_counter()
        pictures: Sequence[Image.Image] = pipeline(
            prompt=PROMPT, generator=torch.Generator("cpu").manual_seed(seed), **arguments
        ).images
        seconds = time.perf_counter() - started
    hashed = hashlib.sha256()
    for picture in pictures:
        hashed.update(picture.tobytes())
    return hashed.hexdigest()[:16], seconds


def emptied() -> None:
    """Give back what torch keeps for later."""
    import gc

    # An engine's process has one model, which the garbage collector is told to leave alone.
    gc.unfreeze()
    gc.collect()
    with suppress(RuntimeError):
        torch.cuda.empty_cache()
