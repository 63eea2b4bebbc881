"""A model of a hub on this machine: on a node that has not its files they are fetched first."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engines.calls import LoadPhase, LoadProgress
from engines.card import ModelCard
from engines.hub import DownloadProgress, HubReference, fetch

Report = Callable[[LoadProgress], None]


def located(card: ModelCard, report: Report, *, pickles: bool) -> ModelCard:
    """The card with paths of this machine; what is not there, of the same commit, is fetched.

    Where everything is there already the hub is not asked.

    Raises:
        NotLoadable: the hub does not give the files, in words.
    """
    if card.hub is None:
        return card
    reference = HubReference(repository=card.hub.repository, revision=card.hub.revision)
    prior = card.prior_path
    # A prior that was named lies where it was named, and one that is here stays at its commit.
    of_hub = prior is not None and Path(_snapshot(prior)).parent.name == "snapshots"
    wanted = of_hub and prior is not None and not Path(prior).exists()
    # Where it was fetched to, if that is a folder of this machine: an engine may have other settings.
    there = Path(_snapshot(card.path)).parents[2]
    cache = there if there.is_dir() else None
    fetched = fetch(reference, _telling(report), pickles=pickles, with_prior=wanted, cache=cache)
    moved = {_snapshot(card.path): fetched.folder}
    if prior is not None and fetched.prior is not None:
        moved[_snapshot(prior)] = fetched.prior

    def here(path: str) -> str:
        folder = _snapshot(path)
        return moved.get(folder, folder) + path.removeprefix(folder)

    sources = tuple(source.model_copy(update={"path": here(source.path)}) for source in card.sources)
    of_here = None if prior is None else here(prior)
    return card.model_copy(update={"path": here(card.path), "prior_path": of_here, "sources": sources})


def _snapshot(path: str) -> str:
    """The folder of the snapshot that a path lies in, or the path itself where it lies in none."""
    place = Path(path)
    folders = (place, *place.parents)
    return next((str(folder) for folder in folders if folder.parent.name == "snapshots"), path)


def _telling(report: Report) -> Callable[[DownloadProgress], None]:
    def tell(progress: DownloadProgress) -> None:
        report(
            LoadProgress(
                phase=LoadPhase.DOWNLOADING,
                component=progress.file,
                bytes_read=progress.bytes_done,
                bytes_total=progress.bytes_total,
            )
        )

    return tell
