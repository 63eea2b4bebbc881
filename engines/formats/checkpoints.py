"""Single checkpoints of Stable Diffusion, SDXL, SD3 and Flux: what is in the file, and what its folder adds.

Such a file becomes a pipeline by diffusers' own conversion (``from_single_file``), given a folder with the
configurations: any diffusers folder of the same class, with or without weights. What the file lacks (the
text encoders of Flux, mostly) is taken from that folder's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from engines.card import CheckpointFormat, Component, ModelCard, Part, Source
from engines.errors import NotLoadable
from engines.formats import checkpoint_fit, companions, content, diffusers_folder, weights
from engines.formats.checkpoint_parts import PLACES, denoiser_in, held_by
from engines.formats.companions import Companion
from engines.formats.diffusers_folder import INDEX, has_vocabulary, has_weights, is_pipeline, weights_in
from engines.formats.single_file import SingleFile
from engines.formats.weights import Weights

ROLE: Final = "config"

_OPTIONAL: Final = ("safety_checker", "feature_extractor", "image_encoder")
_MOST_NEIGHBOURS: Final = 3
_PREDICTS_VELOCITY: Final = "v_pred"
"""An empty tensor by which a file of SDXL says how it was trained."""


def describe(
    card: ModelCard, path: Path, found: SingleFile, stored: Weights, given: Mapping[str, Path]
) -> ModelCard:
    """Complete the card of a recognised checkpoint.

    Raises:
        NotLoadable: the folder of its configuration is missing or another model's, or a part is nowhere.
    """
    class_name = checkpoint_fit.class_for(found.class_name, denoiser_in(found.class_name, stored), found.what)
    held = held_by(class_name, stored)
    companion = Companion(
        ROLE,
        f"the folder of its configuration and tokenizers (any diffusers folder of a {class_name})",
        (path.stem, "config", *_neighbours(path, class_name)),
        _fault(class_name, stored, held),
    )
    folder = companions.find(path, f"{found.what} without its configuration", [companion], given)[ROLE]
    components = tuple(_components(folder, held))
    return card.model_copy(
        update={
            "format": CheckpointFormat.CHECKPOINT,
            "part": Part.WHOLE,
            "pipeline_class": class_name,
            "stored_class": class_name,
            "components": components,
            "size": sum(component.size for component in components),
            "dtype": weights.main_dtype((component.dtype, component.size) for component in components),
            "sources": (Source(role="checkpoint", path=str(path)), Source(role=ROLE, path=str(folder))),
            "pickled": _pickled(folder, stored, components, held),
            "loadable": True,
            **diffusers_folder.traits({name: _config(folder, name) for name in held}),
        }
    )


def written(card: ModelCard) -> dict[str, Component]:
    """The components of a described checkpoint that its conversion writes, by name.

    Raises:
        NotLoadable: the file is damaged, or has changed since.
    """
    held = held_by(card.pipeline_class or "", weights.read(Path(card.path)))
    return {component.name: component for component in card.components if component.name in held}


def files_of(card: ModelCard) -> Iterator[Path]:
    """The checkpoint, and the files of its folder that say how it is read."""
    yield Path(card.path)
    folder = config_folder(card)
    yield folder / INDEX
    for name in readable(card):
        yield folder / name / "config.json"


def readable(card: ModelCard) -> list[str]:
    """The components of a described checkpoint that such files can hold, by name."""
    places = PLACES[card.pipeline_class or ""]
    return [component.name for component in card.components if component.name in places]


def config_folder(card: ModelCard) -> Path:
    """The folder of a described checkpoint's configuration."""
    folder = card.source(ROLE)
    assert folder is not None, "a described checkpoint has this source"
    return folder


