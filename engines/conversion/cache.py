"""Where converted models are kept: a diffusers folder for each, under a key of what it was made from.

::

    converted/<key>/           model_index.json, one folder a component, conversion.json
    converted/.<key>.partial/  one that is being made; what is complete in it is kept after a kill
    locks/<key>                held while one is made (exclusively) or used (shared)
    digests/                   of the files that models are made from

An entry appears under its name by a rename, complete or not at all. Locks are those of the file system
(``flock``), which hold between processes of a machine and, over NFS 4, between machines; where there
are none, whoever comes second finds the entry there and drops what it has made.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from pydantic import ValidationError

from engines.conversion.digests import Digests
from engines.conversion.files import replacing
from engines.errors import NotLoadable
from engines.schema import Frozen

VARIABLE: Final = "KANDINSKY_CACHE"
MANIFEST: Final = "conversion.json"
_SPARE: Final = 2**26
_READ_ONLY: Final = (errno.EROFS, errno.EACCES, errno.EPERM)
_NO_LOCKS: Final = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


class Origin(Frozen):
    """A file that an entry was made from."""

    name: str
    size: int
    digest: str


class Manifest(Frozen):
    """What an entry is. ``size`` is in bytes, ``created`` in Unix seconds."""

    model: str
    family: str
    origins: tuple[Origin, ...]
    size: int
    created: float


class Entry(Frozen):
    """A converted model. ``used`` is when it was last loaded, in Unix seconds; ``in_use``: at this moment."""

    key: str
    folder: str
    manifest: Manifest
    used: float
    in_use: bool


def cache_root(environment: Mapping[str, str]) -> Path:
    """The cache folder that the environment asks for."""
    if given := environment.get(VARIABLE):
        return Path(given).expanduser().absolute()
    base = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "kandinsky-gateway"


class Cache:
    """The converted models of one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.digests = Digests(root / "digests")
        self._converted = root / "converted"

    def folder(self, key: str) -> Path | None:
        """The folder of a complete entry; one that has lost bytes since it was made is none."""
        folder = self._converted / key
        manifest = manifest_of(folder)
        return folder if manifest is not None and _size(folder) == manifest.size else None

    def make(self, key: str, size: int, build: Callable[[Path], Manifest]) -> Path:
        """The folder of an entry, made by ``build`` in a folder of its own if it is not there.

        ``build`` may find there what an earlier try has completed. ``size`` is what it will take, in bytes.

        Raises:
            NotLoadable: the disk has no room for it, or cannot be written.
        """
        found = self.folder(key)
        if found is not None:
            return found
        with self._writing():
            self._converted.mkdir(parents=True, exist_ok=True)
        with self._locked(key, fcntl.LOCK_EX) as alone:
            found = self.folder(key)
            if found is not None:
                return found
            own = "" if alone else f".{os.uname().nodename}-{os.getpid()}"
            partial = self._converted / f".{key}{own}.partial"
            self._require_room(size - _size(partial))
            with self._writing():
                partial.mkdir(exist_ok=True)
            manifest = build(partial)
            with self._writing(), replacing(partial / MANIFEST) as file:
                file.write(manifest.model_dump_json(indent=2).encode() + b"\n")
            with self._writing():
                return self._publish(partial, key)

    @contextmanager
    def using(self, key: str) -> Iterator[None]:
        """Keep an entry from being removed while it is loaded, and note that it was used.

        A cache that cannot be written is used without: nobody removes anything from it either.
        """
        with self._locked(key, fcntl.LOCK_SH):
            with suppress(OSError):
                os.utime(self._converted / key / MANIFEST)
            yield

    def entries(self) -> list[Entry]:
        """Every complete entry, the one last used first."""
        found = []
        for manifest in self._converted.glob(f"*/{MANIFEST}"):
            if manifest.parent.name.startswith("."):
                continue
            with suppress(OSError, ValidationError):
                key = manifest.parent.name
                found.append(
                    Entry(
                        key=key,
                        folder=str(manifest.parent),
                        manifest=Manifest.model_validate_json(manifest.read_bytes()),
                        used=manifest.stat().st_mtime,
                        in_use=self._is_used(key),
                    )
                )
        return sorted(found, key=lambda entry: -entry.used)

    def prune(self, chosen: Callable[[Entry], bool], *, rest: bool = False) -> tuple[list[Entry], int]:
        """Remove the chosen entries that no engine uses, and what tries that were killed have left.

        ``rest`` also removes the small files of packed models and the digests, which come back when needed.

        Returns:
            The entries removed, and the bytes that were freed.
        """
        removed, freed = [], 0
        for folder in (self.root / "packs", self.root / "digests") if rest else ():
            freed += _size(folder)
            shutil.rmtree(folder, ignore_errors=True)
        for entry in self.entries():
            if chosen(entry):
                bytes_freed = self._remove(entry.key, self._converted / entry.key)
                if bytes_freed is not None:
                    removed.append(entry)
                    freed += bytes_freed
        for partial in self._converted.glob(".*.partial"):
            freed += self._remove(partial.name.strip(".").partition(".")[0], partial) or 0
        return removed, freed

    def _publish(self, partial: Path, key: str) -> Path:
        folder = self._converted / key
        try:
            partial.rename(folder)
        except OSError:
            if self.folder(key) is None:
                # What is there is damaged.
                shutil.rmtree(folder)
                partial.rename(folder)
            else:
                # Another node was faster, where locks do not reach from one to the other.
                shutil.rmtree(partial, ignore_errors=True)
        return folder

    def _remove(self, key: str, folder: Path) -> int | None:
        """Remove a folder of an entry unless it is made or used now; give the bytes that it had."""
        with self._locked(key, fcntl.LOCK_EX | fcntl.LOCK_NB) as alone:
            if not alone:
                return None
            size = _size(folder)
            # Away first: a load that begins now finds it whole or not at all.
            gone = folder.with_name(f".{folder.name.strip('.')}.{time.time_ns()}.partial")
            try:
                folder.rename(gone)
            except OSError:
                # Another command has removed it, or the cache cannot be written.
                return None
            shutil.rmtree(gone, ignore_errors=True)
        return size

    def _is_used(self, key: str) -> bool:
        if not (self.root / "locks" / key).exists():
            return False
        with self._locked(key, fcntl.LOCK_EX | fcntl.LOCK_NB) as alone:
            return not alone

    @contextmanager
    def _locked(self, key: str, how: int) -> Iterator[bool]:
        """Hold an entry's lock; false where it is held by others, or there can be none."""
        try:
            file = self._lock_file(key)
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise
            yield False
            return
        with file:
            try:
                fcntl.flock(file, how)
            except OSError as error:
                if error.errno not in (*_NO_LOCKS, errno.EWOULDBLOCK):
                    raise
                yield False
            else:
                yield True

    def _lock_file(self, key: str) -> IO[bytes]:
        path = self.root / "locks" / key
        try:
            return path.open("rb")
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.open("ab")

    def _require_room(self, size: int) -> None:
        free = shutil.disk_usage(self.root).free
        if free < size + _SPARE:
            raise NotLoadable(
                "cache",
                f"converting it takes {_gigabytes(size)} in {self.root.name}/ and the disk has "
                f"{_gigabytes(free)} left: free some (kandinsky-gateway cache prune), or name a folder "
                f"elsewhere with {VARIABLE}",
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = (
                f"the cache of converted models cannot be written: {error.strerror or type(error).__name__}"
            )
            raise NotLoadable("cache", f"{reason}; {VARIABLE} names another folder") from error


def manifest_of(folder: Path) -> Manifest | None:
    """The manifest of an entry's folder."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None


def _size(folder: Path) -> int:
    """The bytes of the files in a folder, its manifest not counted; 0 where there is none."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != MANIFEST)
    return sum(file.stat().st_size for file in files)


def _gigabytes(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
