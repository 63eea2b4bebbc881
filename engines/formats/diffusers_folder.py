"""A folder written by ``save_pretrained``: ``model_index.json`` and a folder for each component."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from engines.card import Component
from engines.errors import NotLoadable
from engines.formats import content, weights

INDEX: Final = "model_index.json"
_WEIGHT_FILE: Final = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)(?:\.(?P<variant>\w+))?(?P<kind>\.safetensors|\.bin)"
    r"(?P<index>\.index(?:\.(?P<sharded_variant>\w+))?\.json)?"
)
VOCABULARIES: Final = ("tokenizer.json", "vocab.txt", "spiece.model", "vocab.json+merges.txt")
"""What a tokenizer's folder may hold, in words."""


@dataclass(frozen=True)
class StoredWeights:
    """The weight files of one component; ``variant`` is the word in their names ("fp16")."""

    files: tuple[Path, ...]
    variant: str | None
    pickled: bool


@dataclass(frozen=True)
class StoredComponent:
    """A component as the index names it, where it lies, and its weights if it has any."""

    name: str
    library: str
    class_name: str
    folder: Path
    weights: StoredWeights | None

    def describe(self, prefix: str = "") -> Component:
        """Its entry in a model card, from the headers of its files.

        Raises:
            NotLoadable: a weight file is damaged.
        """
        size, dtype = 0, None
        if self.weights:
            found = [_read(self, file) for file in self.weights.files]
            size = sum(one.size for one in found)
            dtype = weights.main_dtype((one.dtype, one.size) for one in found)
        return Component(
            name=prefix + self.name, library=self.library, class_name=self.class_name, size=size, dtype=dtype
        )


@dataclass(frozen=True)
class StoredPipeline:
    """A diffusers folder: its pipeline class, components, and the values of its other arguments."""

    path: Path
    class_name: str
    components: tuple[StoredComponent, ...]
    options: dict[str, Any]


def is_pipeline(path: Path) -> bool:
    """Whether a folder has an index."""
    return (path / INDEX).is_file()


def class_of(path: Path) -> str:
    """The pipeline class that a folder's index names.

    Raises:
        NotLoadable: the index is damaged, or names a class of its own code.
    """
    name = content.read_object(path / INDEX).get("_class_name")
    if isinstance(name, list):
        raise NotLoadable(INDEX, f"{INDEX} asks for its own pipeline code, which is never executed")
    if not isinstance(name, str) or not name:
        raise NotLoadable(INDEX, f"{INDEX} names no pipeline class (_class_name)")
    return name


def open_folder(path: Path) -> StoredPipeline:
    """Read a folder's index and find every file that it needs.

    Raises:
        NotLoadable: the index is damaged, a component is missing, or it needs code of its own.
    """
    class_name = class_of(path)
    index = content.read_object(path / INDEX)
    components, options = [], {}
    for name, value in index.items():
        if name.startswith("_"):
            continue
        if not isinstance(value, list):
            options[name] = value
        elif value != [None, None]:
            components.append(_component(path, name, value))
    if not components:
        raise NotLoadable(INDEX, f"{INDEX} lists no components")
    return StoredPipeline(path, class_name, tuple(components), options)


def _component(path: Path, name: str, value: list[Any]) -> StoredComponent:
    if len(value) != 2 or not all(isinstance(word, str) for word in value):
        raise NotLoadable(INDEX, f"{INDEX}: {name} is not a pair of library and class")
    library, class_name = value
    if not (library in ("diffusers", "transformers") or library in _pipeline_modules()):
        reason = f"{INDEX}: {name} is a {class_name} of {library!r}: a model's own code is never executed"
        raise NotLoadable(INDEX, reason)
    folder = path / name
    if Path(name).name != name or not folder.is_dir():
        raise NotLoadable(
            INDEX, f"the component {name} ({class_name}) is missing: there is no folder {name}/"
        )
    return StoredComponent(name, library, class_name, folder, _weights_of(name, class_name, folder))


def _weights_of(name: str, class_name: str, folder: Path) -> StoredWeights | None:
    if class_name.endswith("Scheduler"):
        content.read_object(folder / "scheduler_config.json")
        return None
    if "Tokenizer" in class_name:
        if not has_vocabulary(folder):
            reason = f"the tokenizer in {name}/ has no vocabulary: it needs {', or '.join(VOCABULARIES)}"
            raise NotLoadable(name, reason)
        return None
    if not (folder / "config.json").exists() and any(folder.glob("*processor*.json")):
        return None
    try:
        content.read_object(folder / "config.json")
    except NotLoadable as error:
        raise NotLoadable(name, f"the component {name}: {error.reason}") from error
    found = _find_weights(folder)
    if found is None:
        raise NotLoadable(name, f"the component {name} ({class_name}) has no weight file in {name}/")
    return found


def has_vocabulary(folder: Path) -> bool:
    """Whether a tokenizer's folder has the files without which transformers makes an empty one."""
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return True
    single = ("tokenizer.json", "vocab.txt", "*.model", "*.tiktoken")
    return any(file.stat().st_size for pattern in single for file in folder.glob(pattern))


def _find_weights(folder: Path) -> StoredWeights | None:
    """Safetensors before pickles, the plain names before those of a variant, one file before shards."""
    found = []
    for file in folder.iterdir():
        match = _WEIGHT_FILE.fullmatch(file.name)
        if match:
            variant = match["variant"] or match["sharded_variant"]
            found.append((match["kind"] == ".bin", variant or "", match["index"] is not None, file))
    if not found:
        return None
    pickled, variant, sharded, file = min(found)
    return StoredWeights(_shards(file) if sharded else (file,), variant or None, pickled)


def _shards(index: Path) -> tuple[Path, ...]:
    placed = content.read_object(index).get("weight_map")
    if not isinstance(placed, dict) or not all(isinstance(name, str) for name in placed.values()):
        raise NotLoadable(index.name, f"{index.name} has no map of weights to files")
    files = tuple(index.parent / Path(name).name for name in sorted(set(placed.values())))
    for file in files:
        if not file.is_file():
            raise NotLoadable(file.name, f"{index.parent.name}/{file.name} is missing")
    return files


def _read(component: StoredComponent, file: Path) -> weights.Weights:
    try:
        return weights.read(file)
    except NotLoadable as error:
        raise NotLoadable(file.name, f"the component {component.name}: {error.reason}") from error


@cache
def _pipeline_modules() -> frozenset[str]:
    """The packages of diffusers' own pipelines, some of which hold components; diffusers is not imported."""
    found = importlib.util.find_spec("diffusers")
    if found is None or not found.submodule_search_locations:
        return frozenset()
    pipelines = Path(found.submodule_search_locations[0]) / "pipelines"
    return frozenset(entry.name for entry in pipelines.iterdir() if entry.is_dir())
