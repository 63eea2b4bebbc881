"""The tensors of a weight file, mapped into memory: nothing is read before it is used, nothing executed."""

from __future__ import annotations

import pickle
import struct
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file

from engines.card import CheckpointFormat
from engines.conversion.inert_reading import is_archive, read_inert
from engines.errors import NotLoadable
from engines.formats import single_file, weights
from engines.formats.tensor import MOST_REPEATED
from engines.pickles import require_safe


def open_tensors(path: Path, wrapper: str | None = None) -> dict[str, torch.Tensor]:
    """The tensors of a weight file on the CPU, without the wrapper and prefix that trainers add.

    ``wrapper`` is the key of a pickle under which they lie, where it is not one of the usual.

    A pickle in torch's zip format is read by `engines.conversion.inert_reading`, for which a class is a word;
    one of another form by ``torch.load(weights_only=True)``, if it makes nothing but tensors: of the classes
    that torch lets through, some take any memory that a program asks for.

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


def map_part(path: Path, prefix: str) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors file whose names begin with ``prefix``, named without it, mapped.

    Raises:
        NotLoadable: the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 (it is no mapping)
            return {name.removeprefix(prefix): file.get_tensor(name) for name in names}
    except SafetensorError as error:
        raise NotLoadable(path.name, f"{path.name} is damaged: {error}") from error


def _pickle(path: Path, stored: weights.Weights) -> dict[str, torch.Tensor]:
    require_safe(path.name)
    try:
        if stored.foreign or _can_be_mapped(path):
            return read_inert(path, stored)
        with warnings.catch_warnings():
            # Of the protocol that a file was written in, which is nobody's concern.
            warnings.simplefilter("ignore")
            tree = torch.load(path, map_location="cpu", weights_only=True)
        return _named(tree, stored)
    except pickle.UnpicklingError:
        return read_inert(path, stored)
    except _DAMAGED as error:
        reason = f"{path.name} is damaged: torch cannot read it ({type(error).__name__})"
        raise NotLoadable(path.name, reason) from error


_DAMAGED: Final = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What torch's unpickler raises on a program that is malformed."""


def _named(tree: Any, stored: weights.Weights) -> dict[str, torch.Tensor]:
    """The tensors that `weights.read` lists, and no others.

    Their own methods are not called: a program can give an object attributes of the same names.
    """
    if isinstance(tree, list | tuple):
        tree = {str(place): value for place, value in enumerate(tree)}
    inside = dict.__getitem__(tree, stored.wrapper) if stored.wrapper else tree
    found = {}
    for name, listed in stored.tensors.items():
        tensor = torch.Tensor.detach(dict.__getitem__(inside, name))
        if tuple(tensor.shape) != listed.shape or str(tensor.dtype) != f"torch.{listed.dtype}":
            raise ValueError(f"{name} is another tensor than the one listed")
        if listed.size > MOST_REPEATED * tensor.untyped_storage().nbytes():
            raise ValueError(f"{name} repeats its bytes without end")
        found[name] = tensor
    return found


def _can_be_mapped(path: Path) -> bool:
    """Whether it is a zip archive whose tensors are stored and not deflated."""
    if not is_archive(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
