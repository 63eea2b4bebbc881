"""Original weights of Kandinsky, as a model card: the main file, its companions, and what they become."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engines.card import CheckpointFormat, Component, Family, ModelCard, Part, Source
from engines.errors import NotLoadable
from engines.formats import companions, content, single_file, weights
from engines.formats.diffusers_folder import has_weights, weights_in
from engines.formats.layouts import Assembled, Layout, layout_of
from engines.formats.single_file import Kind, SingleFile
from engines.formats.tensor import shape_of
from engines.formats.weights import Weights

_FOLDERS: Final = ("", "weights", "model")
"""Where a release's folder has its main files."""


@dataclass(frozen=True)
class _Measured:
    """The weights of a part: bytes, most frequent type, whether they are pickled."""

    size: int
    dtype: str | None
    pickled: bool


def describe(
    card: ModelCard, path: Path, found: SingleFile, stored: Weights, given: Mapping[str, Path]
) -> ModelCard:
    """Complete the card of a recognised main file.

    Raises:
        NotLoadable: a companion is missing or another model's, or the model makes something else.
    """
    layout = layout_of(found, path, stored)
    parts = companions.find(path, found.what, layout.companions, given)
    places = {layout.main: path, **parts}
    measured = {role: _measure(place) for role, place in places.items()}
    _check_fit(path, places, stored)
    components = tuple(_component(each, measured) for each in layout.components)
    return card.model_copy(
        update={
            "format": CheckpointFormat.ORIGINAL,
            "part": Part.WHOLE,
            "pipeline_class": layout.pipeline_class,
            "components": components,
            "size": sum(component.size for component in components),
            "dtype": weights.main_dtype((component.dtype, component.size) for component in components),
            "sources": tuple(Source(role=role, path=str(place)) for role, place in places.items()),
            "variant": layout.variant,
            "inpaints": layout.variant == "inpainting",
            "pickled": any(each.pickled for each in measured.values()),
            "preset": layout.preset,
            "loadable": True,
        }
    )


def layout_of_card(card: ModelCard) -> Layout:
    """The layout that a described card was made after.

    Raises:
        NotLoadable: the main file has changed since.
    """
    path = Path(card.path)
    stored = weights.read(path)
    found = single_file.recognise(stored)
    if found is None or found.kind is not Kind.ORIGINAL:
        raise NotLoadable(card.name, f"{path.name} has changed since it was deployed")
    return layout_of(found, path, stored)


def main_file(folder: Path) -> Path | None:
    """The main file in the folder of a release; of several the one without a variant in its name.

    Raises:
        NotLoadable: there are several, and nothing tells which is meant; or none, and files are damaged.
    """
    there, faults = _weight_files(folder), []
    files = []
    for file in there:
        try:
            files += [file] if _is_main(file) else []
        except NotLoadable as error:
            faults.append(error.reason)
    if faults and not files:
        raise NotLoadable(folder.name, f"the folder holds no model: {'; '.join(faults)}")
    if len(files) > 1:
        plain = [file for file in files if not any(word in file.stem for word in ("flash", "inpaint"))]
        if len(plain) != 1:
            names = ", ".join(file.relative_to(folder).as_posix() for file in files)
            raise NotLoadable(folder.name, f"the folder holds several models: name one of {names}")
        files = plain
    return files[0] if files else None


def _weight_files(folder: Path) -> list[Path]:
    found = []
    for below in _FOLDERS:
        place = folder / below
        if place.is_dir():
            found += [file for file in sorted(place.iterdir()) if file.suffix in weights.SUFFIXES]
    return [file for file in found if file.is_file()]


def _is_main(file: Path) -> bool:
    found = single_file.recognise(weights.read(file))
    return found is not None and found.kind is Kind.ORIGINAL


def _measure(place: Path) -> _Measured:
    if place.is_dir():
        stored = weights_in(place)
        files = stored.files if stored else ()
    else:
        files = (place,)
    read = [weights.read(file) for file in files]
    return _Measured(
        size=sum(each.size for each in read),
        dtype=weights.main_dtype((each.dtype, each.size) for each in read),
        pickled=any(each.format is CheckpointFormat.PICKLE_FILE for each in read),
    )


def _component(part: Assembled, measured: Mapping[str, _Measured]) -> Component:
    role = part.source or next(iter(part.made_from), None)
    weighs = role is not None and has_weights(part.class_name)
    known = measured[role] if weighs and role is not None else _Measured(0, None, False)
    return Component(
        name=part.name,
        library=part.library,
        class_name=part.class_name,
        size=known.size,
        dtype=known.dtype,
    )


def _check_fit(path: Path, places: Mapping[str, Path], stored: Weights) -> None:
    """See that the companions are this model's and not those of another size."""
    if "projection" not in places:
        return
    file = places["projection"]
    takes = shape_of(single_file.bare(stored.tensors), "feature_pooling.attention.to_key.weight", 2)[-1]
    made, read = shape_of(single_file.bare(weights.read(file).tensors), "0.weight", 2)
    encoded = content.read_object(places["text_encoder"] / "config.json").get("d_model")
    if made != takes:
        reason = f"{file.name} makes {made} features for each token where {path.name} takes {takes}"
    elif encoded != read:
        encoder = places["text_encoder"].name
        reason = f"{file.name} takes {read} features for each token where {encoder}/ makes {encoded}"
    else:
        return
    raise NotLoadable(path.name, f"{reason}: they are parts of different models")


_NATIVE_NAMES: Final = (Family.KANDINSKY_5,)
"""Whose weights have diffusers' names: a safetensors file of them is used where it lies."""


def in_place(card: ModelCard, name: str) -> Path | None:
    """The file whose weights a component uses as they lie, where its conversion is a configuration alone."""
    if card.family not in _NATIVE_NAMES or name != "transformer":
        return None
    path = card.source(name)
    return path if path is not None and path.suffix == ".safetensors" else None
