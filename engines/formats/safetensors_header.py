"""The header of a .safetensors file: eight bytes of length, then JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from engines.errors import NotLoadable
from engines.formats.content import parse_object
from engines.formats.tensor import Tensor

# The format's own limit; a larger length is a damaged file, not a reason to allocate.
_LARGEST_HEADER: Final = 100_000_000
# Of values in it, each of which takes a hundred bytes of memory: the largest models have some ten thousand.
_MOST_VALUES: Final = 2_000_000
_MOST_DIMENSIONS: Final = 64
_LONGEST: Final = 2**63
_MOST_SHOWN: Final = 100
_TYPE: Final = re.compile(r"[A-Z][A-Z0-9_]{0,15}")
_DTYPES: Final = MappingProxyType(
    {
        "F64": "float64",
        "F32": "float32",
        "F16": "float16",
        "BF16": "bfloat16",
        "F8_E4M3": "float8_e4m3fn",
        "F8_E5M2": "float8_e5m2",
        "I64": "int64",
        "I32": "int32",
        "I16": "int16",
        "I8": "int8",
        "U64": "uint64",
        "U32": "uint32",
        "U16": "uint16",
        "U8": "uint8",
        "BOOL": "bool",
        "C64": "complex64",
    }
)


@dataclass(frozen=True)
class Header:
    """What a header says: the tensors, and the words that its author put beside them."""

    tensors: dict[str, Tensor]
    metadata: Mapping[str, str] = field(default_factory=dict)


def recognises(start: bytes) -> bool:
    """Whether a file that starts so is a safetensors file."""
    return len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _LARGEST_HEADER


def read(path: Path) -> Header:
    """Read the header of a safetensors file, and check that the file is as long as it says.

    Raises:
        NotLoadable: the file is damaged or shorter than its header says.
    """
    there = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > there - 8:
            raise NotLoadable(path.name, f"{path.name} is truncated within its header")
        text = file.read(length)
    if sum(text.count(mark) for mark in (b",", b"[", b"{")) > _MOST_VALUES:
        raise NotLoadable(path.name, f"the header of {path.name} is damaged: it holds millions of values")
    header = parse_object(text, f"the header of {path.name}")
    metadata = header.pop("__metadata__", None)
    entries = [_entry(path.name, name, entry) for name, entry in header.items()]
    expected = 8 + length + max((end for _, _, end in entries), default=0)
    if there < expected:
        reason = f"{path.name} is truncated: it holds {there} of {expected} bytes; download it again"
        raise NotLoadable(path.name, reason)
    return Header({name: tensor for name, tensor, _ in entries}, _metadata(path.name, metadata))


def _entry(file: str, name: str, entry: Any) -> tuple[str, Tensor, int]:
    """Name, tensor, and where its bytes end."""
    try:
        shape, dtype, (begin, end) = tuple(entry["shape"]), entry["dtype"], entry["data_offsets"]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise NotLoadable(file, f"the header of {file} is damaged at {_shown(name)}") from error
    lengths = (*shape, begin, end)
    if (
        len(shape) > _MOST_DIMENSIONS
        or not all(type(each) is int and 0 <= each < _LONGEST for each in lengths)
        or begin > end
    ):
        raise NotLoadable(file, f"the header of {file} is damaged at {_shown(name)}: its place cannot be")
    if not isinstance(dtype, str) or not _TYPE.fullmatch(dtype):
        raise NotLoadable(file, f"the header of {file} is damaged at {_shown(name)}: no type is called so")
    tensor = Tensor(_DTYPES.get(dtype, dtype.lower()), shape)
    if dtype in _DTYPES and tensor.size != end - begin:
        reason = (
            f"the header of {file} is damaged at {_shown(name)}: {end - begin} bytes for a tensor of "
            f"{tensor.size}"
        )
        raise NotLoadable(file, reason)
    return name, tensor, end


def _shown(name: str) -> str:
    """The name in quotes; of one that fills a page, its beginning."""
    return repr(name if len(name) <= _MOST_SHOWN else f"{name[:_MOST_SHOWN]}…")


def _metadata(file: str, value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(word, str) for word in value.values()):
        raise NotLoadable(file, f"the header of {file} is damaged at '__metadata__'")
    return value
