"""Components written to disk one tensor at a time, so that no more than one is ever in memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import torch

from engines.conversion.files import replacing

WEIGHTS: Final = MappingProxyType(
    {"diffusers": "diffusion_pytorch_model.safetensors", "transformers": "model.safetensors"}
)
"""How the libraries call a component's file of weights."""

_NAMES: Final = MappingProxyType(
    {
        torch.float64: "F64",
        torch.float32: "F32",
        torch.float16: "F16",
        torch.bfloat16: "BF16",
        torch.float8_e4m3fn: "F8_E4M3",
        torch.float8_e5m2: "F8_E5M2",
        torch.int64: "I64",
        torch.int32: "I32",
        torch.int16: "I16",
        torch.int8: "I8",
        torch.uint8: "U8",
        torch.bool: "BOOL",
    }
)
_CHUNK: Final = 2**26


def write_safetensors(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    *,
    metadata: Mapping[str, str],
    report: Callable[[int], None],
) -> None:
    """Write tensors (CPU, any shape) to a safetensors file, whole or not at all.

    ``report`` is told of every piece written, in bytes. Each tensor is asked for twice: for its size,
    and for its bytes.
    """
    # Wide types first: every tensor then begins at a multiple of its element's size.
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name in order:
        tensor = tensors[name]
        begin, end = end, end + tensor.numel() * tensor.dtype.itemsize
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            for piece in _pieces(tensors[name]):
                file.write(piece)
                report(len(piece))


def _pieces(tensor: torch.Tensor) -> list[memoryview]:
    """The bytes of a tensor as views, none longer than a chunk."""
    flat = tensor.detach().contiguous().reshape(-1)
    values: Any = flat.view(torch.uint8).numpy()
    data = memoryview(values) if flat.numel() else memoryview(b"")
    return [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
