"""The tensors of a PyTorch checkpoint (.ckpt, .pt, .pth, .bin), read without unpickling it.

A pickle is a program. It is walked here opcode by opcode on a stack of plain values: nothing is
imported, nothing is called, and the tensors' bytes are never read. What is not a tensor, a string,
a number or a container of them becomes `OPAQUE`.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from engines.errors import NotLoadable
from engines.formats.inert_pickle import InertMachine
from engines.formats.torch_archive import program_of

# The program of a real checkpoint of 20 GB is below 1 MB.
_LONGEST_PROGRAM: Final = 32 * 2**20
_USUAL_PROGRAM: Final = 2**20
_LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
_MALFORMED: Final = (
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    OverflowError,
    struct.error,
)
"""What pickletools and the machine raise on a malformed program."""


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
                return _run(program_of(path, _LONGEST_PROGRAM))[0]
            file.seek(0)
            return _read_legacy(file)
    except _MALFORMED as error:
        raise NotLoadable(path.name, f"{path.name} is damaged: its index cannot be read") from error
    except (zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, OSError, MemoryError) as error:
        reason = f"{path.name} is truncated or damaged: its archive directory cannot be read"
        raise NotLoadable(path.name, reason) from error


def _read_legacy(file: IO[bytes]) -> Content:
    """Before PyTorch 1.6: what follows the programs are the tensors' bytes, which are not read."""
    program = file.read(_USUAL_PROGRAM)
    try:
        return _legacy(program)
    except _MALFORMED:
        if len(program) < _USUAL_PROGRAM:
            raise
    return _legacy(program + file.read(_LONGEST_PROGRAM - len(program)))


def _legacy(program: bytes) -> Content:
    """Magic number, protocol, platform, the object, its storages, each a pickle; or the object alone."""
    found, place = _run(program)
    if found.tree != _LEGACY_MAGIC:
        return found
    for _ in ("protocol", "platform"):
        _, place = _run(program, place)
    found, place = _run(program, place)
    kept = _run(program, place)[0].tree
    if not isinstance(kept, list) or not found.storages.issubset(
        each for each in kept if isinstance(each, str)
    ):
        # Torch would give whatever lies in the memory.
        raise ValueError("it lacks the bytes of a storage")
    return found


def _run(program: bytes, place: int = 0) -> tuple[Content, int]:
    machine = InertMachine()
    place = machine.run(program, place)
    return Content(machine.result, machine.foreign, frozenset(machine.storages)), place
