"""The tensors of a weight file: names, types and shapes, never their values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Final

from engines.card import CheckpointFormat
from engines.errors import NotLoadable
from engines.formats import content, pickle_metadata, safetensors_header
from engines.formats.tensor import Tensor

SUFFIXES: Final = (".safetensors", ".ckpt", ".pt", ".pth", ".th", ".bin")
_REMEMBERED: Final = 16
"""Files whose lists are kept: about as many as one model has."""
_WRAPPERS: Final = ("state_dict", "unet", "model", "module", "params_ema", "ema")


@dataclass(frozen=True)
class Weights:
    """What a weight file holds. ``size`` is the bytes of its tensors; ``wrapper`` the key they lay under.

    ``beside`` are the keys that lay beside the tensors, which tell what a trainer's file is;
    ``metadata`` is what a safetensors file's author wrote into its header. ``foreign``: a pickle that would
    make more than tensors.
    """

    format: CheckpointFormat
    tensors: Mapping[str, Tensor] = field(repr=False)
    wrapper: str | None = None
    beside: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    foreign: bool = False

    @cached_property
    def size(self) -> int:
        """The bytes of all tensors."""
        return sum(tensor.size for tensor in self.tensors.values())

    @cached_property
    def dtype(self) -> str | None:
        """The type of most bytes."""
        return main_dtype((tensor.dtype, tensor.size) for tensor in self.tensors.values())


def main_dtype(sizes: Iterable[tuple[str | None, int]]) -> str | None:
    """The type that holds most bytes, among those that are known."""
    counted: Counter[str] = Counter()
    for dtype, size in sizes:
        if dtype is not None:
            counted[dtype] += size
    return max(counted, key=lambda dtype: (counted[dtype], dtype)) if counted else None


def read(path: Path, wrapper: str | None = None) -> Weights:
    """List the tensors of a weight file; its content decides the format, not its suffix.

    ``wrapper`` is the key of a pickle under which to look; without one the usual ones are tried.

    Raises:
        NotLoadable: the file is damaged or no weight file at all.
    """
    start = content.head(path, 16)
    status = path.stat()
    return _read(path, wrapper, start, (status.st_size, status.st_mtime_ns, status.st_ino))


@lru_cache(maxsize=_REMEMBERED)
def _read(path: Path, wrapper: str | None, start: bytes, _: tuple[int, int, int]) -> Weights:
    """`read` of a file in one state: detection, conversion and loading each ask for the same ones."""
    if safetensors_header.recognises(start):
        header = safetensors_header.read(path)
        return Weights(CheckpointFormat.SAFETENSORS_FILE, header.tensors, metadata=header.metadata)
    if pickle_metadata.recognises(start):
        read_from = pickle_metadata.read(path)
        tree = read_from.tree
        found, tensors = _unwrap(tree, (wrapper,) if wrapper else _WRAPPERS)
        if not tensors:
            raise NotLoadable(path.name, f"{path.name} holds no tensors")
        beside = tuple(key for key in tree if isinstance(key, str)) if isinstance(tree, dict) else ()
        beside = beside if found else ()
        return Weights(CheckpointFormat.PICKLE_FILE, tensors, found, beside, foreign=read_from.foreign)
    raise NotLoadable(path.name, f"{path.name} is neither a safetensors file nor a PyTorch checkpoint")


def _unwrap(tree: object, wrappers: Iterable[str]) -> tuple[str | None, dict[str, Tensor]]:
    """Trainers put the tensors beside their own state, under one of a few keys.

    The tensors of a bare list are named by their places: "0", "1".
    """
    if isinstance(tree, list | tuple):
        return None, _tensors({str(place): value for place, value in enumerate(tree)})
    if not isinstance(tree, dict):
        return None, {}
    for wrapper in wrappers:
        inner = tree.get(wrapper)
        if isinstance(inner, dict):
            tensors = _tensors(inner)
            if tensors:
                return wrapper, tensors
    return None, _tensors(tree)


def _tensors(tree: Mapping[object, object]) -> dict[str, Tensor]:
    return {key: value for key, value in tree.items() if isinstance(key, str) and isinstance(value, Tensor)}
