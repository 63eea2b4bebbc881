"""One repository in huggingface_hub's cache, and what this project remembers about it there.

The layout is huggingface_hub's, so that its own programs find the same files: ``blobs/<digest>``, links to
them in ``snapshots/<commit>/``, and ``refs/<revision>`` with the commit. Beside these lies
``.verified.json``, which its scan of the cache passes over.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from pydantic import ValidationError

from engines.schema import Frozen

_RECORD: Final = ".verified.json"
_COMMIT_LENGTH: Final = 40


class HubFile(Frozen):
    """A file of a repository: its path there, bytes, and digest (see `engines.hub.contents`).

    The digest is empty where nothing states it.
    """

    path: str
    size: int
    digest: str

    @property
    def is_safe(self) -> bool:
        """Whether the path stays within its repository, whatever a server says."""
        place = PurePosixPath(self.path)
        return not place.is_absolute() and ".." not in place.parts and "\0" not in self.path


class Verified(Frozen):
    """The state of a file on disk when its content was found to be right."""

    size: int
    mtime_ns: int
    digest: str


class Record(Frozen):
    """What is known of a repository: its files by commit, and what of the cache has been verified."""

    listings: dict[str, tuple[HubFile, ...]] = {}
    verified: dict[str, Verified] = {}


@dataclass(frozen=True)
class RepositoryCache:
    """The folder of one repository below the hub's cache ``root``."""

    repository: str
    root: Path

    @property
    def folder(self) -> Path:
        return self.root / self._name

    @property
    def _name(self) -> str:
        return "--".join(("models", *self.repository.split("/")))

    def snapshot(self, commit: str) -> Path:
        return self.folder / "snapshots" / commit

    def pointer(self, commit: str, file: HubFile) -> Path:
        """Where the file is found by its own name."""
        return self.snapshot(commit) / file.path

    def blob(self, file: HubFile) -> Path:
        return self.folder / "blobs" / file.digest

    def partial(self, file: HubFile) -> Path:
        """What has been received of a file; kept when a process dies."""
        return self.folder / "blobs" / f"{file.digest}.incomplete"

    def received(self, file: HubFile) -> int:
        """The bytes of a file that an earlier attempt has left."""
        partial = self.partial(file)
        return partial.stat().st_size if partial.exists() else 0

    def lock(self, file: HubFile) -> Path:
        """The lock that huggingface_hub takes for the same blob."""
        return self.root / ".locks" / self._name / f"{file.digest}.lock"

    def holds(self, commit: str, file: HubFile) -> bool:
        return self.pointer(commit, file).exists() or (bool(file.digest) and self.blob(file).exists())

    def commit_of(self, revision: str) -> str | None:
        """The commit that a revision was when it was last fetched whole."""
        if is_commit(revision):
            return revision
        try:
            return (self.folder / "refs" / revision).read_text(encoding="utf-8").strip() or None
        except OSError:
            return None

    def point_out(self, revision: str, commit: str) -> None:
        """Remember which commit a revision is, once its snapshot is whole."""
        if not is_commit(revision) and self.commit_of(revision) != commit:
            _write(self.folder / "refs" / revision, commit.encode())

    def link(self, commit: str, file: HubFile) -> None:
        """Make the blob appear in the snapshot; it is moved there where links are not to be had."""
        from huggingface_hub import constants

        pointer, blob = self.pointer(commit, file), self.blob(file)
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.unlink(missing_ok=True)
        if not constants.HF_HUB_DISABLE_SYMLINKS:
            try:
                pointer.symlink_to(os.path.relpath(blob, pointer.parent))
                return
            except FileExistsError:  # another program was faster
                return
            except OSError:  # a file system without links; they answer differently
                pass
        shutil.move(blob, pointer)

    def remove(self, commit: str, file: HubFile) -> None:
        """Remove a file from the snapshot, and the blob behind it."""
        pointer = self.pointer(commit, file)
        behind = pointer.resolve()
        pointer.unlink(missing_ok=True)
        behind.unlink(missing_ok=True)
        if file.digest:
            self.blob(file).unlink(missing_ok=True)

    def listing(self, commit: str) -> tuple[HubFile, ...]:
        """The files of a snapshot that another program fetched. Its blobs are named by their digests."""
        snapshot = self.snapshot(commit)
        found = [path for path in sorted(snapshot.rglob("*")) if path.is_file()]
        return tuple(
            HubFile(
                path=path.relative_to(snapshot).as_posix(),
                size=path.stat().st_size,
                digest=os.path.basename(os.readlink(path)) if path.is_symlink() else "",
            )
            for path in found
        )

    def state(self, commit: str, file: HubFile) -> tuple[str, Verified]:
        """The key and the present state of a file for the record, as if it had been verified."""
        behind = self.pointer(commit, file).resolve()
        status = behind.stat()
        key = os.path.relpath(behind, self.folder.resolve())
        return key, Verified(size=status.st_size, mtime_ns=status.st_mtime_ns, digest=file.digest)

    def read_record(self) -> Record:
        """The record; an empty one where there is none or it is damaged, which costs only time."""
        try:
            return Record.model_validate_json((self.folder / _RECORD).read_bytes())
        except (OSError, ValidationError):
            return Record()

    def add_to_record(
        self, *, listings: Mapping[str, tuple[HubFile, ...]], verified: Mapping[str, Verified]
    ) -> None:
        """Write down what has been found out; a cache that cannot be written to is none the worse."""
        known = self.read_record()
        record = Record(listings={**known.listings, **listings}, verified={**known.verified, **verified})
        if record == known:
            return
        try:
            _write(self.folder / _RECORD, record.model_dump_json().encode())
        except OSError:
            return


def is_commit(revision: str) -> bool:
    """Whether a revision names a commit, which never changes."""
    return len(revision) == _COMMIT_LENGTH and not set(revision) - set("0123456789abcdef")


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        written.write_bytes(content)
        written.replace(path)
    finally:
        written.unlink(missing_ok=True)
