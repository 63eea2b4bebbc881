"""A model of the hub in the local cache: looked up, chosen, received, verified."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from engines.errors import NotLoadable
from engines.hub import failures
from engines.hub.cache import HubFile, RepositoryCache, is_commit
from engines.hub.progress import DownloadProgress, Meter
from engines.hub.reference import HubReference
from engines.hub.snapshot import Snapshot
from engines.schema import Frozen

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

_DIGEST: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


class FetchedModel(Frozen):
    """A model of the hub, whole and verified on disk.

    ``folder`` is the path of the snapshot and ``revision`` its commit; ``prior`` is the snapshot of the
    prior that the README of a Kandinsky 2 decoder names. ``offline`` says why the hub was not asked,
    where an earlier snapshot stands in.
    """

    folder: str
    repository: str
    revision: str
    prior: str | None = None
    offline: str | None = None


def free_bytes(cache: Path) -> int:
    """The free space of the disk that holds, or will hold, the hub's cache."""
    return shutil.disk_usage(next(folder for folder in (cache, *cache.parents) if folder.exists())).free


def fetch(
    reference: HubReference,
    report: Callable[[DownloadProgress], None],
    *,
    pickles: bool = True,
    with_prior: bool = True,
    cache: Path | None = None,
    free_bytes: Callable[[Path], int] = free_bytes,
) -> FetchedModel:
    """Bring a model of the hub into the local cache, and the prior that its README names.

    What is there already is neither asked for nor hashed again. Where the hub cannot be asked, a whole
    earlier snapshot is used. ``report`` is called from several threads, one at a time. ``cache`` is the
    cache's folder where it is not that of huggingface_hub's settings.

    Raises:
        NotLoadable: the reason says in words what is wrong with the repository, the network or the disk.
    """
    model = _look_up(reference, cache).chosen(pickles=pickles)
    wanted = model.prior() if with_prior else None
    prior = _look_up(wanted, cache).chosen(pickles=pickles) if wanted else None
    snapshots = [model, prior] if prior else [model]
    _check_space(snapshots, free_bytes)
    meter = Meter(report, sum(file.size for snapshot in snapshots for file in snapshot.files))
    for snapshot in snapshots:
        snapshot.complete(meter.of(snapshot.reference.repository))
    return FetchedModel(
        folder=str(model.folder),
        repository=reference.repository,
        revision=model.commit,
        prior=str(prior.folder) if prior else None,
        offline=model.offline or (prior.offline if prior else None),
    )


def _look_up(reference: HubReference, folder: Path | None) -> Snapshot:
    """Ask the hub which commit a revision is and which files it has, or else the cache.

    Raises:
        NotLoadable: the hub refuses, or does not answer and the cache knows nothing of the model.
    """
    import httpx2
    from huggingface_hub import HfApi, constants

    root = folder or Path(constants.HF_HUB_CACHE).expanduser().absolute()
    cache = RepositoryCache(reference.repository, root)
    known = cache.read_record().listings
    if is_commit(reference.revision) and reference.revision in known:
        return Snapshot(reference, cache, reference.revision, known[reference.revision], None)
    with failures.translated(reference):
        try:
            answer = HfApi(library_name="kandinsky-gateway").model_info(
                reference.repository,
                revision=reference.revision,
                files_metadata=True,
                timeout=constants.HF_HUB_ETAG_TIMEOUT,
            )
        except (OSError, httpx2.HTTPError) as error:
            offline = failures.unreachable(error)
            if offline is None:
                raise
            commit = cache.commit_of(reference.revision)
            listing = (known.get(commit) or cache.listing(commit)) if commit else ()
            if commit is None or not listing:
                reason = f"{offline}, and nothing of this revision is in the local cache"
                raise NotLoadable(reference.repository, reason) from error
            return Snapshot(reference, cache, commit, listing, offline)
    return Snapshot(reference, cache, *_understood(reference, answer.sha, answer.siblings or ()), None)


def _understood(
    reference: HubReference, sha: str | None, siblings: Sequence[RepoSibling]
) -> tuple[str, tuple[HubFile, ...]]:
    """Commit and files of the hub's answer. Both become names in the cache, so both are looked at."""
    files = tuple(
        HubFile(
            path=sibling.rfilename,
            size=sibling.size or 0,
            digest=(sibling.lfs.sha256 if sibling.lfs else sibling.blob_id) or "",
        )
        for sibling in siblings
    )
    if not sha or not is_commit(sha) or not all(_DIGEST.fullmatch(file.digest) for file in files):
        reason = f"the hub at {failures.host()} does not state the commit, or the hashes of the files"
        raise NotLoadable(reference.repository, reason)
    return sha, tuple(file for file in files if file.is_safe)


def _check_space(snapshots: Sequence[Snapshot], free_bytes: Callable[[Path], int]) -> None:
    """Refuse what the disk cannot hold, before the first large file."""
    missing = {blob: size for snapshot in snapshots for blob, size in snapshot.missing().items()}
    needed, free = sum(missing.values()), free_bytes(snapshots[0].cache.root)
    if needed > free:
        reason = (
            f"{_in_words(needed)} are still to be fetched and the disk of the hub's cache has "
            f"{_in_words(free)} free: make room, or move the cache to another disk with HF_HOME"
        )
        raise NotLoadable(snapshots[0].reference.repository, reason)


def _in_words(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
