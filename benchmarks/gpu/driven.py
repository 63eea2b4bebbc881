"""One engine in this process, without Ray: loaded, drawn with, watched."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image
from pydantic import JsonValue

from engines.calls import EngineCall, EngineOptions, EngineResult, LoadPhase, LoadProgress
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
        for image in self.result.images:
            hashed.update(Image.open(io.BytesIO(image.data)).tobytes())
        return hashed.hexdigest()[:16]


class Driven:
    """An engine for the model in ``folder``; ``edge`` pixels and ``steps`` are what it draws by default."""

    def __init__(self, folder: Path, *, edge: int, steps: int, **options: Any) -> None:
        self.card = detect(folder)
        self.options = EngineOptions.model_validate(options)
        self.engine = Engine(EngineArgs(card=self.card, options=self.options))
        self.edge = edge
        self.steps = steps

    async def load(self) -> tuple[LoadProgress, float]:
        """Load, and say how long it took; a load that fails ends the run."""
        started = time.perf_counter()
        *_, last = [progress async for progress in self.engine.warm()]
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


def stock(folder: Path, *, seed: int, **arguments: Any) -> str:
    """The digest of what the plain pipeline draws with a generator on the CPU."""
    import diffusers

    from engines.card import ModelCard

    card: ModelCard = detect(folder)
    dtype = getattr(torch, card.dtype or "float32") if torch.cuda.is_available() else torch.float32
    # Any: it declares no types.
    kind: Any = diffusers.DiffusionPipeline
    pipeline = kind.from_pretrained(folder, dtype=dtype, local_files_only=True).to(device())
    pipeline.set_progress_bar_config(disable=True)
    pictures: Sequence[Image.Image] = pipeline(
        prompt=PROMPT, generator=torch.Generator("cpu").manual_seed(seed), **arguments
    ).images
    hashed = hashlib.sha256()
    for picture in pictures:
        hashed.update(picture.tobytes())
    return hashed.hexdigest()[:16]


def emptied() -> None:
    """Give back what torch keeps for later."""
    import gc

    gc.collect()
    with suppress(RuntimeError):
        torch.cuda.empty_cache()
