"""Which files of a repository make the model. Pure: nothing is fetched but what is asked for by name."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from engines.errors import NotLoadable
from engines.formats import preset, weights
from engines.formats.diffusers_folder import INDEX, weight_name
from engines.hub.cache import HubFile

README: Final = "README.md"
Listing = Mapping[str, HubFile]
Read = Callable[[str], dict[str, Any]]
"""Fetches a JSON file of the repository and gives its object."""

_SETTINGS: Final = (".json", ".txt", ".model", ".tiktoken", ".jinja")
_WEIGHT_INDEX: Final = re.compile(r".*\.index(\.\w+)?\.json")
_OF_OTHER_FRAMEWORKS: Final = re.compile(r"(?:onnx|openvino|flax|tf)(?:_.*)?", re.IGNORECASE)
_PICKLED: Final = tuple(suffix for suffix in weights.SUFFIXES if suffix != ".safetensors")


def choose(repository: str, files: Listing, read: Read, *, pickles: bool) -> tuple[HubFile, ...]:
    """The files to fetch: those of a diffusers folder, or else of a repository as its authors laid it out.

    A diffusers folder needs the settings of each component that its index names and one set of weights:
    safetensors before pickles, the plain names before those of a variant, one file before shards. Any
    other repository is taken whole, without pickles beside safetensors and what is of no use to torch.

    Raises:
        NotLoadable: a component or a shard is not there, nothing is, or a part has only pickled weights
            and ``pickles`` is false.
    """
    chosen = _of_folder(repository, files, read) if INDEX in files else _of_authors(repository, files)
    pickled = [path for path in chosen if path.endswith(_PICKLED)]
    if pickled and not pickles:
        reason = (
            f"{pickled[0]} is a pickle, there are no safetensors in its place, and "
            "KANDINSKY_ALLOW_PICKLES=false forbids pickles"
        )
        raise NotLoadable(repository, reason)
    return tuple(files[path] for path in sorted(set(chosen)))


def _of_folder(repository: str, files: Listing, read: Read) -> list[str]:
    chosen = [path for path in (INDEX, preset.FILE, README) if path in files]
    for name, value in read(INDEX).items():
        if name.startswith("_") or not isinstance(value, list) or value == [None, None]:
            continue
        inside = [path for path in files if path.startswith(f"{name}/") and path.count("/") == 1]
        if not inside:
            raise NotLoadable(
                repository, f"{INDEX} names the component {name}, and there is no folder {name}/"
            )
        chosen += [path for path in inside if _is_settings(path)]
        chosen += _weights(repository, files, inside, read)
    return chosen


def _weights(repository: str, files: Listing, inside: Iterable[str], read: Read) -> list[str]:
    """The one set of weights of a component, with its index where it is sharded; none for a scheduler."""
    named = ((weight_name(PurePosixPath(path).name), path) for path in inside)
    found = [(name, path) for name, path in named if name is not None]
    if not found:
        return []
    (_, _, sharded), path = min(found)
    return [path, *_shards(repository, files, path, read)] if sharded else [path]


def _shards(repository: str, files: Listing, index: str, read: Read) -> list[str]:
    placed = read(index).get("weight_map")
    if not isinstance(placed, dict) or not all(isinstance(name, str) for name in placed.values()):
        raise NotLoadable(repository, f"{index} has no map of weights to files")
    folder = PurePosixPath(index).parent
    shards = [str(folder / PurePosixPath(name).name) for name in sorted(set(placed.values()))]
    for shard in shards:
        if shard not in files:
            raise NotLoadable(repository, f"{index} names {shard}, which is not there")
    return shards


def _is_settings(path: str) -> bool:
    name = PurePosixPath(path).name
    return name.endswith(_SETTINGS) and not _WEIGHT_INDEX.fullmatch(name) and not _is_foreign(path)


def _is_foreign(path: str) -> bool:
    return any(_OF_OTHER_FRAMEWORKS.fullmatch(part) for part in PurePosixPath(path).with_suffix("").parts)


def _of_authors(repository: str, files: Listing) -> list[str]:
    folders: dict[str, list[str]] = defaultdict(list)
    for path in files:
        if not _is_foreign(path):
            folders[str(PurePosixPath(path).parent)].append(path)
    chosen = [path for inside in folders.values() for path in _useful(inside)]
    if not any(path.endswith(weights.SUFFIXES) for path in chosen):
        raise NotLoadable(repository, f"it has no {INDEX} and no weight files")
    return [*chosen, *(path for path in (README,) if path in files)]


def _useful(inside: Iterable[str]) -> list[str]:
    """Of the files of one folder, settings and weights; safetensors in place of what torch pickled."""
    paths = [path for path in inside if path.endswith((*weights.SUFFIXES, *_SETTINGS))]
    if any(path.endswith(".safetensors") for path in paths):
        return [path for path in paths if not path.endswith(".bin") and ".bin.index." not in path]
    return paths
