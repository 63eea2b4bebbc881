"""A model of another form made into one of diffusers', once, in the cache."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from engines.calls import LoadPhase, LoadProgress
from engines.card import CheckpointFormat, ModelCard
from engines.conversion.cache import Cache, Manifest, Origin
from engines.conversion.keys import key_of, size_of, sources_of
from engines.formats import checkpoints, originals

Report = Callable[[LoadProgress], None]


class Tally:
    """Counts bytes towards a total, and reports them with the component at work."""

    def __init__(self, total: int, report: Report) -> None:
        self._total = total
        self._done = 0
        self._report = report
        self.component: str | None = None

    def add(self, count: int) -> None:
        """Count bytes that were read or written."""
        self._done += count
        self._report(
            LoadProgress(
                phase=LoadPhase.CONVERTING,
                component=self.component,
                bytes_read=min(self._done, self._total),
                bytes_total=self._total,
            )
        )


def converted(card: ModelCard, cache: Cache, report: Report) -> tuple[str, Path]:
    """The key and folder of a card's conversion, made if it is not there.

    Whoever comes while another process makes it waits for that; a conversion that was killed goes on
    with the component that it had begun.

    Raises:
        NotLoadable: the files are not what they seem, or there is no room for what they become.
    """
    size = _size(card)
    tally = Tally(sum(size_of(file) for file in sources_of(card)) + size, report)
    key, origins = key_of(card, cache, tally.add)
    found = cache.folder(key)
    if found is not None:
        return key, found

    def build(folder: Path) -> Manifest:
        _build(card, folder, tally)
        return _manifest(card, folder, origins)

    return key, cache.make(key, size, build)


def _size(card: ModelCard) -> int:
    """What a conversion takes on the disk, in bytes."""
    if card.format is CheckpointFormat.CHECKPOINT:
        return sum(component.size for component in checkpoints.written(card).values())
    parts = {each.name for each in originals.layout_of_card(card).components if each.made_from}
    written = (each for each in card.components if each.name in parts)
    return sum(each.size for each in written if originals.in_place(card, each.name) is None)


def _build(card: ModelCard, folder: Path, tally: Tally) -> None:
    if card.format is CheckpointFormat.CHECKPOINT:
        from engines.conversion.checkpoint import convert_checkpoint

        convert_checkpoint(card, folder, tally)
        return
    from engines.conversion.original import convert_original

    convert_original(card, folder, tally)


def _manifest(card: ModelCard, folder: Path, origins: tuple[Origin, ...]) -> Manifest:
    return Manifest(
        model=card.name,
        family=card.family.value,
        origins=origins,
        size=sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        created=time.time(),
    )
