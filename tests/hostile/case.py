"""One hostile checkpoint, and what is to be said of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.canary import Canary


@dataclass(frozen=True)
class Ground:
    """Where a case is written, and what it is made from: tiny models, and releases at tiny size."""

    folder: Path
    canary: Canary
    tiny: Callable[[str], Path]
    release: Callable[[str], Path]

    def copy(self, source: Path) -> Path:
        """A copy of a folder, whose files are the same until they are replaced by `replace`."""
        return Path(shutil.copytree(source, self.folder / source.name, copy_function=_linked))


@dataclass(frozen=True)
class Hostile:
    """``write`` gives the path of the model. Words of the reason, by door:

    ``detected`` of the card; empty where the card says that it can be loaded.
    ``opened`` of `open_tensors`; empty where the tensors come, ``None`` where it is no file, or torch's own
    unpickler decides whether they do.
    ``loaded`` of ``load``; empty where the model is loaded, ``None`` where the card refuses.
    A ``large`` one takes a second to write.
    """

    name: str
    write: Callable[[Ground], Path]
    detected: str
    opened: str | None = None
    loaded: str | None = None
    large: bool = False


def _linked(source: str, target: str) -> str:
    """A second name of a file; a copy where it would lie on another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)
    return target


def replace(file: Path, content: bytes | str) -> Path:
    """Write a file anew, without touching the one that it was linked to."""
    file.unlink(missing_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file
