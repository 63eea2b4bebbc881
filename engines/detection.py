"""From a path to a `ModelCard`, by reading headers and configuration files alone.

Nothing is loaded or executed and no hub is asked: a model of 50 GB takes milliseconds. Whatever
cannot be loaded still gets a card, with the reason.
"""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from engines.card import CheckpointFormat, Component, Family, ModelCard, Part, Source
from engines.errors import NotLoadable
from engines.formats import (
    checkpoints,
    content,
    diffusers_folder,
    families,
    originals,
    pack,
    preset,
    priors,
    single_file,
    weights,
)
from engines.formats.diffusers_folder import StoredPipeline
from engines.formats.single_file import Kind, SingleFile

DEMO_PATH: Final = Path(__file__).parent / "demo" / "weights"
DEMO_NAME: Final = "demo"
DEEPEST: Final = 4
"""How many folders below its root `find_models` looks."""


_NONE: Final[Mapping[str, Path]] = MappingProxyType({})


def detect(
    path: Path | str,
    *,
    name: str | None = None,
    prior: Path | str | None = None,
    components: Mapping[str, Path] = _NONE,
) -> ModelCard:
    """Tell what lies at ``path``: a diffusers folder, a release's folder, or a single weight file.

    ``prior`` is the folder (of a release, the file) that completes a Kandinsky 2 decoder; without it one is
    looked for in the decoder's README.md and beside it. ``components`` are parts by name that lie elsewhere,
    or that are to replace the model's own. Never raises for what it finds: a model that cannot be loaded
    has ``loadable=False`` and a reason in words.
    """
    place = Path(path).expanduser().absolute()
    given = {role: Path(part).expanduser().absolute() for role, part in components.items()}
    card = _unknown(place, name or slug(_given_name(place)))
    try:
        card = card.model_copy(update=_seen(place))
        if diffusers_folder.is_pipeline(place):
            return _folder_card(card, place, Path(prior).expanduser().absolute() if prior else None, given)
        if prior is not None:
            given = {**given, "prior": Path(prior).expanduser().absolute()}
        main = place if place.is_file() else _main_file(place)
        if main is None:
            raise NotLoadable(card.name, _not_a_model(place))
        if main != place:
            card = card.model_copy(update={"path": str(main), "fingerprint": fingerprint(main)})
        return _file_card(card, main, given)
    except NotLoadable as error:
        return card.model_copy(update={"reason": error.reason})
    except OSError as error:
        reason = f"it cannot be read: {error.strerror or type(error).__name__}"
        return card.model_copy(update={"reason": reason})


def find_models(root: Path | str) -> list[ModelCard]:
    """Every model at or below ``root``, each under a name of its own, in the order of their paths.

    Looks `DEEPEST` folders deep, not into hidden folders nor into a model's own. Weight files that
    nothing is known about are left out, and those that are parts of a model that was found, unless they
    are models themselves: a folder that lends a single checkpoint its configuration.
    """
    cards: list[ModelCard] = []
    taken: set[str] = set()
    found = [detect(path) for path in _candidates(Path(root).expanduser().absolute(), DEEPEST)]
    parts = {Path(source.path) for card in found for source in card.sources if source.path != card.path}
    parts -= {Path(card.path) for card in found if card.loadable and Path(card.path).is_dir()}
    for card in found:
        path = Path(card.path)
        if card.family is Family.UNKNOWN or parts.intersection((path, *path.parents)):
            continue
        name = _free(card.name, path, taken)
        taken.add(name)
        cards.append(card.model_copy(update={"name": name}))
    return cards


def demo_card() -> ModelCard:
    """The model that comes with the package."""
    return detect(DEMO_PATH, name=DEMO_NAME)


def slug(name: str) -> str:
    """A model name made of ``name``: lower-case letters, digits, dots, dashes and underscores."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9._-]+", "-", plain).strip("-._") or "model"


def _unknown(path: Path, name: str) -> ModelCard:
    family = families.family_of_name(path.name, path.parent.name)
    return ModelCard(
        name=name,
        path=str(path),
        family=family,
        format=CheckpointFormat.UNKNOWN,
        part=Part.COMPONENT,
    )


def _seen(path: Path) -> dict[str, object]:
    """What a first look tells; a folder of anything may be given, and only a model's own is walked."""
    if path.is_dir() and not diffusers_folder.is_pipeline(path):
        return {"part": Part.WHOLE}
    return {"part": Part.WHOLE if path.is_dir() else Part.COMPONENT, "fingerprint": fingerprint(path)}


