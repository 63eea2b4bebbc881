"""The tensors of a PyTorch checkpoint (.ckpt, .pt, .pth, .bin), read without unpickling it.

A pickle is a program. It is walked here opcode by opcode on a stack of plain values: nothing is
imported, nothing is called, and the tensors' bytes are never read. What is not a tensor, a string,
a number or a container of them becomes `OPAQUE`.
"""

from __future__ import annotations

import pickletools
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO, Any, Final

from engines.errors import NotLoadable
from engines.formats.inert_pickle import InertMachine

# The program of a real checkpoint of 20 GB is below 1 MB.
_LONGEST_PROGRAM: Final = 32 * 2**20
_MOST_OPCODES: Final = 4_000_000
_COMPRESSIONS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C


def recognises(start: bytes) -> bool:
    """Whether a file that starts so is a zip archive or a pickle."""
    return start.startswith(b"PK\x03\x04") or (start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05")


@dataclass(frozen=True)
class Content:
    """The object in a checkpoint: usually a dict of names to `Tensor`, or a dict of such dicts.

    ``foreign``: beside tensors, its program would make objects of other classes. ``storages`` are the names
    of the tensors' bytes.
    """

    tree: object
    foreign: bool
    storages: frozenset[str]


def read(path: Path) -> Content:
    """What is in a checkpoint.

    Raises:
        NotLoadable: the file is damaged, or its program is absurdly long.
    """
    try:
        with path.open("rb") as file:
            if file.read(4) == b"PK\x03\x04":
                return _read_zip(path)
            file.seek(0)
            return _read_legacy(file)
    except (ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError) as error:
        # What pickletools and the machine raise on a malformed program.
        raise NotLoadable(path.name, f"{path.name} is damaged: its index cannot be read") from error
    except (zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, OSError, MemoryError) as error:
        reason = f"{path.name} is truncated or damaged: its archive directory cannot be read"
        raise NotLoadable(path.name, reason) from error


def _read_zip(path: Path) -> Content:
    with zipfile.ZipFile(path) as archive:
        programs = [entry for entry in archive.infolist() if entry.filename.endswith("/data.pkl")]
        if any(entry.filename.endswith("/constants.pkl") for entry in archive.infolist()):
            raise NotLoadable(path.name, f"{path.name} is a TorchScript program, which is never run")
        if len(programs) != 1:
            raise NotLoadable(path.name, f"{path.name} is a zip archive, but not a PyTorch checkpoint")
        if programs[0].file_size > _LONGEST_PROGRAM:
            raise ValueError("the index is absurdly long")
        if programs[0].compress_type not in _COMPRESSIONS:
            raise NotLoadable(path.name, f"{path.name} is compressed in a way that PyTorch does not know")
        with archive.open(programs[0]) as program:
            # The size in the directory may lie: a deflated program can be of any length.
            return _run(BytesIO(program.read(_LONGEST_PROGRAM)))


def _read_legacy(file: IO[bytes]) -> Content:
    """Before PyTorch 1.6: magic number, protocol, platform, the object, its storages, each a pickle."""
    bounded = _Bounded(file)
    first = _run(bounded)
    if first.tree != _LEGACY_MAGIC:
        return first
    for _ in ("protocol", "platform"):
        _run(bounded)
    found = _run(bounded)
    kept = _run(bounded).tree
    if not isinstance(kept, list) or not found.storages.issubset(
        each for each in kept if isinstance(each, str)
    ):
        # Torch would give whatever lies in the memory.
        raise ValueError("it lacks the bytes of a storage")
    return found


def _run(program: Any) -> Content:
    machine = InertMachine()
    for name, argument in _opcodes(program):
        machine.step(name, argument)
    return Content(machine.result, machine.foreign, frozenset(machine.storages))


def _opcodes(program: Any) -> Iterator[tuple[str, Any]]:
    for count, (opcode, argument, _) in enumerate(pickletools.genops(program)):
        if count > _MOST_OPCODES:
            raise ValueError("the program is absurdly long")
        yield opcode.name, argument


class _Bounded:
    """A file of which only the first part may be read: the tensors' bytes follow the program."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = _LONGEST_PROGRAM

    def read(self, count: int) -> bytes:
        if not 0 <= count <= self._left:
            raise ValueError("the program is absurdly long")
        self._left -= count
        return self._file.read(count)

    def readline(self) -> bytes:
        line = self._file.readline(self._left)
        self._left -= len(line)
        return line
