"""Files that are not what their name says, and JSON files, read with a reason when they fail."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from engines.errors import NotLoadable

_LARGEST_JSON: Final = 64 * 2**20


def head(path: Path, count: int) -> bytes:
    """The first ``count`` bytes of a file.

    Raises:
        NotLoadable: the file is not there, is empty, cannot be read, is a pipe or a device, or is a Git LFS
            pointer or a web page that was saved in its place.
    """
    try:
        # Who opens a pipe waits for its other end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise NotLoadable(path.name, f"{path.name} is no file, but {_kind(path)}")
        with path.open("rb") as file:
            start = file.read(max(count, 512))
    except FileNotFoundError:
        raise NotLoadable(path.name, f"{path.name} is missing") from None
    except OSError as error:
        reason = f"{path.name} cannot be read: {error.strerror or type(error).__name__}"
        raise NotLoadable(path.name, reason) from error
    impostor = _impostor(start)
    if impostor:
        raise NotLoadable(path.name, f"{path.name} {impostor}")
    return start[:count]


def _kind(path: Path) -> str:
    return "a folder" if path.is_dir() else "a pipe, a socket or a device, which is never read"


def _impostor(start: bytes) -> str | None:
    if not start:
        return "is empty"
    if not start.strip(b"\0"):
        return "holds nothing but zeros: its download was never finished"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`"
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not the file itself: download it again"
    other = next((what for place, magic, what in _MAGICS if start[place:].startswith(magic)), None)
    return None if other is None else f"is {other}"


# Place, first bytes, what it is: what people have saved under a checkpoint's name, or mistaken for one.
_MAGICS: Final = (
    (0, b"GGUF", "a GGUF file, which other programs run: give the model's safetensors files"),
    (0, b"\x1f\x8b", "compressed with gzip: unpack it first"),
    (0, b"\xfd7zXZ", "compressed with xz: unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it first"),
    (0, b"BZh", "compressed with bzip2: unpack it first"),
    (0, b"7z\xbc\xaf", "a 7z archive: unpack it first"),
    (0, b"Rar!", "a RAR archive: unpack it first"),
    (257, b"ustar", "a tar archive, which is never opened: unpack it and give the folder"),
    (0, b"\x89HDF", "an HDF5 file, which Keras writes: give PyTorch's weights"),
    (0, b"\x93NUMPY", "a NumPy array, not a checkpoint"),
    (0, b"\x89PNG", "a PNG picture, not a checkpoint"),
    (0, b"\xff\xd8\xff", "a JPEG picture, not a checkpoint"),
    (0, b"%PDF", "a PDF document, not a checkpoint"),
    (0, b"#!", "a script, which is never run"),
    (0, b"\x7fELF", "a program, which is never run"),
)


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        NotLoadable: the file is missing or damaged, or holds something else than an object.
    """
    head(path, 1)
    if path.stat().st_size > _LARGEST_JSON:
        raise NotLoadable(path.name, f"{path.name} is far too large for a configuration file")
    return parse_object(path.read_bytes(), path.name)


def parse_object(data: bytes, where: str) -> dict[str, Any]:
    """The object in a piece of JSON; ``where`` names it in the reason of a failure."""
    try:
        value = json.loads(data)
    except json.JSONDecodeError as error:
        raise NotLoadable(where, f"{where} is not valid JSON (line {error.lineno})") from error
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise NotLoadable(where, f"{where} is not valid JSON") from error
    if not isinstance(value, dict):
        raise NotLoadable(where, f"{where} does not hold a JSON object")
    return value


def digest_of(files: Mapping[str, bytes]) -> str:
    """A word for the names and contents of files, for a folder that is named after what it holds."""
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    return digest.hexdigest()[:32]
