"""Pickles that call something when they are unpickled, or take all memory when they are looked at."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch

from tests.hostile import programs
from tests.hostile.canary import PAYLOADS, Canary
from tests.hostile.case import Ground, Hostile
from tests.hostile.programs import checkpoint
from tests.hostile.tricks import TRICKS

_MISSING: Final = "these parts of the model are missing"
_NO_TENSORS: Final = "holds no tensors"
_FOREIGN: Final = "before PyTorch 1.6 with classes of its own, which are never made"
# Where torch itself is asked.
_LEGACY: Final[Mapping[str, str]] = {
    "persistent-nested": "",
    "persistent-short": "is damaged: torch cannot read it",
}


def cases() -> Iterator[Hostile]:
    """All of them."""
    for kind in PAYLOADS:
        yield _saved(f"zip-{kind}", kind, zipped=True, hidden=False)
        yield _saved(f"legacy-{kind}", kind, zipped=False, hidden=False)
        yield _saved(f"zip-hidden-{kind}", kind, zipped=True, hidden=True)
        yield _saved(f"legacy-hidden-{kind}", kind, zipped=False, hidden=True)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            yield _bare(kind, protocol)
    for name, trick in TRICKS.items():
        yield _trick(f"trick-{name}", trick, programs.zipped, "")
        yield _trick(f"trick-legacy-{name}", trick, programs.legacy, _LEGACY.get(name, _FOREIGN))


def _saved(name: str, kind: str, *, zipped: bool, hidden: bool) -> Hostile:
    """By torch itself: alone, or deep beside real tensors."""

    def write(ground: Ground) -> Path:
        trap: Any = ground.canary.payload(kind)
        tensors = OrderedDict((key, torch.zeros(2, 3).half()) for key in programs.NAMES)
        state = {"state_dict": tensors, "callbacks": {"x": [({"y": trap},)]}} if hidden else trap
        path = ground.folder / "kandinsky3.ckpt"
        torch.save(state, path, _use_new_zipfile_serialization=zipped)
        return path

    if not hidden:
        return Hostile(name, write, _NO_TENSORS, _NO_TENSORS)
    return Hostile(name, write, _MISSING, "" if zipped else _FOREIGN)


def _bare(kind: str, protocol: int) -> Hostile:
    words = _NO_TENSORS if protocol > 1 else "neither a safetensors file nor a PyTorch checkpoint"

    def write(ground: Ground) -> Path:
        return programs.write(ground.folder, pickle.dumps(ground.canary.payload(kind), protocol))

    return Hostile(f"bare-{protocol}-{kind}", write, words, words)


def _trick(
    name: str, trick: Callable[[Canary], bytes], form: Callable[[bytes], bytes], opened: str
) -> Hostile:
    def write(ground: Ground) -> Path:
        return programs.write(ground.folder, form(checkpoint(trap=trick(ground.canary), protocol=4)))

    return Hostile(name, write, _MISSING, opened)
