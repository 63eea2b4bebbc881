"""Single files of Stable Diffusion and Flux, made of tiny diffusers folders, and short ways to load them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from engines.calls import EngineOptions, LoadProgress
from engines.card import ModelCard
from engines.detection import detect
from engines.errors import LoadFailed
from engines.loading import LoadedModel, load
from tests.originals import stable_diffusion as originals

State = dict[str, Tensor]
Folders = Callable[[str], Path]

FORMS: Final[Mapping[str, tuple[str, Callable[[Path], State]]]] = {
    "sd15": ("sd15", originals.stable_diffusion),
    "sd2": ("sd2", originals.stable_diffusion_2),
    "sdxl": ("sdxl", originals.stable_diffusion_xl),
    "sd3": ("sd3", partial(originals.stable_diffusion_3, with_text=True)),
    "sd3-without-text": ("sd3", partial(originals.stable_diffusion_3, with_text=False)),
    "flux": ("flux", originals.flux),
    "flux-whole": ("flux", originals.flux_whole),
}
"""By form: the tiny diffusers folder it is of, and what makes the file's tensors of that."""


class Written(Protocol):
    """Writes a form's file, with tensors changed or added, into a folder with nothing else in it."""

    def __call__(self, form: str, change: Callable[[State], State] = ..., name: str = ...) -> Path: ...


def varied(tiny_models: Folders, root: Path) -> Folders:
    """Give tiny diffusers folders no two of whose tensors are alike: the norms of the others all are."""

    def folder(name: str) -> Path:
        path = root / name
        if not path.exists():
            shutil.copytree(tiny_models(name), path)
            generator = torch.Generator().manual_seed(1)
            for file in sorted(path.glob("*/*.safetensors")):
                _vary(file, generator)
        return path

    return folder


def writer(folders: Folders, root: Path) -> Written:
    """Give what writes files of ``folders`` into ``root``."""

    def write(form: str, change: Callable[[State], State] = lambda state: state, name: str = "") -> Path:
        folder, make = FORMS[form]
        root.mkdir(exist_ok=True)
        path = root / (name or f"{form}.safetensors")
        save_file(change(make(folders(folder))), path)
        return path

    return write


def options(tmp_path: Path) -> EngineOptions:
    return EngineOptions(device="cpu", threads=1, cache_folder=str(tmp_path / "cache"))


def ignore(progress: LoadProgress) -> None:
    """A report nobody looks at."""


def described(path: Path, config: Path | None = None) -> ModelCard:
    """The card of a file that can be loaded."""
    card = detect(path, components={"config": config} if config else {})
    assert card.loadable, card.reason
    return card


def loaded(path: Path, tmp_path: Path, config: Path | None = None) -> LoadedModel:
    return load(described(path, config), options(tmp_path), ignore)


def refusal(path: Path, config: Path | None = None) -> str:
    """Why a file cannot be loaded, as detection sees it."""
    card = detect(path, components={"config": config} if config else {})
    assert not card.loadable
    assert card.reason is not None
    return card.reason


def failure(path: Path, tmp_path: Path, config: Path) -> str:
    """Why a file that looks whole cannot be loaded; it tells no absolute path."""
    with pytest.raises(LoadFailed) as caught:
        loaded(path, tmp_path, config)
    assert str(tmp_path.parent) not in caught.value.reason
    return caught.value.reason


def without_weights(folder: Path, to: Path) -> Path:
    """A copy of a diffusers folder that has its configurations and vocabularies alone."""
    return Path(shutil.copytree(folder, to, ignore=shutil.ignore_patterns("*.safetensors")))


def _vary(file: Path, generator: torch.Generator) -> None:
    tensors = load_file(file)
    for name, tensor in tensors.items():
        # Of the first encoder of Stable Diffusion 3 it is the identity, which no file holds.
        if not (name == "text_projection.weight" and file.parent.name == "text_encoder"):
            tensor += 0.02 * torch.randn(tensor.shape, generator=generator)
    save_file(tensors, file, metadata={"format": "pt"})
