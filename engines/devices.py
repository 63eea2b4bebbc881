"""Where a model computes, and in what number format, each with its reason."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from engines.calls import EngineOptions
from engines.card import ModelCard
from engines.errors import LoadFailed


@dataclass(frozen=True)
class Placement:
    """A torch device and dtype by name, and why."""

    device: str
    device_reason: str
    dtype: str
    dtype_reason: str


def choose(card: ModelCard, options: EngineOptions) -> Placement:
    """Choose device and dtype: as told, else the best there is and the file's own.

    Raises:
        LoadFailed: a device was asked for that is not there.
    """
    device, device_reason = _device(card, options.device)
    dtype, dtype_reason = _dtype(card, options.dtype, device)
    return Placement(device, device_reason, dtype, dtype_reason)


def cpu_threads(options: EngineOptions) -> int:
    """Threads for the CPU: as told, else all but one of the cores this process may use."""
    return options.threads or max(1, len(_cores()) - 1)


def cuda_in_use() -> bool:
    """Whether this process has a CUDA context; makes none."""
    import torch

    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]  # torch's own


def _device(card: ModelCard, wanted: str) -> tuple[str, str]:
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        found = next(device for device, present in there.items() if present)
        return found, "no GPU is visible to this process" if found == "cpu" else "it is there"
    if not there[wanted]:
        raise LoadFailed(card.name, f"the device {wanted!r} was asked for, and this machine has none")
    return wanted, "it was asked for"


def _dtype(card: ModelCard, wanted: str, device: str) -> tuple[str, str]:
    if wanted != "auto":
        return wanted, "it was asked for"
    if device == "cpu":
        return "float32", "16-bit arithmetic is slower on a CPU"
    if card.dtype in ("float16", "bfloat16", "float32"):
        return card.dtype, "the checkpoint's own"
    return "float32", f"the checkpoint's {card.dtype} is not one to compute in"


def _cores() -> Any:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return range(os.cpu_count() or 1)
