"""The program in a checkpoint of PyTorch's zip format, found without listing every tensor's entry.

`zipfile` makes an object of each of a thousand entries, which takes as long as all else that is done with a
file. Where an archive has the one plain form that PyTorch writes, its program is found in the raw directory;
whatever looks otherwise is left to `zipfile`.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO, Final

from engines.errors import NotLoadable

# Source of the layouts: PKWARE's APPNOTE 6.3, sections 4.3.7, 4.3.12, 4.3.14 to 4.3.16.
_END: Final = struct.Struct("<4s4xHHIIH")
_END_64: Final = struct.Struct("<4s28xQQQ")
_LOCATOR: Final = struct.Struct("<4s4xQI")
_ENTRY: Final = struct.Struct("<4s6xH4xIIIHHH8xI")
_LOCAL: Final = struct.Struct("<4s22xHH")
_LARGE: Final = 0xFFFFFFFF
_PROGRAM: Final = b"/data.pkl"
_SCRIPT: Final = b"/constants.pkl"
_LARGEST_DIRECTORY: Final = 2**26
_COMPRESSIONS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def program_of(path: Path, longest: int) -> bytes:
    """The pickle program of a checkpoint, at most ``longest`` bytes.

    Raises:
        NotLoadable: it is another kind of archive.
        ValueError: the program is longer.
        zipfile.BadZipFile, zlib.error, struct.error, OSError: the archive is damaged.
    """
    with path.open("rb") as file:
        directory = _directory(file)
        found = _plain(file, directory, longest) if directory is not None else None
    return found if found is not None else _by_zipfile(path, longest)


def _directory(file: IO[bytes]) -> bytes | None:
    """The raw directory, ``None`` where the archive's end is not a plain one."""
    there = file.seek(0, 2)
    if there < _END.size:
        return None
    file.seek(there - _END.size)
    signature, count, total, size, offset, comment = _END.unpack(file.read(_END.size))
    if signature != b"PK\x05\x06" or comment or count != total:
        return None
    if _LARGE in (size, offset) or count == 0xFFFF:
        place = _large_directory(file, there)
        if place is None:
            return None
        size, offset = place
    if size > _LARGEST_DIRECTORY or offset + size > there:
        return None
    file.seek(offset)
    return file.read(size)


def _large_directory(file: IO[bytes], there: int) -> tuple[int, int] | None:
    """Size and offset of the directory of an archive beyond 4 GiB."""
    if there < _END.size + _LOCATOR.size:
        return None
    file.seek(there - _END.size - _LOCATOR.size)
    signature, end, _ = _LOCATOR.unpack(file.read(_LOCATOR.size))
    if signature != b"PK\x06\x07" or end + _END_64.size > there:
        return None
    file.seek(end)
    signature, _, size, offset = _END_64.unpack(file.read(_END_64.size))
    return (size, offset) if signature == b"PK\x06\x06" else None


def _plain(file: IO[bytes], directory: bytes, longest: int) -> bytes | None:
    """The program where it is stored as it is, ``None`` where `zipfile` has to look."""
    if directory.count(_PROGRAM) != 1 or _SCRIPT in directory:
        return None
    start = directory.rfind(b"PK\x01\x02", 0, directory.find(_PROGRAM))
    if start < 0 or start + _ENTRY.size > len(directory):
        return None
    _, method, checksum, size, stored, name, _, _, offset = _ENTRY.unpack_from(directory, start)
    named = directory[start + _ENTRY.size : start + _ENTRY.size + name]
    if method != zipfile.ZIP_STORED or size != stored or _LARGE in (size, offset) or size > longest:
        return None
    if not named.endswith(_PROGRAM):
        return None
    file.seek(offset)
    local = file.read(_LOCAL.size)
    if len(local) < _LOCAL.size:
        return None
    signature, name, extra = _LOCAL.unpack(local)
    if signature != b"PK\x03\x04" or file.read(name) != named:
        return None
    file.seek(extra, 1)
    program = file.read(size)
    return program if zlib.crc32(program) == checksum else None


def _by_zipfile(path: Path, longest: int) -> bytes:
    with zipfile.ZipFile(path) as archive:
        programs = [entry for entry in archive.infolist() if entry.filename.endswith("/data.pkl")]
        if any(entry.filename.endswith("/constants.pkl") for entry in archive.infolist()):
            raise NotLoadable(path.name, f"{path.name} is a TorchScript program, which is never run")
        if len(programs) != 1:
            raise NotLoadable(path.name, f"{path.name} is a zip archive, but not a PyTorch checkpoint")
        if programs[0].file_size > longest:
            raise ValueError("the index is absurdly long")
        if programs[0].compress_type not in _COMPRESSIONS:
            raise NotLoadable(path.name, f"{path.name} is compressed in a way that PyTorch does not know")
        with archive.open(programs[0]) as program:
            # The size in the directory may lie: a deflated program can be of any length.
            return program.read(longest)
