"""Files that are not what their name says, and JSON files, read with a reason when they fail."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from engines.errors import NotLoadable

_LARGEST_JSON: Final = 64 * 2**20


def head(path: Path, count: int) -> bytes:
    """The first ``count`` bytes of a file.

    Raises:
        NotLoadable: the file is not there, is empty, cannot be read, or is a Git LFS pointer or a
            web page that was saved in its place.
    """
    try:
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


def _impostor(start: bytes) -> str | None:
    if not start:
        return "is empty"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself: fetch it with `git lfs pull`"
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not the file itself: download it again"
    return None


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
