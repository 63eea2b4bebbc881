"""From a `ModelCard` to live pipelines that share one set of components."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from engines import own_classes
from engines.assembly import assemble, lies_elsewhere
from engines.calls import EngineOptions, LoadPhase, LoadProgress
from engines.card import ModelCard
from engines.conversion.cache import Cache, cache_root
from engines.devices import Placement, choose, cpu_threads
from engines.errors import LoadFailed, NotLoadable
from engines.formats.diffusers_folder import StoredComponent
from engines.locating import located
from engines.opening import OpenedModel, opened
from engines.pickles import fault_of, forbidden
from engines.schema import Method
from engines.tasks import task_classes
from engines.tokenizers import check_tokenizers
from engines.wording import described

_logger = logging.getLogger(__name__)

SAFETY_CHECKER: Final = "safety_checker"

Report = Callable[[LoadProgress], None]

_ONE_AT_A_TIME: Final = threading.Lock()
"""transformers builds a model by switching torch's process-wide default device: two loads at once in
one process leave weights on the meta device."""


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory. ``pipelines`` share their components; ``__call__`` is always there."""

    card: ModelCard
    pipelines: dict[Method, Any]
    placement: Placement
    load_seconds: float

    @property
    def device(self) -> str:
        """The torch device, by name."""
        return self.placement.device

    @property
    def dtype(self) -> str:
        """The torch dtype, by name."""
        return self.placement.dtype


def load(card: ModelCard, options: EngineOptions, report: Report) -> LoadedModel:
    """Load a model component by component, reporting the bytes read before and after each.

    Nothing is fetched, save a hub's model that this node has not yet; no code of the checkpoint runs.

    Raises:
        LoadFailed: with the reason in words.
    """
    _require_loadable(card, options)
    started = time.monotonic()
    with _translated(card, "importing torch and diffusers"):
        import torch

        _quieten()
        placement = choose(card, options)
        classes = task_classes(card)
        if placement.device == "cpu":
            torch.set_num_threads(cpu_threads(options))
    _logger.info("%s: %s, because %s", card.name, placement.device, placement.device_reason)
    _logger.info("%s: %s, because %s", card.name, placement.dtype, placement.dtype_reason)
    cache = Cache(Path(options.cache_folder) if options.cache_folder else cache_root(os.environ))
    with _translated(card, "fetching it"):
        served = _served(located(card, report, pickles=options.allow_pickles), options)
    with _ONE_AT_A_TIME, _translated(card, "reading its files"), opened(served, cache, report) as model:
        components = _components(served, model, placement, report)
    check_tokenizers(card, model, components)
    if options.moderation and SAFETY_CHECKER not in components:
        raise LoadFailed(card.name, "moderation is asked for, and the model has no safety checker")
    with _translated(card, "putting the pipeline together"):
        pipelines = _pipelines(card, classes, components, model.options)
    return LoadedModel(card, pipelines, placement, time.monotonic() - started)


def _require_loadable(card: ModelCard, options: EngineOptions) -> None:
    if not card.loadable:
        raise LoadFailed(card.name, card.reason or "it cannot be loaded by this version")
    fault = fault_of(os.environ)
    if fault:
        raise LoadFailed(card.name, fault)
    if card.pickled and not options.allow_pickles:
        raise LoadFailed(card.name, forbidden(Path(card.path).name).reason)


def _served(card: ModelCard, options: EngineOptions) -> ModelCard:
    """The card without the component that is not asked for."""
    if options.moderation:
        return card
    kept = tuple(each for each in card.components if each.name != SAFETY_CHECKER)
    return card.model_copy(update={"components": kept, "size": sum(each.size for each in kept)})


def _quieten() -> None:
    """A log file is no place for progress bars; a component's progress is reported instead."""
    for library in ("diffusers.utils.logging", "transformers.utils.logging"):
        logs = importlib.import_module(library)
        logs.disable_progress_bar()
        # Of tensors that a component has no use for, as of a whole CLIP in its text half, tables are printed.
        logs.set_verbosity_error()


