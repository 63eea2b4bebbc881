"""One tensor of a weight file, without its values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from engines.errors import NotLoadable

MOST_REPEATED: Final = 1024
"""How often a tensor may name the bytes that it has: one that repeats a single number is of any size."""

WIDTHS: Final = MappingProxyType(
    {
        "float64": 8,
        "float32": 4,
        "float16": 2,
        "bfloat16": 2,
        "float8_e4m3fn": 1,
        "float8_e5m2": 1,
        "int64": 8,
        "int32": 4,
        "int16": 2,
        "int8": 1,
        "uint64": 8,
        "uint32": 4,
        "uint16": 2,
        "uint8": 1,
        "bool": 1,
        "complex64": 8,
        "complex128": 16,
    }
)
"""Bytes of one element, by torch's name of the type."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a PyTorch checkpoint keeps a tensor: ``offset`` and ``stride`` count elements of its type."""

    storage: str
    offset: int
    stride: tuple[int, ...]


def shape_of(tensors: Mapping[str, Tensor], name: str, rank: int) -> tuple[int, ...]:
    """The shape of a tensor that must be there with so many dimensions.

    Raises:
        NotLoadable: it is missing, or has more or fewer.
    """
    tensor = tensors.get(name)
    if tensor is None:
        raise NotLoadable(name, f"it lacks the tensor {name}")
    if len(tensor.shape) != rank:
        raise NotLoadable(name, f"its tensor {name} has {len(tensor.shape)} dimensions instead of {rank}")
    return tensor.shape


@dataclass(frozen=True, slots=True)
class Tensor:
    """Shape and element type (torch's name)."""

    dtype: str
    shape: tuple[int, ...]
    place: Place | None = field(default=None, compare=False, repr=False)

    @property
    def size(self) -> int:
        """Bytes."""
        return math.prod(self.shape) * WIDTHS.get(self.dtype, 1)