def _folder_card(unknown: ModelCard, path: Path, prior: Path | None, given: Mapping[str, Path]) -> ModelCard:
    """The card of a diffusers folder, as complete as the first fault in it allows."""
    card = unknown.model_copy(update={"format": CheckpointFormat.DIFFUSERS_FOLDER})
    try:
        stored_class = diffusers_folder.class_of(path)
        family = families.family_of_class(stored_class)
        part = families.part_of_class(stored_class)
        card = card.model_copy(
            update={
                "stored_class": stored_class,
                "family": family,
                "part": part,
                "pipeline_class": families.serving_class(stored_class),
            }
        )
        stored = diffusers_folder.open_folder(path, given)
        card = _with_components(card, [component.describe() for component in stored.components])
        card = card.model_copy(update={"preset": preset.read(path), **_traits(stored)})
        card = _with_sources(card, given)
        _refuse_other_tasks(stored.class_name)
        if part is Part.DECODER:
            card = _completed(card, priors.find(path, family, prior))
        elif prior is not None:
            raise NotLoadable(card.name, f"--prior: {stored_class} is no decoder of Kandinsky 2")
        return card.model_copy(update={"loadable": True})
    except NotLoadable as error:
        return card.model_copy(update={"reason": error.reason})


def _traits(stored: StoredPipeline) -> dict[str, object]:
    configs = {
        component.name: content.read_object(component.folder / "config.json")
        for component in stored.components
        if component.weights is not None
    }
    pickled = any(component.weights.pickled for component in stored.components if component.weights)
    return {**diffusers_folder.traits(configs), "pickled": pickled}


def _with_sources(card: ModelCard, given: Mapping[str, Path]) -> ModelCard:
    """Note the parts that lie elsewhere, and make the fingerprint one of them, too."""
    if not given:
        return card
    sources = tuple(Source(role=role, path=str(path)) for role, path in sorted(given.items()))
    return card.model_copy(update={"sources": sources, "fingerprint": _joint(card, given.values())})


def _joint(card: ModelCard, others: Iterable[Path]) -> str:
    words = card.fingerprint + "".join(fingerprint(path) for path in others)
    return hashlib.blake2b(words.encode(), digest_size=16).hexdigest()


def _refuse_other_tasks(name: str) -> None:
    if families.part_of_class(name) is Part.PRIOR:
        reason = (
            "this is a prior alone, which turns a text into image embeddings and draws nothing: "
            "give the folder of its decoder as the model, with this one beside it or as --prior"
        )
        raise NotLoadable(name, reason)
    task = families.other_task(families.serving_class(name))
    if task:
        raise NotLoadable(name, f"{name} is no text-to-image pipeline: it {task}")


def _completed(card: ModelCard, prior: Path) -> ModelCard:
    try:
        stored = diffusers_folder.open_folder(prior).components
        added = [component.describe("prior_") for component in stored]
    except NotLoadable as error:
        raise NotLoadable(card.name, f"the prior in {prior.name}: {error.reason}") from error
    pickled = card.pickled or any(component.weights.pickled for component in stored if component.weights)
    card = card.model_copy(
        update={"prior_path": str(prior), "fingerprint": _joint(card, [prior]), "pickled": pickled}
    )
    return _with_components(card, [*card.components, *added])


def _with_components(card: ModelCard, components: list[Component]) -> ModelCard:
    return card.model_copy(
        update={
            "components": tuple(components),
            "size": sum(component.size for component in components),
            "dtype": weights.main_dtype((component.dtype, component.size) for component in components),
        }
    )


def _file_card(unknown: ModelCard, path: Path, given: Mapping[str, Path]) -> ModelCard:
    """The card of a weight file, as complete as the first fault allows."""
    stored = weights.read(path)
    card = unknown.model_copy(update={"format": stored.format, "size": stored.size, "dtype": stored.dtype})
    if pack.is_pack(stored):
        card = pack.describe(card, path, stored)
        _refuse_other_tasks(card.stored_class or "")
        if given:
            part = sorted(given)[0]
            raise NotLoadable(card.name, f"--component {part}: a packed file has all its parts within")
        return card.model_copy(update={"loadable": True})
    found = single_file.recognise(stored)
    if found is None:
        reason = "its tensors are not those of a model known here; give a diffusers folder instead"
        return card.model_copy(update={"reason": reason})
    card = _recognised(card, found, stored)
    try:
        if found.kind is Kind.ORIGINAL:
            card = originals.describe(card, path, found, stored, given)
        elif found.kind is Kind.CHECKPOINT:
            card = checkpoints.describe(card, path, found, stored, given)
        else:
            raise NotLoadable(card.name, _no_model(found, stored.format))
    except NotLoadable as error:
        return card.model_copy(update={"reason": error.reason})
    parts = [Path(source.path) for source in card.sources if source.path != card.path]
    return card.model_copy(update={"fingerprint": _joint(card, parts)})