def _components(card: ModelCard, model: OpenedModel, placement: Placement, report: Report) -> dict[str, Any]:
    """Load every component and move it to the device before the next: the host holds one at a time."""
    loaded: dict[str, Any] = {}
    read = 0
    for component in card.components:
        report(_progress(card, component.name, read))
        with _translated(card, f"the component {component.name}"):
            loaded[component.name] = _load_component(model.components[component.name], placement)
        read += component.size
    report(_progress(card, None, read))
    return loaded


def _progress(card: ModelCard, component: str | None, read: int) -> LoadProgress:
    return LoadProgress(phase=LoadPhase.LOADING, component=component, bytes_read=read, bytes_total=card.size)


def _load_component(stored: StoredComponent, placement: Placement) -> Any:
    import torch

    kind = _class_of(stored)
    if lies_elsewhere(stored):
        module = assemble(stored, kind, getattr(torch, placement.dtype))
        return module.eval().to(placement.device)
    arguments: dict[str, Any] = {"local_files_only": True}
    if stored.weights is not None:
        # The file's own dtype, where it is also the one to compute in, is mapped and not copied.
        arguments["dtype"] = getattr(torch, placement.dtype)
        # The files that detection has measured, and no others that may lie beside them.
        arguments["use_safetensors"] = not stored.weights.pickled
        if stored.weights.variant is not None:
            arguments["variant"] = stored.weights.variant
    component = _from_folder(stored, kind, arguments)
    if isinstance(component, torch.nn.Module):
        component = component.eval().to(placement.device)
    return component


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


def _pipelines(
    card: ModelCard, classes: Mapping[Method, Any], components: dict[str, Any], options: dict[str, Any]
) -> dict[Method, Any]:
    if SAFETY_CHECKER not in components:
        options = {**options, "requires_safety_checker": False}
    pipelines: dict[Method, Any] = {}
    for method, kind in classes.items():
        arguments = _arguments(kind, components | options)
        missing = [name for name in _required(kind) if name not in arguments]
        if missing and method == "__call__":
            raise NotLoadable(
                card.name, f"{kind.__name__} needs {', '.join(missing)}, which the folder lacks"
            )
        if missing:
            _logger.info("%s has no %s: it lacks %s", card.name, method, ", ".join(missing))
            continue
        pipelines[method] = kind(**arguments)
        pipelines[method].set_progress_bar_config(disable=True)
    return pipelines


def _arguments(kind: Any, available: dict[str, Any]) -> dict[str, Any]:
    """What a pipeline class takes of the components and options there are.

    Its constructor is called rather than its ``from_pretrained``: that one would load the prior
    named in a decoder's README.md from the hub, and make a second copy of a prior that is here.
    """
    accepted = inspect.signature(kind.__init__).parameters
    optional = {name: None for name in kind._optional_components if name in accepted}
    return optional | {name: value for name, value in available.items() if name in accepted}


def _required(kind: Any) -> list[str]:
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]
    return [
        each.name for each in parameters if each.default is each.empty and each.kind is not each.VAR_KEYWORD
    ]


@contextmanager
def _translated(card: ModelCard, doing: str) -> Iterator[None]:
    """Turn what diffusers, transformers, safetensors, torch and the disk raise into a reason in words.

    Raises:
        LoadFailed: what was being done, and the first line of the failure without paths.
    """
    try:
        yield
    except LoadFailed:
        raise
    except NotLoadable as error:
        raise LoadFailed(card.name, error.reason) from error
    except Exception as error:  # four libraries without a common root
        raise LoadFailed(card.name, f"{doing}: {_words(card, error)}"[:500]) from error


def _words(card: ModelCard, error: Exception) -> str:
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"not enough memory for its {card.size / 2**30:.1f} GiB of weights"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return described(error)
