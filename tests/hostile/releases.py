"""Original releases and diffusers folders whose pickles hold a trap beside the real tensors, or instead."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file

from tests.hostile.canary import PAYLOADS
from tests.hostile.case import Ground, Hostile
from tests.hostile.folders import DEMO

_DECODER: Final = "this is the decoder of kandinsky-2.2 alone"
_README_BOMB: Final = "---\na: &a [x, x]\n" + "\n".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]" for i in range(20)
)


def cases() -> Iterator[Hostile]:
    """All of them."""
    for name, (release, *files) in _BESIDE.items():
        yield _pickled(name, release, files)
    for name, (release, file, words) in _ALONE.items():
        yield _pickled(name, release, [file], words)
    for name, (text, detected) in _READMES.items():
        yield _readme(name, text, detected)


def _trapped(ground: Ground, state: Any, *, hidden: bool) -> Any:
    """All traps at once, beside a file's own tensors or instead of them."""
    traps = [ground.canary.payload(kind) for kind in PAYLOADS]
    if not hidden:
        return traps
    if isinstance(state, tuple | list):
        return [*state, *traps]
    return state | {"callbacks": {"first": traps[0], "rest": [tuple(traps[1:])]}}


def _pickled(name: str, release: str, files: Sequence[str], alone: str = "") -> Hostile:
    """A release, or the bundled model, some of whose files are pickles with traps.

    With ``alone``, the words of detection, they hold nothing else.
    """

    def write(ground: Ground) -> Path:
        if release == "demo":
            path = ground.copy(DEMO).rename(ground.folder / "kandinsky3")
        else:
            path = ground.copy(ground.release(release))
        for file in files:
            _pickle(ground, path / file, hidden=not alone)
        return path

    return Hostile(name, write, alone, loaded=None if alone else "")


def _pickle(ground: Ground, target: Path, *, hidden: bool) -> None:
    """Put a pickle in the place of a file, or of the safetensors file beside it; a shard with its index."""
    if target.exists():
        state = torch.load(target, weights_only=True)
        target.unlink()
    else:
        safe = next(target.parent.glob("*.safetensors"))
        state = load_file(safe)
        safe.unlink()
    if "-of-" in target.name:
        index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(state, target.name)}
        named = target.name.partition("-")[0]
        target.with_name(f"{named}.bin.index.json").write_text(json.dumps(index))
    torch.save(_trapped(ground, state, hidden=hidden), target)


_ENCODER: Final = "weights/flan_ul2_encoder"
_BESIDE: Final[Mapping[str, tuple[str, ...]]] = {
    "kandinsky3-traps": (
        "kandinsky3",
        "weights/kandinsky3.pt",
        "weights/movq.pt",
        f"{_ENCODER}/projection.pt",
        f"{_ENCODER}/pytorch_model.bin",
    ),
    "kandinsky21-traps": (
        "kandinsky21",
        "decoder_fp16.ckpt",
        "ViT-L-14_stats.th",
        "text_encoder/pytorch_model.bin",
        "prior_fp16.ckpt",
    ),
    "demo-traps": ("demo", "unet/diffusion_pytorch_model.bin", "text_encoder/pytorch_model.bin"),
    "demo-sharded-traps": (
        "demo",
        "unet/diffusion_pytorch_model-00001-of-00001.bin",
        "text_encoder/pytorch_model-00001-of-00001.bin",
    ),
}
"""Where the files' own tensors are there, too: release and files. Such models are loaded."""

_ALONE: Final[Mapping[str, tuple[str, str, str]]] = {
    "movq-alone": ("kandinsky3", "weights/movq.pt", "movq.pt holds no tensors"),
    "projection-alone": ("kandinsky3", f"{_ENCODER}/projection.pt", "projection.pt holds no tensors"),
    "encoder-alone": ("kandinsky3", f"{_ENCODER}/pytorch_model.bin", "pytorch_model.bin holds no tensors"),
    "stats-alone": ("kandinsky21", "ViT-L-14_stats.th", "ViT-L-14_stats.th holds no tensors"),
    "xlm-alone": ("kandinsky21", "text_encoder/pytorch_model.bin", "pytorch_model.bin holds no tensors"),
    "unet-alone": ("demo", "unet/diffusion_pytorch_model.bin", "unet: diffusion_pytorch_model.bin holds no"),
    "shard-alone": (
        "demo",
        "text_encoder/pytorch_model-00001-of-00001.bin",
        "text_encoder: pytorch_model-00001-of-00001.bin holds no tensors",
    ),
}
"""Release, file, and the words of detection."""


def _readme(name: str, text: str, detected: str) -> Hostile:
    """A decoder whose README.md names its prior."""

    def write(ground: Ground) -> Path:
        path = ground.copy(ground.tiny("kandinsky22-decoder"))
        (path / "README.md").write_bytes(text.encode())
        return path

    return Hostile(f"readme-{name}", write, detected)


_READMES: Final[Mapping[str, tuple[str, str]]] = {
    "bomb": (_README_BOMB + "\nprior: *u\n---\n", _DECODER),
    "python": ("---\nprior: !!python/object/apply:os.system ['touch hostile_sprung']\n---\n", _DECODER),
    "nul": ("---\nprior: a\0b\n---\n", _DECODER),
    "long": (f"---\nprior: {'a' * 5000}\n---\n", _DECODER),
    "passwd": ("---\nprior: ../../../../../../etc/passwd\n---\n", _DECODER),
    "itself": ("---\nprior: .\n---\n", _DECODER),
    "endless": ("---\n" + "x: y\n" * 300_000, _DECODER),
}
