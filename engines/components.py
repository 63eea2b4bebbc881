"""The components of a model, loaded one after the other onto the device they are to rest on."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from engines import own_classes, quantization
from engines.assembly import assemble, lies_elsewhere
from engines.calls import EngineOptions, LoadPhase, LoadProgress
from engines.card import ModelCard
from engines.collecting import uncollected
from engines.devices import Placement
from engines.errors import NotLoadable
from engines.formats.diffusers_folder import StoredComponent
from engines.offloading import Offload
from engines.opening import OpenedModel
from engines.prefetching import prefetching

Report = Callable[[LoadProgress], None]


def load_components(
    card: ModelCard,
    model: OpenedModel,
    placement: Placement,
    options: EngineOptions,
    *,
    report: Report,
    guarded: Callable[[str], AbstractContextManager[None]],
) -> dict[str, Any]:
    """Load every component and move it to its device before the next: the host holds one at a time.

    ``guarded`` gives the context in which a step, in words, may fail.
    """
    loaded: dict[str, Any] = {}
    read = 0
    with prefetching(_weight_files(card, model)), uncollected():
        for component in card.components:
            name = component.name
            report(_progress(card, name, read))
            with guarded(f"the component {name}"):
                loaded[name] = _load(name, model.components[name], placement, options)
            read += component.size
    report(_progress(card, None, read))
    return loaded


def _weight_files(card: ModelCard, model: OpenedModel) -> list[Path]:
    """In the order in which they are needed; a packed one once."""
    stored = [model.components[component.name].weights for component in card.components]
    return list(dict.fromkeys(file for weights in stored if weights is not None for file in weights.files))


def _progress(card: ModelCard, component: str | None, read: int) -> LoadProgress:
    return LoadProgress(phase=LoadPhase.LOADING, component=component, bytes_read=read, bytes_total=card.size)


def _load(name: str, stored: StoredComponent, placement: Placement, options: EngineOptions) -> Any:
    import torch

    kind = _class_of(stored)
    dtype = getattr(torch, placement.dtype)
    word = options.quantize.get(name)
    if lies_elsewhere(stored):
        component: Any = assemble(stored, kind, dtype)
    else:
        component = _from_folder(stored, kind, _arguments(stored, kind, word, placement, dtype=dtype))
    if not isinstance(component, torch.nn.Module):
        return component
    component = component.eval()
    if word is not None:
        return quantization.rounded(name, component, word, device=placement.device)
    return component.to(placement.device if options.offload is Offload.NONE else "cpu")


def _arguments(
    stored: StoredComponent, kind: Any, word: str | None, placement: Placement, *, dtype: Any
) -> dict[str, Any]:
    arguments: dict[str, Any] = {"local_files_only": True}
    if stored.library == "transformers":
        arguments["trust_remote_code"] = False
    if stored.weights is None:
        return arguments
    # The file's own dtype, where it is also the one to compute in, is mapped and not copied.
    arguments["dtype"] = dtype
    # The files that detection has measured, and no others that may lie beside them.
    arguments["use_safetensors"] = not stored.weights.pickled
    if stored.weights.variant is not None:
        arguments["variant"] = stored.weights.variant
    if word is not None:
        arguments |= quantization.load_arguments(word, kind, device=placement.device, dtype=dtype)
    return arguments


def _from_folder(stored: StoredComponent, kind: Any, arguments: dict[str, Any]) -> Any:
    """The component, all of whose weights are in the file: transformers would invent what is not."""
    if stored.weights is None or stored.library == "diffusers":
        return kind.from_pretrained(str(stored.folder), **arguments)
    component, found = kind.from_pretrained(str(stored.folder), output_loading_info=True, **arguments)
    missing = sorted(found["missing_keys"])
    if missing:
        named = ", ".join(missing[:3])
        raise NotLoadable(stored.name, f"its weight file lacks {len(missing)} tensors: {named} …")
    return component


def _class_of(stored: StoredComponent) -> Any:
    """The component's class, of diffusers, transformers, a pipeline module of diffusers, or ours."""
    if stored.library == own_classes.LIBRARY:
        return own_classes.find(stored.class_name)
    own = stored.library in ("diffusers", "transformers")
    module = importlib.import_module(stored.library if own else f"diffusers.pipelines.{stored.library}")
    found = getattr(module, stored.class_name, None)
    if found is None:
        raise NotLoadable(stored.name, f"the installed {stored.library} has no {stored.class_name}")
    return found