def _recognised(card: ModelCard, found: SingleFile, stored: weights.Weights) -> ModelCard:
    component = Component(
        name=found.component,
        library="diffusers",
        class_name=found.class_name,
        size=stored.size,
        dtype=stored.dtype,
    )
    family = found.family
    if family is None and found.kind is Kind.ADDITION:
        family = Family.UNKNOWN
    elif family is None:
        family = card.family if card.family is not Family.UNKNOWN else Family.KANDINSKY_2_2
    return card.model_copy(update={"family": family, "part": found.part, "components": (component,)})


_MAIN_FILES: Final = MappingProxyType(
    {
        Family.KANDINSKY_2_1: "the decoder's (decoder_fp16.ckpt)",
        Family.KANDINSKY_3: "the UNet's (kandinsky3.pt)",
    }
)


def _no_model(found: SingleFile, file_format: CheckpointFormat) -> str:
    """What a file is that is recognised and no model, and what to give instead."""
    if found.kind is Kind.ADDITION:
        return f"this {file_format.value} is {found.what}"
    if found.kind is Kind.COMPANION and found.family is not None:
        main = _MAIN_FILES[found.family]
        return f"this {file_format.value} holds {found.what}, one part of the model: give {main} instead"
    return (
        f"this {file_format.value} holds {found.what}: it belongs into {found.component}/ of a diffusers "
        f"folder (one with {diffusers_folder.INDEX}); give that folder instead"
    )


def _main_file(folder: Path) -> Path | None:
    return originals.main_file(folder) if folder.is_dir() else None


def _not_a_model(path: Path) -> str:
    if not path.exists():
        return "there is no file or folder at this path"
    files = sorted(entry.name for entry in path.iterdir() if entry.suffix in weights.SUFFIXES)
    if files:
        return f"the folder has no {diffusers_folder.INDEX}; it holds the weight files {', '.join(files)}"
    return f"the folder has no {diffusers_folder.INDEX}, so it is no diffusers pipeline"


def fingerprint(path: Path) -> str:
    """A word that changes when a file of the model does: names, sizes and times of change, hashed."""
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted(_files(path)):
        status = file.stat()
        relative = file.relative_to(path).as_posix()
        digest.update(f"{relative}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    elif path.is_dir():
        for folder, below, names in os.walk(path):
            below[:] = [name for name in below if not name.startswith(".")]
            yield from (Path(folder, name) for name in names if Path(folder, name).is_file())


def _candidates(folder: Path, depth: int, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Model folders and weight files at or below a folder; a file is its own candidate.

    A link to one of the folders ``above`` leads round in a circle, and is not followed.
    """
    if folder.is_file() or diffusers_folder.is_pipeline(folder):
        yield folder
        return
    here = folder.resolve()
    if here in above:
        return
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError:
        return
    for entry in entries:
        if entry.is_file() and entry.suffix in weights.SUFFIXES:
            yield entry
        elif entry.is_dir() and depth:
            yield from _candidates(entry, depth - 1, above | {here})


def _given_name(path: Path) -> str:
    """The folder's or file's own name; that of the repository in a hub's cache."""
    if path.parent.name == "snapshots" and path.parent.parent.name.startswith("models--"):
        return path.parent.parent.name.rpartition("--")[2]
    return path.stem if path.suffix in weights.SUFFIXES else path.name


def _free(name: str, path: Path, taken: set[str]) -> str:
    """``name``, or with its folder's name before it, or numbered, whichever is free first."""
    if name not in taken:
        return name
    longer = f"{slug(path.parent.name)}-{name}"
    numbered = (f"{longer}-{number}" for number in range(2, len(taken) + 3))
    return next(free for free in (longer, *numbered) if free not in taken)