def _components(folder: Path, held: Mapping[str, Component]) -> Iterator[Component]:
    """The folder's components, those of the file with their sizes there."""
    for name, library, class_name in _listed(folder, held):
        diffusers_folder.refuse_own_code(name, class_name, folder / name)
        if name in held:
            yield held[name].model_copy(update={"library": library, "class_name": class_name})
            continue
        stored = weights_in(folder / name) if has_weights(class_name) else None
        read = [weights.read(file) for file in stored.files] if stored else []
        yield Component(
            name=name,
            library=library,
            class_name=class_name,
            size=sum(each.size for each in read),
            dtype=weights.main_dtype((each.dtype, each.size) for each in read),
        )


def _listed(folder: Path, held: Mapping[str, Component]) -> Iterator[tuple[str, str, str]]:
    """The folder's components without those that a model can do without and that have no weights."""
    for name, library, class_name in diffusers_folder.listed(content.read_object(folder / INDEX)):
        below = folder / name
        absent = not below.is_dir() or (has_weights(class_name) and weights_in(below) is None)
        if name in held or name not in _OPTIONAL or not absent:
            yield name, library, class_name


def _pickled(
    folder: Path, stored: Weights, components: tuple[Component, ...], held: Mapping[str, Component]
) -> bool:
    others = (weights_in(folder / each.name) for each in components if each.size and each.name not in held)
    in_pickle = stored.format is CheckpointFormat.PICKLE_FILE
    return in_pickle or any(other.pickled for other in others if other is not None)


def _fault(class_name: str, stored: Weights, held: Mapping[str, Component]) -> Callable[[Path], str | None]:
    def fault(folder: Path) -> str | None:
        if not is_pipeline(folder):
            return f"has no {INDEX}"
        try:
            there = diffusers_folder.class_of(folder)
            if there != class_name:
                return f"is the folder of a {there}, not of a {class_name}"
            return _lacking(class_name, folder, held) or _other_model(class_name, folder, stored)
        except NotLoadable as error:
            return f"is damaged: {error.reason}"

    return fault


def _lacking(class_name: str, folder: Path, held: Mapping[str, Component]) -> str | None:
    """What a folder lacks of which the file has no more than weights, in words."""
    for name, _, kind in _listed(folder, held):
        below = folder / name
        if name in held and kind not in PLACES[class_name][name].classes:
            return f"has a {kind} as its {name}, which the file's cannot be"
        if name not in held and has_weights(kind) and (not below.is_dir() or weights_in(below) is None):
            return f"has no weights for {name} ({kind}), which the file does not hold"
        if has_weights(kind):
            _config(folder, name)
        elif kind.endswith("Scheduler"):
            content.read_object(below / "scheduler_config.json")
        elif "Tokenizer" in kind and not has_vocabulary(below):
            return f"has no vocabulary in {name}/"
    return None


def _other_model(class_name: str, folder: Path, stored: Weights) -> str | None:
    """Where the folder's configuration is not that of the file's denoiser, in words."""
    name = next(iter(PLACES[class_name]))
    wrong = checkpoint_fit.misfit(class_name, _config(folder, name), denoiser_in(class_name, stored))
    if wrong is not None:
        return f"is the folder of another model: the {name}'s {wrong}"
    scheduler = folder / "scheduler" / "scheduler_config.json"
    if _PREDICTS_VELOCITY in stored.tensors and (
        content.read_object(scheduler).get("prediction_type") != "v_prediction"
    ):
        return (
            "is the folder of another model: its scheduler's prediction_type is not the file's v_prediction"
        )
    return None


def _config(folder: Path, name: str) -> dict[str, Any]:
    config = content.read_object(folder / name / "config.json")
    diffusers_folder.refuse_kernels(config)
    return config


def _neighbours(path: Path, class_name: str) -> list[str]:
    """The diffusers folders beside a file: those of its own class, or the first few to say what they are."""
    try:
        found = sorted(entry.name for entry in path.parent.iterdir() if is_pipeline(entry))
    except OSError:
        return []
    return [name for name in found if _is_of(path.parent / name, class_name)] or found[:_MOST_NEIGHBOURS]


def _is_of(folder: Path, class_name: str) -> bool:
    try:
        return diffusers_folder.class_of(folder) == class_name
    except NotLoadable:
        return False
