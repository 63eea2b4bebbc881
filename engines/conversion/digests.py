"""What a file's content is, as a SHA-256: computed once, and known again by name, size and time of change."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

_CHUNK: Final = 2**24


class Digests:
    """The digests of files, kept in a folder; one that cannot be written only costs time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def known(self, path: Path) -> str | None:
        """The digest of a file as it is now, if it was computed before."""
        try:
            note = json.loads(self._note(path).read_bytes())
            return str(note["digest"]) if note["state"] == _state(path) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def of(self, path: Path, report: Callable[[int], None]) -> str:
        """The digest of a file; ``report`` is told of every piece read, in bytes."""
        found = self.known(path)
        if found is not None:
            report(path.stat().st_size)
            return found
        before = _state(path)
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(_CHUNK):
                digest.update(piece)
                report(len(piece))
        found = digest.hexdigest()
        self._remember(path, {"path": str(path), "state": before, "digest": found})
        return found

    def _remember(self, path: Path, note: dict[str, object]) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle, temporary = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(handle, "w") as file:
                json.dump(note, file)
            os.replace(temporary, self._note(path))
        except OSError:
            return

    def _note(self, path: Path) -> Path:
        name = hashlib.blake2b(str(path.resolve()).encode(), digest_size=16).hexdigest()
        return self._folder / f"{name}.json"


def _state(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ino]
