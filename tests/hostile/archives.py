"""Archives that are not what they say, and tensors that reach for bytes that are not theirs."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.hostile import programs
from tests.hostile.case import Ground, Hostile
from tests.hostile.programs import STORAGE, checkpoint, named, number, numbers, storage, tensor, text, zipped

_MISSING: Final = "these parts of the model are missing"
_UNKNOWN: Final = "its tensors are not those of a model known here"
_TORCH: Final = "is damaged: torch cannot read it"
_BEYOND: Final = "reaches beyond its bytes"


@dataclass(frozen=True)
class Member:
    """A file in an archive as it lies there, and what headers say of it instead of the truth."""

    name: bytes
    data: bytes
    method: int = zipfile.ZIP_STORED
    size: int | None = None
    crc: int | None = None
    local_name: bytes | None = None
    local_size: int | None = None
    said_offset: int | None = None


def archive(*members: Member) -> bytes:
    """A zip archive, lies and all."""
    body, directory = b"", b""
    for each in members:
        size = len(each.data) if each.size is None else each.size
        crc = zlib.crc32(each.data) if each.crc is None else each.crc
        offset = len(body) if each.said_offset is None else each.said_offset
        known = struct.pack("<HHHHHI", 20, 0, each.method, 0, 33, crc)
        local_name = each.name if each.local_name is None else each.local_name
        local_size = size if each.local_size is None else each.local_size
        body += b"PK\x03\x04" + known + struct.pack("<IIHH", local_size, local_size, len(local_name), 0)
        body += local_name + each.data
        packed = len(each.data) if each.method else size
        directory += b"PK\x01\x02\x14\x00" + known + struct.pack("<IIH", packed, size, len(each.name))
        directory += struct.pack("<HHHHII", 0, 0, 0, 0, 0, offset) + each.name
    counts = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(directory), len(body), 0)
    return body + directory + b"PK\x05\x06" + counts


def cases() -> Iterator[Hostile]:
    """All of them."""
    for name, (content, words) in _REFUSED.items():
        yield _file(f"archive-{name}", content, words, words)
    for name, (content, opened) in _READ.items():
        yield _file(f"archive-{name}", content, _MISSING, opened)
    for name, first in _UNLISTED.items():
        yield from _tensor(name, first, detected=_UNKNOWN, opened="", elsewhere=None)
    for name, (first, opened) in _LISTED.items():
        yield from _tensor(name, first, detected=_MISSING, opened=opened, elsewhere=_TORCH)
    for name, first in _HARMLESS.items():
        yield from _tensor(name, first, detected=_MISSING, opened="", elsewhere="")


def _tensor(
    name: str, first: bytes, *, detected: str, opened: str, elsewhere: str | None
) -> Iterator[Hostile]:
    """In each of torch's formats: what is not read by our own machine, torch itself opens (``elsewhere``)."""
    program = checkpoint(first)
    yield _file(f"tensor-{name}", lambda: zipped(program), detected, opened)
    deflated = zipped(program, method=zipfile.ZIP_DEFLATED)
    yield _file(f"tensor-deflated-{name}", lambda: deflated, detected, elsewhere)
    if "storage" in name and detected == _MISSING:
        detected = elsewhere = _NO_INDEX
    yield _file(f"tensor-legacy-{name}", lambda: programs.legacy(program), detected, elsewhere)


def _file(name: str, content: Callable[[], bytes], detected: str, opened: str | None) -> Hostile:
    def write(ground: Ground) -> Path:
        return programs.write(ground.folder, content())

    return Hostile(name, write, detected, opened)


_PROGRAM: Final = Member(b"archive/data.pkl", checkpoint())
_ORDER: Final = Member(b"archive/byteorder", b"little")
_DATA: Final = Member(b"archive/data/0", STORAGE)


def _with(*members: Member) -> Callable[[], bytes]:
    return lambda: archive(*members)


def _bomb() -> bytes:
    """Eight gigabytes of zeros, deflated to eight megabytes of which a part says it all."""
    pack = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = pack.compress(bytes(2**20)) + pack.flush(zlib.Z_FULL_FLUSH)
    data = first * 8192 + pack.flush()
    said = len(checkpoint())
    return archive(Member(b"archive/data.pkl", data, zipfile.ZIP_DEFLATED, said, 0), _ORDER, _DATA)


