"""A model written as one safetensors file, whatever form it has on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from engines.assembly import lies_elsewhere, stored_tensors
from engines.calls import LoadProgress
from engines.card import ModelCard
from engines.conversion.cache import Cache
from engines.conversion.reading import map_safetensors, open_tensors
from engines.conversion.writing import write_safetensors
from engines.errors import NotLoadable
from engines.formats import pack, preset
from engines.formats.diffusers_folder import INDEX, StoredComponent
from engines.opening import OpenedModel, opened
from engines.pickles import fault_of


def write_pack(
    card: ModelCard,
    target: Path,
    cache: Cache,
    *,
    pickles: bool,
    on_conversion: Callable[[LoadProgress], None],
    on_bytes: Callable[[int], None],
) -> None:
    """Write a loadable model to ``target``, whole or not at all; no tensor is changed.

    ``on_conversion`` is told of a conversion that must come first, ``on_bytes`` of every piece written.

    Without ``pickles`` none is opened.

    Raises:
        NotLoadable: a part of the model cannot be read.
        OSError: the file cannot be written.
    """
    if not card.loadable:
        raise NotLoadable(card.name, card.reason or "it cannot be loaded by this version")
    fault = fault_of(os.environ)
    if fault:
        raise NotLoadable(card.name, fault)
    with opened(card, cache, on_conversion, pickles=pickles) as model:
        tensors: dict[str, torch.Tensor] = {}
        files = {INDEX: _index(card, model)}
        for component, stored in model.components.items():
            files |= _files(component, stored)
            tensors |= {f"{component}.{name}": value for name, value in _tensors(stored).items()}
        files |= _preset(card)
        write_safetensors(target, tensors, metadata=pack.encoded(files), report=on_bytes)


def _index(card: ModelCard, model: OpenedModel) -> bytes:
    components = {name: [each.library, each.class_name] for name, each in model.components.items()}
    index = {"_class_name": card.pipeline_class, **model.options, **components}
    return json.dumps(index, indent=2).encode()


def _files(component: str, stored: StoredComponent) -> dict[str, bytes]:
    """The small files of a component: configurations and vocabularies, those of other components not."""
    own = (file for file in sorted(stored.folder.iterdir()) if pack.may_be_packed(file))
    return {f"{component}/{file.name}": file.read_bytes() for file in own}


def _tensors(stored: StoredComponent) -> Mapping[str, torch.Tensor]:
    if stored.weights is None:
        return {}
    if lies_elsewhere(stored):
        return stored_tensors(stored)
    found: dict[str, torch.Tensor] = {}
    for file in stored.weights.files:
        found |= open_tensors(file) if stored.weights.pickled else map_safetensors(file)
    return found


def _preset(card: ModelCard) -> dict[str, bytes]:
    if card.preset == type(card.preset)():
        return {}
    return {preset.FILE: card.preset.model_dump_json(exclude_defaults=True).encode()}
