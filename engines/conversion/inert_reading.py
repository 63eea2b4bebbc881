"""Tensors out of a pickled checkpoint that torch refuses: those of trainers, with classes of their own.

`engines.formats.pickle_metadata` has walked the program without executing it, and knows of every tensor
where its bytes lie. They are mapped from there; whatever else the program would make is left out.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch

from engines.errors import NotLoadable
from engines.formats.tensor import MOST_REPEATED, WIDTHS, Place, Tensor
from engines.formats.weights import Weights

_LOCAL_HEADER: Final = struct.Struct("<4s22xHH")
"""Of a member of a zip archive: signature, length of its name, length of its extra field."""
_SIGNATURE: Final = b"PK\x03\x04"
_OTHER_ORDER: Final = b"big"


def is_archive(path: Path) -> bool:
    """Whether a file is a zip archive by its first bytes, as torch tells: one that only ends so is none."""
    with path.open("rb") as file:
        return file.read(len(_SIGNATURE)) == _SIGNATURE


def read_inert(path: Path, stored: Weights) -> dict[str, torch.Tensor]:
    """The tensors that ``stored`` lists, mapped from a checkpoint in torch's zip format.

    Raises:
        NotLoadable: it has another format, is compressed, or a tensor reaches beyond its bytes.
    """
    if not is_archive(path):
        reason = (
            f"{path.name} is a pickle of before PyTorch 1.6 with classes of its own, which are never made: "
            "save its state_dict anew with a current PyTorch"
        )
        raise NotLoadable(path.name, reason)
    with zipfile.ZipFile(path) as archive:
        program = next(entry.filename for entry in archive.infolist() if entry.filename.endswith("/data.pkl"))
        folder = program.removesuffix("data.pkl")
        entries = {entry.filename: entry for entry in archive.infolist()}
        order = entries.get(f"{folder}byteorder")
        if order is not None and archive.open(order).read(len(_OTHER_ORDER)) == _OTHER_ORDER:
            raise NotLoadable(
                path.name, f"{path.name} was saved on a big-endian machine: save it anew on this one"
            )
    size = path.stat().st_size
    whole = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8).untyped_storage()
    places = {
        key: _bytes_of(path, entries.get(f"{folder}data/{key}"), key) for key in _storages(stored.tensors)
    }
    return {name: _tensor(path, name, tensor, whole, places) for name, tensor in stored.tensors.items()}


def _storages(tensors: Mapping[str, Tensor]) -> set[str]:
    return {tensor.place.storage for tensor in tensors.values() if tensor.place is not None}


def _bytes_of(path: Path, entry: zipfile.ZipInfo | None, key: str) -> tuple[int, int]:
    """Where a storage's bytes begin in the file, and how many there are."""
    if entry is None:
        raise NotLoadable(path.name, f"{path.name} is damaged: it lacks the bytes of the storage {key!r}")
    if entry.compress_type != zipfile.ZIP_STORED:
        raise NotLoadable(path.name, f"{path.name} is compressed and has classes of its own: save it anew")
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size or not header.startswith(_SIGNATURE):
        raise NotLoadable(path.name, f"{path.name} is damaged at its storage {key!r}")
    _, name, extra = _LOCAL_HEADER.unpack(header)
    return entry.header_offset + _LOCAL_HEADER.size + name + extra, entry.file_size


def _tensor(
    path: Path,
    name: str,
    tensor: Tensor,
    whole: torch.UntypedStorage,
    places: Mapping[str, tuple[int, int]],
) -> torch.Tensor:
    place = tensor.place
    assert place is not None, "the machine gives every tensor of a checkpoint its place"
    begin, length = places[place.storage]
    if _reach(tensor, place) > length or begin + length > whole.nbytes():
        raise NotLoadable(path.name, f"{path.name} is damaged: {name} reaches beyond its bytes")
    if tensor.size > MOST_REPEATED * length:
        raise NotLoadable(path.name, f"{path.name} is damaged: {name} repeats its bytes without end")
    dtype = getattr(torch, tensor.dtype)
    whole_elements = length - length % dtype.itemsize
    raw = torch.empty(0, dtype=torch.uint8).set_(whole, begin, (whole_elements,), (1,))
    # Torch aligns storages to 64 bytes; a file that others wrote may not.
    typed = (raw if begin % dtype.itemsize == 0 else raw.clone()).view(dtype)
    # The offset of a strided view counts from the beginning of the file, not of what it is a view of.
    return typed.as_strided(tensor.shape, place.stride, typed.storage_offset() + place.offset)


def _reach(tensor: Tensor, place: Place) -> int:
    """How many bytes of its storage a tensor needs."""
    if 0 in tensor.shape:
        return 0
    last = place.offset + sum(
        (edge - 1) * step for edge, step in zip(tensor.shape, place.stride, strict=True)
    )
    return (last + 1) * WIDTHS[tensor.dtype]
