"""A whole pipeline in one safetensors file: tensors as ``component.name``, everything else in the header.

The header's metadata hold ``kandinsky_gateway.pack`` (the version of this form) and
``kandinsky_gateway.files``: a JSON object of the pipeline's other files by their paths, in base64. Any
program that reads safetensors can read the tensors; `engines.packing` writes such files.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from engines.card import CheckpointFormat, Component, ModelCard
from engines.errors import NotLoadable
from engines.formats import content, diffusers_folder, families, preset, weights
from engines.formats.diffusers_folder import INDEX
from engines.formats.weights import Weights

VERSION_KEY: Final = "kandinsky_gateway.pack"
FILES_KEY: Final = "kandinsky_gateway.files"
VERSION: Final = "1"
_SUFFIXES: Final = (".json", ".txt", ".model", ".tiktoken", ".jinja")
_LARGEST_FILE: Final = 64 * 2**20
_PLACE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,99}")
"""What a file or folder may be called."""
_MOST_SHOWN: Final = 100


def is_pack(stored: Weights) -> bool:
    """Whether a safetensors file says that it is one."""
    return VERSION_KEY in stored.metadata


def describe(card: ModelCard, path: Path, stored: Weights) -> ModelCard:
    """Complete the card of a packed file.

    Raises:
        NotLoadable: it is damaged, of a newer version, or names classes that are not diffusers'.
    """
    files = files_of(path.name, stored)
    index = content.parse_object(files[INDEX], f"the {INDEX} in {path.name}")
    class_name = diffusers_folder.class_in(index)
    components = tuple(_components(path.name, index, stored))
    return card.model_copy(
        update={
            "format": CheckpointFormat.PACK,
            "stored_class": class_name,
            "family": families.family_of_class(class_name),
            "part": families.part_of_class(class_name),
            "pipeline_class": families.serving_class(class_name),
            "components": components,
            "size": sum(component.size for component in components),
            "dtype": weights.main_dtype((component.dtype, component.size) for component in components),
            "preset": preset.parse(files[preset.FILE]) if preset.FILE in files else card.preset,
            **_traits(files),
        }
    )


def files_of(name: str, stored: Weights) -> dict[str, bytes]:
    """The files in a pack's header by their paths, checked to lie where they may.

    Raises:
        NotLoadable: the header is damaged, or a path leads elsewhere.
    """
    version = stored.metadata.get(VERSION_KEY)
    if version != VERSION:
        raise NotLoadable(
            name, f"{name} is a packed model of version {version}, which this version cannot read"
        )
    listing = stored.metadata.get(FILES_KEY, "").encode("utf-8", "surrogatepass")
    packed = content.parse_object(listing, f"the file list of {name}")
    files = {path: _decoded(name, path, text) for path, text in packed.items()}
    if INDEX not in files:
        raise NotLoadable(name, f"{name} is a packed model without its {INDEX}")
    above = {folder.as_posix() for path in files for folder in PurePosixPath(path).parents}
    if above & set(files):
        both = min(above & set(files))
        raise NotLoadable(name, f"{name} is a packed model whose {both!r} is a file and a folder at once")
    return files


def unpack_files(path: Path, stored: Weights, root: Path) -> Path:
    """Write a pack's small files below ``root``, once for every content, and give their folder.

    Raises:
        NotLoadable: the header is damaged.
        OSError: they cannot be written.
    """
    files = files_of(path.name, stored)
    name = content.digest_of(files)
    folder = root / name
    if folder.is_dir():
        return folder
    root.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=root, prefix=f".{name}."))
    try:
        _write(partial, files)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    try:
        os.rename(partial, folder)
    except OSError:
        # Another engine was faster.
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for relative, data in files.items():
        file = folder / relative
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


def encoded(files: Mapping[str, bytes]) -> dict[str, str]:
    """The metadata of a pack with these files."""
    texts = {path: base64.b64encode(data).decode() for path, data in sorted(files.items())}
    return {"format": "pt", VERSION_KEY: VERSION, FILES_KEY: json.dumps(texts)}


def may_be_packed(file: Path) -> bool:
    """Whether a file beside a component's weights belongs into a pack."""
    return file.is_file() and file.suffix in _SUFFIXES and not file.name.endswith(".index.json")


def _decoded(name: str, path: str, text: Any) -> bytes:
    place = PurePosixPath(path)
    if (
        path != place.as_posix()
        or not 1 <= len(place.parts) <= 3
        or not all(_PLACE.fullmatch(part) for part in place.parts)
        or place.suffix not in _SUFFIXES
    ):
        shown = repr(path[:_MOST_SHOWN])
        raise NotLoadable(name, f"{name} is a packed model with a file in a place where none may be: {shown}")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise NotLoadable(name, f"{name} is a packed model whose {path!r} is damaged") from error
    if len(data) > _LARGEST_FILE:
        raise NotLoadable(name, f"{name} is a packed model whose {path!r} is far too large")
    return data


def _components(file: str, index: Mapping[str, Any], stored: Weights) -> list[Component]:
    found = []
    for name, library, class_name in diffusers_folder.listed(index):
        tensors = [tensor for key, tensor in stored.tensors.items() if key.startswith(f"{name}.")]
        if not tensors and diffusers_folder.has_weights(class_name):
            raise NotLoadable(file, f"{file} is a packed model without the weights of {name} ({class_name})")
        found.append(
            Component(
                name=name,
                library=library,
                class_name=class_name,
                size=sum(tensor.size for tensor in tensors),
                dtype=weights.main_dtype((tensor.dtype, tensor.size) for tensor in tensors),
            )
        )
    return found


def _traits(files: Mapping[str, bytes]) -> dict[str, Any]:
    configs = {
        path.removesuffix("/config.json"): content.parse_object(data, path)
        for path, data in files.items()
        if path.endswith("/config.json")
    }
    return diffusers_folder.traits(configs)
