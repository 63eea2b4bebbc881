"""Folders of diffusers with links that lead out of them, what is no file, and odd lists of shards."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from safetensors.torch import load_file

from tests.hostile.case import Hostile, replace
from tests.hostile.folders import Change, changed

_WEIGHTS: Final = "diffusion_pytorch_model.safetensors"


def cases() -> Iterator[Hostile]:
    """All of them."""
    for name, (change, detected, loaded) in _FILES.items():
        yield changed(name, change, detected, loaded)


def _linked(name: str, target: str) -> Change:
    """A file or folder that is a link; ``OUT`` in the target is a folder beside the model."""

    def change(path: Path) -> None:
        out = path.parent / "out"
        out.mkdir()
        for file in path.rglob("*.*"):
            if file.is_file():
                (out / file.name).write_bytes(file.read_bytes())
        place = path / name
        if place.is_dir():
            place.rename(out / place.name)
        else:
            place.unlink(missing_ok=True)
        place.symlink_to(target.replace("OUT", str(out)))

    return change


def _pipe(name: str) -> Change:
    def change(path: Path) -> None:
        (path / name).unlink(missing_ok=True)
        os.mkfifo(path / name)

    return change


def _socket(name: str) -> Change:
    def change(path: Path) -> None:
        (path / name).unlink(missing_ok=True)
        here = Path.cwd()
        os.chdir((path / name).parent)  # the path of a socket has at most a hundred letters
        try:
            with socket.socket(socket.AF_UNIX) as made:
                made.bind((path / name).name)
        finally:
            os.chdir(here)

    return change


def _sharded(*files: str, kind: str = "safetensors", decoy: str | None = None) -> Change:
    """The UNet as an index of these files."""

    def change(path: Path) -> None:
        weights = path / "unet" / _WEIGHTS
        if decoy:
            replace(path / "unet" / decoy, weights.read_bytes())
        names = list(load_file(weights))
        placed = {name: files[place % len(files)] for place, name in enumerate(names)}
        weights.unlink()
        index = {"metadata": {"total_size": 1}, "weight_map": placed}
        ending = {"safetensors": "safetensors", "bin": "bin"}[kind]
        replace(path / "unet" / f"diffusion_pytorch_model.{ending}.index.json", json.dumps(index))

    return change


_FILES: Final[Mapping[str, tuple[Change, str, str | None]]] = {
    "link-component": (_linked("movq", "OUT/movq"), "is a link that leads out of the model's folder", None),
    "link-weights": (
        _linked(f"unet/{_WEIGHTS}", f"OUT/{_WEIGHTS}"),
        "is a link that leads out of the model's folder",
        None,
    ),
    "link-config": (
        _linked("unet/config.json", "OUT/config.json"),
        "is a link that leads out of the model's folder",
        None,
    ),
    "link-beside": (
        _linked("unet/evil.py", "OUT/config.json"),
        "is a link that leads out of the model's folder",
        None,
    ),
    "link-relative": (
        _linked("unet/config.json", "../../out/config.json"),
        "is a link that leads out of the model's folder",
        None,
    ),
    "link-to-zeros": (
        _linked(f"unet/{_WEIGHTS}", "/dev/zero"),
        "a pipe, a socket or a device, which is never read",
        None,
    ),
    "link-to-noise": (
        _linked("unet/config.json", "/dev/urandom"),
        "a pipe, a socket or a device, which is never read",
        None,
    ),
    "link-to-memory": (
        _linked(f"unet/{_WEIGHTS}", "/proc/self/mem"),
        "is a link that leads out of the model's folder",
        None,
    ),
    "link-of-index-to-noise": (
        _linked("model_index.json", "/dev/urandom"),
        "the folder has no model_index.json",
        None,
    ),
    "link-of-presets-to-noise": (
        _linked("gateway.json", "/dev/urandom"),
        "a pipe, a socket or a device, which is never read",
        None,
    ),
    "link-to-itself": (_linked(f"unet/{_WEIGHTS}", _WEIGHTS), "is a link that leads to itself", None),
    "link-to-itself-beside": (_linked("unet/loop", "loop"), "is a link that leads to itself", None),
    "link-to-itself-component": (_linked("movq", "movq"), "there is no folder movq/", None),
    "link-to-parent": (
        _linked("unet/again", "../.."),
        "is a link that leads out of the model's folder",
        None,
    ),
    "link-broken": (_linked(f"unet/{_WEIGHTS}", "nowhere"), "safetensors is missing", None),
    "pipe-weights": (_pipe(f"unet/{_WEIGHTS}"), "a pipe, a socket or a device, which is never read", None),
    "pipe-config": (_pipe("unet/config.json"), "a pipe, a socket or a device, which is never read", None),
    "pipe-beside": (
        _pipe("tokenizer/added_tokens.json"),
        "a pipe, a socket or a device, which is never read",
        None,
    ),
    "pipe-presets": (_pipe("gateway.json"), "a pipe, a socket or a device, which is never read", None),
    "pipe-index": (_pipe("model_index.json"), "the folder has no model_index.json", None),
    "pipe-vocabulary": (
        _pipe("tokenizer/tokenizer.json"),
        "a pipe, a socket or a device, which is never read",
        None,
    ),
    "pipe-scheduler": (
        _pipe("scheduler/scheduler_config.json"),
        "a pipe, a socket or a device, which is never read",
        None,
    ),
    "pipe-of-shards": (
        _pipe("unet/diffusion_pytorch_model.safetensors.index.json"),
        "a pipe, a socket or a device, which is never read",
        None,
    ),
    "socket-weights": (
        _socket(f"unet/{_WEIGHTS}"),
        "a pipe, a socket or a device, which is never read",
        None,
    ),
    "shards-up": (_sharded("../../etc/passwd"), "which is no .safetensors file beside it", None),
    "shards-absolute": (_sharded("/etc/passwd"), "which is no .safetensors file beside it", None),
    "shards-decoy": (
        _sharded("../../out/model.safetensors", decoy="model.safetensors"),
        "",
        "contains a path separator",
    ),
    "shards-pickled": (_sharded("a.bin", decoy="a.bin"), "which is no .safetensors file beside it", None),
    "shards-nul": (_sharded("a\0.safetensors"), "is missing", None),
    "shards-dots": (_sharded(".."), "which is no .safetensors file beside it", None),
    "shards-missing": (_sharded("a.safetensors"), "a.safetensors is missing", None),
}
"""What is changed in the folder, and the words of detection and of loading."""
