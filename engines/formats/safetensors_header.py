"""The header of a .safetensors file: eight bytes of length, then JSON."""

from __future__ import annotations

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


def recognises(start: bytes) -> bool:
    """Whether a file that starts so is a safetensors file."""
    return len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _LARGEST_HEADER


def read(path: Path) -> dict[str, Tensor]:
    """List the tensors of a safetensors file.

    Raises:
        NotLoadable: the file is damaged or shorter than its header says.
    """
    there = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > there - 8:
            raise NotLoadable(path.name, f"{path.name} is truncated within its header")
        header = parse_object(file.read(length), f"the header of {path.name}")
    header.pop("__metadata__", None)
    entries = [_entry(path.name, name, entry) for name, entry in header.items()]
    expected = 8 + length + max((end for _, _, end in entries), default=0)
    if there < expected:
        reason = f"{path.name} is truncated: it holds {there} of {expected} bytes; download it again"
        raise NotLoadable(path.name, reason)
    return {name: tensor for name, tensor, _ in entries}


def _entry(file: str, name: str, entry: Any) -> tuple[str, Tensor, int]:
    """Name, tensor, and where its bytes end."""
    try:
        shape = tuple(int(edge) for edge in entry["shape"])
        dtype = str(entry["dtype"])
        return name, Tensor(_DTYPES.get(dtype, dtype.lower()), shape), int(entry["data_offsets"][1])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise NotLoadable(file, f"the header of {file} is damaged at {name!r}") from error
