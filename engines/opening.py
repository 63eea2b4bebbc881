"""The one door to a model on disk: whatever its form, components that can be loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.calls import LoadProgress
from engines.card import CheckpointFormat, ModelCard
from engines.conversion.cache import VARIABLE, Cache
from engines.conversion.keys import CONVERTED, sources_of
from engines.errors import NotLoadable
from engines.formats import checkpoints, content, diffusers_folder, originals, pack, weights
from engines.formats.diffusers_folder import INDEX, StoredComponent, StoredWeights, open_folder, weights_of
from engines.pickles import forbidden

Report = Callable[[LoadProgress], None]


@dataclass(frozen=True)
class OpenedModel:
    """The components of a model by the names of its card, and the pipeline's other arguments."""

    components: dict[str, StoredComponent]
    options: dict[str, Any]


@contextmanager
def opened(card: ModelCard, cache: Cache, report: Report, *, pickles: bool) -> Iterator[OpenedModel]:
    """A model's components where they can be loaded from; converted first where its form asks for it.

    What lies in the cache stays there as long as the context lasts. Without ``pickles`` no pickle is opened.

    Raises:
        NotLoadable: a part is missing, damaged, not what it seems, or a pickle where none may be.
    """
    if card.format in CONVERTED:
        if not pickles:
            _refuse_pickles(sources_of(card))
        with _converted(card, cache, report) as folder:
            yield _checked(card, _from_cache(card, folder), pickles=pickles)
    elif card.format is CheckpointFormat.PACK:
        yield _checked(card, _packed(card, cache), pickles=pickles)
    else:
        yield _checked(card, _folders(card), pickles=pickles)


def _refuse_pickles(files: Iterable[Path]) -> None:
    for file in files:
        if file.suffix in weights.SUFFIXES and weights.read(file).format is CheckpointFormat.PICKLE_FILE:
            raise forbidden(file.name)


def _checked(card: ModelCard, model: OpenedModel, *, pickles: bool) -> OpenedModel:
    for component, stored in model.components.items():
        if stored.weights is not None and stored.weights.pickled and not pickles:
            raise forbidden(f"{component}/{stored.weights.files[0].name}")
    missing = [component.name for component in card.components if component.name not in model.components]
    if missing:
        raise NotLoadable(card.name, f"its components have changed since it was deployed: no {missing[0]}")
    return model


def _folders(card: ModelCard) -> OpenedModel:
    """A diffusers folder, and that of its prior."""
    replaced = {source.role: Path(source.path) for source in card.sources}
    stored = open_folder(Path(card.path), replaced)
    found = {component.name: component for component in stored.components}
    if card.prior_path is not None:
        for component in open_folder(Path(card.prior_path)).components:
            found[f"prior_{component.name}"] = component
    return OpenedModel(found, stored.options)


def _packed(card: ModelCard, cache: Cache) -> OpenedModel:
    path = Path(card.path)
    stored = weights.read(path)
    try:
        folder = pack.unpack_files(path, stored, cache.root / "packs")
    except OSError as error:
        words = error.strerror or type(error).__name__
        reason = (
            f"its configurations cannot be written to the cache: {words}; {VARIABLE} names another folder"
        )
        raise NotLoadable(card.name, reason) from error
    index = content.read_object(folder / INDEX)
    found = {}
    for name, library, class_name in diffusers_folder.listed(index):
        place = None
        if diffusers_folder.has_weights(class_name):
            place = StoredWeights((path,), None, pickled=False, prefix=f"{name}.")
        else:
            weights_of(name, class_name, folder / name)
        found[name] = StoredComponent(name, library, class_name, folder / name, place)
    return OpenedModel(found, diffusers_folder.options_in(index))


@contextmanager
def _converted(card: ModelCard, cache: Cache, report: Report) -> Iterator[Path]:
    from engines.conversion.converting import converted

    while True:
        key, _ = converted(card, cache, report)
        with cache.using(key):
            folder = cache.folder(key)
            # Removed between its making and its locking: made again.
            if folder is not None:
                yield folder
                return


def _from_cache(card: ModelCard, folder: Path) -> OpenedModel:
    if card.format is CheckpointFormat.CHECKPOINT:
        return _checkpoint(card, folder)
    found = {}
    for part in originals.layout_of_card(card).components:
        place = card.source(part.source) if part.source else folder / part.name
        assert place is not None, "a described card has a source for every role of its layout"
        stored = _stored_weights(card, part.name, part.class_name, place)
        found[part.name] = StoredComponent(part.name, part.library, part.class_name, place, stored)
    return OpenedModel(found, {})


def _stored_weights(card: ModelCard, name: str, class_name: str, folder: Path) -> StoredWeights | None:
    file = originals.in_place(card, name)
    if file is None:
        return weights_of(name, class_name, folder)
    return StoredWeights((file,), None, pickled=False, prefix="")


def _checkpoint(card: ModelCard, folder: Path) -> OpenedModel:
    config = checkpoints.config_folder(card)
    found = {}
    for component in card.components:
        own = folder / component.name
        place = own if own.is_dir() else config / component.name
        stored = weights_of(component.name, component.class_name, place)
        found[component.name] = StoredComponent(
            component.name, component.library, component.class_name, place, stored
        )
    return OpenedModel(found, diffusers_folder.options_in(content.read_object(config / INDEX)))
