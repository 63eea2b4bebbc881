"""The header of a .safetensors file: eight bytes of length, then JSON."""

from __future__ import annotations

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
        header = parse_object(file.read(length), f"the header of {path.name}")
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
        shape = tuple(int(edge) for edge in entry["shape"])
        dtype = str(entry["dtype"])
        tensor = Tensor(_DTYPES.get(dtype, dtype.lower()), shape)
        begin, end = (int(offset) for offset in entry["data_offsets"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise NotLoadable(file, f"the header of {file} is damaged at {name!r}") from error
    if not 0 <= begin <= end or min(shape, default=0) < 0:
        raise NotLoadable(file, f"the header of {file} is damaged at {name!r}: its place cannot be")
    if dtype in _DTYPES and tensor.size != end - begin:
        reason = (
            f"the header of {file} is damaged at {name!r}: {end - begin} bytes for a tensor of {tensor.size}"
        )
        raise NotLoadable(file, reason)
    return name, tensor, end


def _metadata(file: str, value: Any) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(word, str) for word in value.values()):
        raise NotLoadable(file, f"the header of {file} is damaged at '__metadata__'")
    return value
