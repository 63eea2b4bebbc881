"""Under which key a converted model lies in the cache: what it is made from, and by which version of this."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from engines.card import CheckpointFormat, ModelCard
from engines.conversion.cache import Cache, Origin
from engines.errors import NotLoadable
from engines.formats import checkpoints, originals, weights
from engines.formats.diffusers_folder import weights_in

VERSION: Final = 1
"""Of what the conversions make; to be raised with any change of it."""

CONVERTED: Final = (CheckpointFormat.ORIGINAL, CheckpointFormat.CHECKPOINT)


def sources_of(card: ModelCard) -> Iterator[Path]:
    """The files that a card's conversion reads; of those whose weights stay where they lie, none."""
    if card.format is CheckpointFormat.CHECKPOINT:
        yield from checkpoints.files_of(card)
        return
    used = {originals.in_place(card, component.name) for component in card.components}
    for role in originals.layout_of_card(card).converted:
        place = card.source(role)
        assert place is not None, "a described card has a source for every role of its layout"
        if place not in used:
            yield from _files(place)


def size_of(file: Path) -> int:
    """The bytes of a source.

    Raises:
        NotLoadable: it is not there any more.
    """
    try:
        return file.stat().st_size
    except OSError as error:
        reason = f"{file.name}, a part of the model, cannot be read: {error.strerror or type(error).__name__}"
        raise NotLoadable(file.name, f"{reason}; deploy it again") from error


def key_of(card: ModelCard, cache: Cache, report: Callable[[int], None]) -> tuple[str, tuple[Origin, ...]]:
    """The key of a card's conversion, and the files that it stands for; reads each file once in its life."""
    origins = tuple(
        Origin(name=file.name, size=size_of(file), digest=cache.digests.of(file, report))
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
        found.append(Origin(name=file.name, size=size_of(file), digest=digest))
    return cache.folder(_key(card, tuple(found)))


def _key(card: ModelCard, origins: tuple[Origin, ...]) -> str:
    material = [
        VERSION,
        card.family.value,
        card.variant,
        card.pipeline_class,
        _components(card),
        [origin.digest for origin in origins],
        _shapes_in_place(card),
    ]
    return hashlib.sha256(json.dumps(material).encode()).hexdigest()[:32]


def _components(card: ModelCard) -> list[str]:
    """Those that a conversion may write: a safety checker that is not asked for makes no other one."""
    if card.format is CheckpointFormat.CHECKPOINT:
        return checkpoints.readable(card)
    return [component.name for component in card.components]


def _shapes_in_place(card: ModelCard) -> list[object]:
    """What the configuration of weights that stay where they lie is made from: names and shapes."""
    if card.format is CheckpointFormat.CHECKPOINT:
        return []
    files = (originals.in_place(card, component.name) for component in card.components)
    read = (weights.read(file).tensors for file in files if file is not None)
    return [sorted((name, tensor.shape) for name, tensor in tensors.items()) for tensors in read]


def _files(place: Path) -> Iterator[Path]:
    if not place.is_dir():
        # One that has gone is missed by whoever asks for its size.
        yield place
        return
    stored = weights_in(place)
    yield place / "config.json"
    yield from stored.files if stored else ()
