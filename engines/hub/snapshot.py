"""The files of a repository at one commit: had from the cache or the hub, several at a time, and verified."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from engines.card import Part
from engines.errors import NotLoadable
from engines.formats import content, diffusers_folder, priors
from engines.formats.families import part_of_class
from engines.hub import contents, failures, selection
from engines.hub.cache import HubFile, RepositoryCache, Verified
from engines.hub.reference import HubReference
from engines.hub.transfer import Transfer, wrong_content

_AT_ONCE: Final = 4
OnSize = Callable[[str, int], None]
"""Called with a file's path and how many of its bytes are there, from several threads."""


@dataclass(frozen=True)
class Snapshot:
    """``listing`` are all files of the repository, ``files`` those that make the model.

    ``offline`` says why the hub cannot be asked for what is not there.
    """

    reference: HubReference
    cache: RepositoryCache
    commit: str
    listing: tuple[HubFile, ...]
    offline: str | None
    files: tuple[HubFile, ...] = ()

    @property
    def folder(self) -> Path:
        return self.cache.snapshot(self.commit)

    def chosen(self, *, pickles: bool) -> Snapshot:
        """With its files chosen; what says which they are is fetched for it.

        Raises:
            NotLoadable: see `engines.hub.selection.choose`, and what `complete` raises.
        """
        by_path = {file.path: file for file in self.listing}
        repository = self.reference.repository
        return replace(self, files=selection.choose(repository, by_path, self._read, pickles=pickles))

    def prior(self) -> HubReference | None:
        """The repository that the README of a Kandinsky 2 decoder names as its prior."""
        if not {diffusers_folder.INDEX, selection.README} <= {file.path for file in self.files}:
            return None
        if part_of_class(str(self._read(diffusers_folder.INDEX).get("_class_name"))) is not Part.DECODER:
            return None
        self._require(selection.README)
        named = priors.named_in_readme(self.folder)
        return HubReference.parse(f"hf://{named}") if named else None

    def missing(self) -> dict[Path, int]:
        """The bytes still to be received, by the blobs that they go to."""
        cache, commit = self.cache, self.commit
        return {
            cache.blob(file): file.size - cache.received(file)
            for file in self.files
            if not cache.holds(commit, file)
        }

    def complete(self, on_size: OnSize) -> None:
        """Receive what is missing, verify what is new, and remember which commit the revision is.

        Raises:
            NotLoadable: a file cannot be had, or is not what the hub says and has been removed.
        """
        self._obtain(self.files, on_size)
        if self.offline is None:
            with failures.translated(self.reference):
                self.cache.point_out(self.reference.revision, self.commit)

    def _read(self, path: str) -> dict[str, Any]:
        self._require(path)
        try:
            return content.read_object(self.folder / path)
        except NotLoadable as error:
            raise NotLoadable(self.reference.repository, error.reason) from error

    def _require(self, path: str) -> None:
        self._obtain([file for file in self.listing if file.path == path], lambda *_: None)

    def _obtain(self, files: Sequence[HubFile], on_size: OnSize) -> None:
        """Have files in the snapshot, verified. The first failure ends the others, as an interrupt does."""
        transfer = Transfer(self.cache, self.commit)
        record = self.cache.read_record().verified
        with failures.translated(self.reference), ThreadPoolExecutor(_AT_ONCE) as pool:
            futures = [pool.submit(self._obtain_one, file, transfer, record, on_size) for file in files]
            try:
                for future in as_completed(futures):
                    future.result()
            finally:
                transfer.halt()
                pool.shutdown(cancel_futures=True)
                self._write_down(futures)

    def _obtain_one(
        self, file: HubFile, transfer: Transfer, record: dict[str, Verified], on_size: OnSize
    ) -> tuple[str, Verified]:
        cache, commit = self.cache, self.commit
        is_verified = False
        if not cache.pointer(commit, file).exists():
            if self.offline and not cache.holds(commit, file):
                reason = (
                    f"{self.offline}, and the local cache does not hold all of it: {file.path} is missing"
                )
                raise NotLoadable(self.reference.repository, reason)
            is_verified = transfer.bring(file, lambda size: on_size(file.path, size))
        key, state = cache.state(commit, file)
        if file.digest and not is_verified and record.get(key) != state:
            self._verify(file, state, transfer)
        on_size(file.path, file.size)
        return key, state

    def _verify(self, file: HubFile, state: Verified, transfer: Transfer) -> None:
        path = self.cache.pointer(self.commit, file)
        if state.size != file.size or not contents.matches(path, file.digest, transfer.go_on):
            self.cache.remove(self.commit, file)
            raise NotLoadable(self.reference.repository, wrong_content(file))

    def _write_down(self, futures: Sequence[Future[tuple[str, Verified]]]) -> None:
        """Remember what has been verified, also by those that were done when another failed."""
        done = [future for future in futures if not future.cancelled() and future.exception() is None]
        self.cache.add_to_record(
            listings={} if self.offline else {self.commit: self.listing},
            verified=dict(future.result() for future in done),
        )
