"""Pickle programs written opcode by opcode, and the files of PyTorch around them."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

NAMES: Final = (
    "feature_pooling.attention.to_query.weight",
    "down_samples.0.resnet_attn_blocks.0.0.x.weight",
)
"""By which a UNet of Kandinsky 3 is told."""
STORAGE: Final = bytes(12)
"""Six half precision numbers."""
_MAGIC: Final = 0x1950A86A20F9469CFC6C


def text(word: str) -> bytes:
    """A string."""
    data = word.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    """An integer of any size and sign."""
    return pickle.dumps(value, 2)[2:-1]


def group(*values: bytes) -> bytes:
    """A tuple."""
    return b"(" + b"".join(values) + b"t"


def numbers(*values: int) -> bytes:
    """A tuple of integers."""
    return group(*map(number, values))


def named(module: str, name: str) -> bytes:
    """A global."""
    return f"c{module}\n{name}\n".encode()


def call(function: bytes, *arguments: bytes) -> bytes:
    """A call."""
    return function + group(*arguments) + b"R"


def mapping(**values: bytes) -> bytes:
    """A dict."""
    return b"}(" + b"".join(text(key) + value for key, value in values.items()) + b"u"


def storage(*, kind: bytes = named("torch", "HalfStorage"), key: bytes = text("0"), count: int = 6) -> bytes:
    """A storage by its persistent id."""
    return group(text("storage"), kind, key, text("cpu"), number(count)) + b"Q"


def tensor(
    *,
    of: bytes | None = None,
    offset: bytes = number(0),
    shape: bytes = numbers(2, 3),
    stride: bytes = numbers(3, 1),
    function: str = "_rebuild_tensor_v2",
    more: tuple[bytes, ...] = (),
) -> bytes:
    """A tensor, as torch describes it or not."""
    hooks = call(named("collections", "OrderedDict"))
    parts = (storage() if of is None else of, offset, shape, stride, b"\x89", hooks, *more)
    return call(named("torch._utils", function), *parts)


def checkpoint(first: bytes | None = None, *, protocol: int = 2, **beside: bytes) -> bytes:
    """A program that makes a trainer's state: two tensors, ``first`` and another, and things beside them."""
    tensors = (tensor() if first is None else first, tensor())
    state = b"}(" + b"".join(text(name) + value for name, value in zip(NAMES, tensors, strict=True)) + b"u"
    return bytes((0x80, protocol)) + mapping(state_dict=state, **beside) + b"."


def zipped(
    program: bytes,
    *,
    method: int = zipfile.ZIP_STORED,
    storages: Mapping[str, bytes] | None = None,
    more: Mapping[str, bytes] | None = None,
) -> bytes:
    """PyTorch's format since 1.6."""
    file = io.BytesIO()
    given = {"0": STORAGE} if storages is None else storages
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/byteorder", "little")
        for key, data in given.items():
            archive.writestr(f"archive/data/{key}", data)
        archive.writestr("archive/version", "3\n")
        for name, data in (more or {}).items():
            archive.writestr(name, data)
    return file.getvalue()


def legacy(program: bytes, *, data: bytes = STORAGE, count: int = 6) -> bytes:
    """PyTorch's format before 1.6, in which the tensors' bytes follow the program."""
    system = {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    # Persistent ids had a sixth part, of views.
    program = program.replace(b"tQ", b"NtQ")
    heads = b"".join(pickle.dumps(value, 2) for value in (_MAGIC, 1001, system))
    return heads + program + pickle.dumps(["0"], 2) + struct.pack("<q", count) + data


def write(folder: Path, content: bytes, name: str = "kandinsky3.pt") -> Path:
    """A file in a folder."""
    path = folder / name
    path.write_bytes(content)
    return path
