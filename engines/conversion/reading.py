"""The tensors of a weight file, mapped into memory: nothing is read before it is used, nothing executed."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from engines.card import CheckpointFormat
from engines.conversion.inert_reading import read_inert
from engines.errors import NotLoadable
from engines.formats import single_file, weights
from engines.pickles import require_safe


def open_tensors(path: Path, wrapper: str | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a weight file on the CPU, without the wrapper and prefix that trainers add.

    ``wrapper`` is the key of a pickle under which they lie, where it is not one of the usual.

    A pickle is opened by ``torch.load(weights_only=True)``; one with classes that torch does not let
    through (trainers' states) is read by `engines.conversion.inert_reading`, for which a class is a word.

    Raises:
        NotLoadable: the file is damaged, or no weight file.
    """
    stored = weights.read(path, wrapper)
    if stored.format is CheckpointFormat.SAFETENSORS_FILE:
        found = map_safetensors(path)
    else:
        found = _pickle(path, stored)
    prefix = single_file.prefix_of(found)
    return {name.removeprefix(prefix): tensor for name, tensor in found.items()}


def map_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file as it names them, mapped.

    Raises:
        NotLoadable: the file is damaged.
    """
    try:
        return load_file(path)
    except SafetensorError as error:
        raise NotLoadable(path.name, f"{path.name} is damaged: {error}") from error


def _pickle(path: Path, stored: weights.Weights) -> dict[str, torch.Tensor]:
    require_safe(path.name)
    try:
        tree = torch.load(path, map_location="cpu", weights_only=True, mmap=_can_be_mapped(path))
    except pickle.UnpicklingError:
        return read_inert(path, stored)
    except (RuntimeError, EOFError, OSError, ValueError, zipfile.BadZipFile) as error:
        reason = f"{path.name} is damaged: torch cannot read it ({type(error).__name__})"
        raise NotLoadable(path.name, reason) from error
    return _named(tree, stored.wrapper)


def _named(tree: Any, wrapper: str | None) -> dict[str, torch.Tensor]:
    """The same tensors under the same names as `weights.read` lists."""
    if isinstance(tree, list | tuple):
        tree = {str(place): value for place, value in enumerate(tree)}
    inside: Mapping[Any, Any] = tree[wrapper] if wrapper else tree
    return {
        name: value.detach()
        for name, value in inside.items()
        if isinstance(name, str) and isinstance(value, torch.Tensor)
    }


def _can_be_mapped(path: Path) -> bool:
    """Whether it is a zip archive whose tensors are stored and not deflated."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
