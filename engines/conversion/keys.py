"""Under which key a converted model lies in the cache: what it is made from, and by which version of this."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from engines.card import CheckpointFormat, ModelCard
from engines.conversion.cache import Cache, Origin
from engines.formats import checkpoints, originals
from engines.formats.diffusers_folder import weights_in

VERSION: Final = 1
"""Of what the conversions make; to be raised with any change of it."""

CONVERTED: Final = (CheckpointFormat.ORIGINAL, CheckpointFormat.CHECKPOINT)


def sources_of(card: ModelCard) -> Iterator[Path]:
    """The files that a card's conversion reads."""
    if card.format is CheckpointFormat.CHECKPOINT:
        yield from checkpoints.files_of(card)
        return
    for role in originals.layout_of_card(card).converted:
        place = card.source(role)
        assert place is not None, "a described card has a source for every role of its layout"
        yield from _files(place)


def key_of(card: ModelCard, cache: Cache, report: Callable[[int], None]) -> tuple[str, tuple[Origin, ...]]:
    """The key of a card's conversion, and the files that it stands for; reads each file once in its life."""
    origins = tuple(
        Origin(name=file.name, size=file.stat().st_size, digest=cache.digests.of(file, report))
        for file in sources_of(card)
    )
    return _key(card, origins), origins


def converted_folder(card: ModelCard, cache: Cache) -> Path | None:
    """Where a card's conversion lies, or ``None`` where there is none; reads no weights."""
    found = []
    for file in sources_of(card):
        digest = cache.digests.known(file)
        if digest is None:
            return None
        found.append(Origin(name=file.name, size=file.stat().st_size, digest=digest))
    return cache.folder(_key(card, tuple(found)))


def _key(card: ModelCard, origins: tuple[Origin, ...]) -> str:
    material = [
        VERSION,
        card.family.value,
        card.variant,
        card.pipeline_class,
        _components(card),
        [origin.digest for origin in origins],
    ]
    return hashlib.sha256(json.dumps(material).encode()).hexdigest()[:32]


def _components(card: ModelCard) -> list[str]:
    """Those that a conversion may write: a safety checker that is not asked for makes no other one."""
    if card.format is CheckpointFormat.CHECKPOINT:
        return checkpoints.readable(card)
    return [component.name for component in card.components]


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
        return
    stored = weights_in(place)
    yield from stored.files if stored else ()