def _tar(mode: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:  # type: ignore[call-overload] # the mode is a word
        for name in ("../../hostile_sprung_tar", "/tmp/hostile_sprung_tar", "storages", "tensors", "pickle"):
            entry = tarfile.TarInfo(name)
            entry.size = len(STORAGE)
            tar.addfile(entry, io.BytesIO(STORAGE))
    return file.getvalue()


def _named_as(name: bytes) -> Callable[[], bytes]:
    return _with(_PROGRAM, _ORDER, _DATA, Member(name, b"hostile"))


def _polyglot() -> bytes:
    """A pickle at its beginning, an archive at its end."""
    return programs.legacy(checkpoint()) + zipped(
        checkpoint(tensor(shape=numbers(6, 1), stride=numbers(1, 1)))
    )


_NO_CHECKPOINT: Final = "is a zip archive, but not a PyTorch checkpoint"
_NO_DIRECTORY: Final = "its archive directory cannot be read"
_NO_INDEX: Final = "its index cannot be read"
_NO_METHOD: Final = "compressed in a way that PyTorch does not know"

_REFUSED: Final[Mapping[str, tuple[Callable[[], bytes], str]]] = {
    "bomb": (_bomb, _NO_DIRECTORY),
    "bomb-said": (_with(Member(b"archive/data.pkl", b"", size=2**32 - 2)), _NO_INDEX),
    "in-an-archive": (lambda: archive(Member(b"archive/inner.zip", zipped(checkpoint()))), _NO_CHECKPOINT),
    "two-programs": (_with(_PROGRAM, _PROGRAM, _ORDER, _DATA), _NO_CHECKPOINT),
    "two-folders": (_with(_PROGRAM, replace(_PROGRAM, name=b"other/data.pkl"), _DATA), _NO_CHECKPOINT),
    "no-folder": (_with(replace(_PROGRAM, name=b"data.pkl"), replace(_DATA, name=b"data/0")), _NO_CHECKPOINT),
    "torchscript": (
        _with(_PROGRAM, _DATA, Member(b"archive/constants.pkl", b"\x80\x02).")),
        "is a TorchScript program, which is never run",
    ),
    "local-name": (_with(replace(_PROGRAM, local_name=b"archive/constants.pkl"), _DATA), _NO_DIRECTORY),
    "size-of-program": (_with(replace(_PROGRAM, size=2**31), _ORDER, _DATA), _NO_INDEX),
    "place-of-program": (_with(replace(_PROGRAM, said_offset=2**31), _ORDER, _DATA), _NO_DIRECTORY),
    "checksum": (_with(replace(_PROGRAM, crc=1), _ORDER, _DATA), _NO_DIRECTORY),
    "deflated-noise": (_with(replace(_PROGRAM, method=zipfile.ZIP_DEFLATED), _ORDER, _DATA), _NO_DIRECTORY),
    "bzip2": (_with(replace(_PROGRAM, method=zipfile.ZIP_BZIP2), _ORDER, _DATA), _NO_METHOD),
    "lzma": (_with(replace(_PROGRAM, method=zipfile.ZIP_LZMA), _ORDER, _DATA), _NO_METHOD),
    "unknown-method": (_with(replace(_PROGRAM, method=97), _ORDER, _DATA), _NO_METHOD),
    "path-nul": (_named_as(b"archive/data.pkl\0.txt"), _NO_CHECKPOINT),
    "tar": (lambda: _tar("w"), "is a tar archive, which is never opened"),
    "tar-gz": (lambda: _tar("w:gz"), "is compressed with gzip: unpack it first"),
    "tar-bz2": (lambda: _tar("w:bz2"), "is compressed with bzip2: unpack it first"),
    "tar-xz": (lambda: _tar("w:xz"), "is compressed with xz: unpack it first"),
}
"""Content, and the words of both doors."""

_READ: Final[Mapping[str, tuple[Callable[[], bytes], str]]] = {
    "torchscript-code": (_with(_PROGRAM, _DATA, Member(b"archive/code/__torch__.py", b"import os")), ""),
    "path-up": (_named_as(b"archive/../../../hostile_sprung_zip"), ""),
    "path-absolute": (_named_as(b"/tmp/hostile_sprung_zip"), ""),
    "path-backslash": (_named_as(b"archive\\..\\..\\hostile_sprung_zip"), ""),
    "program-up": (_with(replace(_PROGRAM, name=b"../data.pkl"), replace(_DATA, name=b"../data/0")), ""),
    "local-name-of-data": (_with(_PROGRAM, _ORDER, replace(_DATA, local_name=b"x" * 40)), ""),
    "local-name-beyond": (_with(_PROGRAM, _ORDER, replace(_DATA, local_name=b"x" * 5000)), ""),
    "local-size": (_with(_PROGRAM, _ORDER, replace(_DATA, local_size=2**31)), ""),
    "size-of-data": (_with(_PROGRAM, _ORDER, replace(_DATA, size=2**31)), _BEYOND),
    "place-of-data": (
        _with(_PROGRAM, _ORDER, replace(_DATA, said_offset=2**31)),
        "damaged at its storage '0'",
    ),
    "method-of-data": (_with(_PROGRAM, _ORDER, replace(_DATA, method=97)), _TORCH),
    "big-endian": (_with(_PROGRAM, replace(_ORDER, data=b"big"), _DATA), "saved on a big-endian machine"),
    "no-data": (_with(_PROGRAM, _ORDER), "it lacks the bytes of the storage '0'"),
    "short-data": (_with(_PROGRAM, _ORDER, replace(_DATA, data=b"\0")), _BEYOND),
    "polyglot": (_polyglot, ""),
}
"""Content whose index can be read, and the words of who opens it."""

_PLAIN: Final = numbers(1)
_EDGES: Final = numbers(1, 1)
# What torch says of a tensor that is not listed varies; what is listed and reaches out is told by name.
_UNLISTED: Final[Mapping[str, bytes]] = {
    "negative-shape": tensor(shape=numbers(-2, 3)),
    "negative-stride": tensor(stride=numbers(-3, 1)),
    "negative-offset": tensor(offset=number(-6)),
    "huge-shape": tensor(shape=numbers(2**62, 2**62)),
    "huge-integer": tensor(shape=numbers(2**4000, 3)),
    "list-shape": tensor(shape=b"](" + number(2) + number(3) + b"e"),
    "word-shape": tensor(shape=text("23")),
    "float-shape": tensor(shape=b"(G" + struct.pack(">d", 2) + b"G" + struct.pack(">d", 3) + b"t"),
    "truth-shape": tensor(shape=b"(\x88\x88t", stride=_EDGES),
    "fewer-strides": tensor(stride=_PLAIN),
    "more-strides": tensor(stride=numbers(3, 1, 1)),
    "dimensions": tensor(shape=numbers(*[1] * 100), stride=numbers(*[1] * 100)),
    "no-storage": tensor(of=b"N"),
    "word-storage": tensor(of=text("0")),
    "storage-of-nothing": tensor(of=storage(kind=named("torch", "Tensor"))),
    "conjugate": tensor(more=(b"}" + text("conj") + b"\x88s",)),
}
"""A first tensor that is none: the other one alone is listed."""

_LISTED: Final[Mapping[str, tuple[bytes, str]]] = {
    "huge-repeated": (tensor(shape=numbers(2**39, 1), stride=numbers(0, 0)), "repeats its bytes without end"),
    "stride-outside": (tensor(stride=numbers(300, 1)), _BEYOND),
    "offset-outside": (tensor(offset=number(6)), _BEYOND),
    "offset-far-outside": (tensor(offset=number(2**39)), _BEYOND),
    "missing-storage": (tensor(of=storage(key=text("9"))), "it lacks the bytes of the storage '9'"),
    "path-storage": (tensor(of=storage(key=text("../version"))), "it lacks the bytes of the storage"),
    "more-than-there": (
        tensor(of=storage(count=2**30), shape=numbers(2**30), stride=_PLAIN),
        _BEYOND,
    ),
    "other-type": (tensor(of=storage(kind=named("torch", "DoubleStorage"))), _BEYOND),
    "type-as-argument": (tensor(more=(named("torch", "complex128"),)), _BEYOND),
    "version-3-type": (tensor(function="_rebuild_tensor_v3", more=(named("torch", "float64"),)), _BEYOND),
}
"""A first tensor that reaches for other bytes than its own."""

_HARMLESS: Final[Mapping[str, bytes]] = {
    "overlapping": tensor(stride=_EDGES),
    "empty-with-huge-edges": tensor(shape=numbers(0, 2**39, 2**39), stride=numbers(1, 1, 1)),
}
