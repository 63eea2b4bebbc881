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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from engines import offloading, quantization
from engines.calls import EngineOptions, LoadProgress
from engines.card import ModelCard
from engines.components import load_components
from engines.conversion.cache import Cache, cache_root
from engines.devices import Placement, choose, cpu_threads
from engines.errors import LoadFailed, NotLoadable
from engines.footprint import advice
from engines.locating import located
from engines.metrics import resident
from engines.occupancy import Occupancy
from engines.opening import opened
from engines.pickles import fault_of
from engines.schema import Method
from engines.tasks import main_class, task_classes
from engines.tokenizers import check_tokenizers
from engines.whereabouts import require_here
from engines.wording import described

_logger = logging.getLogger(__name__)

SAFETY_CHECKER: Final = "safety_checker"

Report = Callable[[LoadProgress], None]

_ONE_AT_A_TIME: Final = threading.Lock()
"""transformers builds a model by switching torch's process-wide default device: two loads at once in
one process leave weights on the meta device."""


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory. ``pipelines`` share their components; ``__call__`` is always there.

    ``occupancy`` measures what it takes of its device.
    """

    card: ModelCard
    pipelines: dict[Method, Any]
    placement: Placement
    load_seconds: float
    occupancy: Occupancy = field(default_factory=Occupancy)

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
    _require_loadable(card)
    started = time.monotonic()
    with _translated(card, "importing torch and diffusers"):
        import torch

        _quieten()
        placement = choose(card, options)
        if main_class(card) is None:
            raise NotLoadable(card.name, f"the installed diffusers has no {card.pipeline_class}")
        classes = task_classes(card)
        if placement.device == "cpu":
            torch.set_num_threads(cpu_threads(options))
        occupancy = Occupancy(placement.device, bare=resident())
    _logger.info("%s: %s, because %s", card.name, placement.device, placement.device_reason)
    _logger.info("%s: %s, because %s", card.name, placement.dtype, placement.dtype_reason)
    cache = Cache(Path(options.cache_folder) if options.cache_folder else cache_root(os.environ))
    with _translated(card, "fetching it"):
        served = _served(located(card, report, pickles=options.allow_pickles), options)
    with _translated(card, "checking its options"):
        _check_options(served, options, placement)
    reading = opened(served, cache, report, pickles=options.allow_pickles)
    with _ONE_AT_A_TIME, _translated(card, "reading its files"), reading as model:
        components = load_components(
            served, model, placement, options, report=report, guarded=lambda doing: _translated(card, doing)
        )
    with _translated(card, "checking its tokenizers"):
        check_tokenizers(card, model, components)
    if options.moderation and SAFETY_CHECKER not in components:
        raise LoadFailed(card.name, "moderation is asked for, and the model has no safety checker")
    with _translated(card, "putting the pipeline together"):
        pipelines = _pipelines(card, classes, components, model.options)
        offloading.apply(pipelines, components, options.offload, device=placement.device)
    return LoadedModel(card, pipelines, placement, time.monotonic() - started, occupancy)


def _require_loadable(card: ModelCard) -> None:
    if not card.loadable:
        raise LoadFailed(card.name, card.reason or "it cannot be loaded by this version")
    fault = fault_of(os.environ)
    if fault:
        raise LoadFailed(card.name, fault)
    require_here(card)


def _check_options(card: ModelCard, options: EngineOptions, placement: Placement) -> None:
    offloading.check(card.name, options.offload, device=placement.device, quantized=options.quantize)
    quantization.check(card, options.quantize, device=placement.device)
    if not placement.device.startswith("cuda"):
        return
    import torch

    room = torch.cuda.get_device_properties(placement.device).total_memory
    words = advice(card, room, dtype=placement.dtype, offload=options.offload, quantize=options.quantize)
    if words:
        _logger.warning("%s: %s", card.name, words)


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
