"""Original releases and diffusers folders whose pickles hold a trap beside the real tensors, or instead."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file

from tests.hostile.canary import PAYLOADS
from tests.hostile.case import Ground, Hostile, replace
from tests.hostile.folders import DEMO

_ALONE: Final = "this is the decoder of kandinsky-2.2 alone"
_README_BOMB: Final = "---\na: &a [x, x]\n" + "\n".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [*{chr(97 + i)}, *{chr(97 + i)}]" for i in range(20)
)


def cases() -> Iterator[Hostile]:
    """All of them."""
    for name, (release, file, hidden, detected, loaded) in _RELEASES.items():
        yield _release(name, release, file, hidden=hidden, detected=detected, loaded=loaded)
    for name, (file, hidden, shards, detected, loaded) in _PICKLED.items():
        yield _pickled(name, file, hidden=hidden, shards=shards, detected=detected, loaded=loaded)
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


def _save(ground: Ground, file: Path, state: Any, *, hidden: bool) -> None:
    file.unlink(missing_ok=True)
    torch.save(_trapped(ground, state, hidden=hidden), file)


def _release(
    name: str, release: str, file: str, *, hidden: bool, detected: str, loaded: str | None
) -> Hostile:
    def write(ground: Ground) -> Path:
        path = ground.copy(ground.release(release))
        target = path / file
        if target.exists():
            state = torch.load(target, weights_only=True)
        else:
            safe = target.with_name("model.safetensors")
            state = load_file(safe)
            safe.unlink()
        _save(ground, target, state, hidden=hidden)
        return path

    return Hostile(name, write, detected, loaded=loaded)


_RELEASES: Final[Mapping[str, tuple[str, str, bool, str, str | None]]] = {
    "3-main": ("kandinsky3", "weights/kandinsky3.pt", True, "", ""),
    "3-movq": ("kandinsky3", "weights/movq.pt", True, "", ""),
    "3-projection": ("kandinsky3", "weights/flan_ul2_encoder/projection.pt", True, "", ""),
    "3-encoder": ("kandinsky3", "weights/flan_ul2_encoder/pytorch_model.bin", True, "", ""),
    "3-movq-alone": ("kandinsky3", "weights/movq.pt", False, "movq.pt holds no tensors", None),
    "3-projection-alone": (
        "kandinsky3",
        "weights/flan_ul2_encoder/projection.pt",
        False,
        "projection.pt holds no tensors",
        None,
    ),
    "3-encoder-alone": (
        "kandinsky3",
        "weights/flan_ul2_encoder/pytorch_model.bin",
        False,
        "pytorch_model.bin holds no tensors",
        None,
    ),
    "21-stats": ("kandinsky21", "ViT-L-14_stats.th", True, "", ""),
    "21-stats-alone": ("kandinsky21", "ViT-L-14_stats.th", False, "ViT-L-14_stats.th holds no tensors", None),
    "21-encoder": ("kandinsky21", "text_encoder/pytorch_model.bin", True, "", ""),
    "21-encoder-alone": (
        "kandinsky21",
        "text_encoder/pytorch_model.bin",
        False,
        "pytorch_model.bin holds no tensors",
        None,
    ),
    "21-prior": ("kandinsky21", "prior_fp16.ckpt", True, "", ""),
}


def _pickled(
    name: str, file: str, *, hidden: bool, shards: bool, detected: str, loaded: str | None
) -> Hostile:
    """The bundled model with one component's weights pickled."""

    def write(ground: Ground) -> Path:
        path = ground.copy(DEMO).rename(ground.folder / "kandinsky3")
        target = path / file
        safe = next(target.parent.glob("*.safetensors"))
        state = load_file(safe)
        safe.unlink()
        if shards:
            part = f"{target.stem}-00001-of-00001.bin"
            index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(state, part)}
            replace(target.with_name(f"{target.name}.index.json"), json.dumps(index))
            target = target.with_name(part)
        _save(ground, target, state, hidden=hidden)
        return path

    return Hostile(name, write, detected, loaded=loaded)


_PICKLED: Final[Mapping[str, tuple[str, bool, bool, str, str | None]]] = {
    "bin-diffusers": ("unet/diffusion_pytorch_model.bin", True, False, "", ""),
    "bin-diffusers-alone": (
        "unet/diffusion_pytorch_model.bin",
        False,
        False,
        "diffusion_pytorch_model.bin holds no tensors",
        None,
    ),
    "bin-diffusers-sharded": ("unet/diffusion_pytorch_model.bin", True, True, "", ""),
    "bin-transformers": ("text_encoder/pytorch_model.bin", True, False, "", ""),
    "bin-transformers-sharded": ("text_encoder/pytorch_model.bin", True, True, "", ""),
    "bin-transformers-alone": (
        "text_encoder/pytorch_model.bin",
        False,
        True,
        "00001.bin holds no tensors",
        None,
    ),
}


def _readme(name: str, text: str, detected: str) -> Hostile:
    """A decoder whose README.md names its prior."""

    def write(ground: Ground) -> Path:
        path = ground.copy(ground.tiny("kandinsky22-decoder"))
        (path / "README.md").write_bytes(text.encode())
        return path

    return Hostile(f"readme-{name}", write, detected)


_READMES: Final[Mapping[str, tuple[str, str]]] = {
    "bomb": (_README_BOMB + "\nprior: *u\n---\n", _ALONE),
    "python": ("---\nprior: !!python/object/apply:os.system ['touch hostile_sprung']\n---\n", _ALONE),
    "nul": ("---\nprior: a\0b\n---\n", _ALONE),
    "long": (f"---\nprior: {'a' * 5000}\n---\n", _ALONE),
    "passwd": ("---\nprior: ../../../../../../etc/passwd\n---\n", _ALONE),
    "itself": ("---\nprior: .\n---\n", _ALONE),
    "endless": ("---\n" + "x: y\n" * 300_000, _ALONE),
}
