"""From a `ModelCard` to live pipelines that share one set of components."""

from __future__ import annotations

import importlib
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.calls import EngineOptions, LoadPhase, LoadProgress
from engines.card import Component, ModelCard
from engines.devices import Placement, choose, cpu_threads
from engines.errors import EngineError, LoadFailed
from engines.schema import Method
from engines.tasks import task_classes
from engines.tokenizers import check_tokenizers

_logger = logging.getLogger(__name__)

Report = Callable[[LoadProgress], None]


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
    """Load a model component by component, reporting the bytes read after each.

    Nothing is fetched from anywhere and no code of the checkpoint runs.

    Raises:
        LoadFailed: with the reason in words.
    """
    if not card.loadable:
        raise LoadFailed(card.name, card.reason or "it cannot be loaded by this version")
    started = time.monotonic()
    with _translated(card):
        import torch

        placement = choose(card, options)
        _logger.info("%s: %s, because %s", card.name, placement.device, placement.device_reason)
        _logger.info("%s: %s, because %s", card.name, placement.dtype, placement.dtype_reason)
        if placement.device == "cpu":
            torch.set_num_threads(cpu_threads(options))
        components = dict(_components(card, getattr(torch, placement.dtype), report))
        check_tokenizers(card, components)
        pipelines = _pipelines(card, components, placement.device)
    return LoadedModel(card, pipelines, placement, time.monotonic() - started)


def _components(card: ModelCard, dtype: Any, report: Report) -> Iterator[tuple[str, Any]]:
    """Load every component from its folder, the largest last read being reported as it comes."""
    read = 0
    for component in card.components:
        report(_progress(card, component.name, read))
        yield component.name, _component(card, component, dtype)
        read += component.size
    report(_progress(card, None, read))


def _progress(card: ModelCard, component: str | None, read: int) -> LoadProgress:
    return LoadProgress(
        phase=LoadPhase.LOADING, component=component, bytes_read=min(read, card.size), bytes_total=card.size
    )


def _component(card: ModelCard, component: Component, dtype: Any) -> Any:
    folder = _folder(card, component.name)
    kind = _class_of(component)
    arguments: dict[str, Any] = {"local_files_only": True}
    if component.size:
        arguments["dtype"] = dtype
        variant = _variant(folder)
        if variant is not None:
            arguments["variant"] = variant
    loaded = kind.from_pretrained(str(folder), **arguments)
    return loaded.eval() if hasattr(loaded, "eval") else loaded


def _folder(card: ModelCard, name: str) -> Path:
    if card.prior_path is not None and name.startswith("prior_"):
        return Path(card.prior_path) / name.removeprefix("prior_")
    return Path(card.path) / name


def _class_of(component: Component) -> Any:
    """The component's class; ``library`` is diffusers, transformers or a pipeline module of diffusers."""
    if component.library in ("diffusers", "transformers"):
        return getattr(importlib.import_module(component.library), component.class_name)
    module = importlib.import_module(f"diffusers.pipelines.{component.library}")
    return getattr(module, component.class_name)


def _variant(folder: Path) -> str | None:
    """``fp16`` for a folder that holds only ``….fp16.safetensors`` files."""
    files = [path.name for path in folder.glob("*.safetensors")] or [
        path.name for path in folder.glob("*.bin")
    ]
    variants = {parts[-2] for name in files if len(parts := name.split(".")) > 2}
    plain = any(len(name.split(".")) == 2 for name in files)
    return None if plain or not variants else sorted(variants)[0]


def _pipelines(card: ModelCard, components: dict[str, Any], device: str) -> dict[Method, Any]:
    classes = task_classes(card)
    main = _build(classes["__call__"], card, components).to(device)
    pipelines: dict[Method, Any] = {"__call__": main}
    for method, kind in classes.items():
        if method != "__call__":
            shared = _shared(card, method, kind, main)
            if shared is not None:
                pipelines[method] = shared
    for pipeline in pipelines.values():
        pipeline.set_progress_bar_config(disable=True)
    return pipelines


def _build(kind: Any, card: ModelCard, components: dict[str, Any]) -> Any:
    """Make the pipeline through ``from_pretrained``, which reads its own settings beside the components."""
    return kind.from_pretrained(card.path, local_files_only=True, **components)


def _shared(card: ModelCard, method: Method, kind: Any, main: Any) -> Any | None:
    """Another pipeline around the same components; a model that has none for it simply lacks the method."""
    try:
        # Without a dtype, `from_pipe` would turn the shared components into float32.
        return kind.from_pipe(main, dtype=main.dtype)
    except (ValueError, TypeError, AttributeError) as error:
        _logger.warning("%s has no %s: %s", card.name, method, error)
        return None


@contextmanager
def _translated(card: ModelCard) -> Iterator[None]:
    """Turn what diffusers, transformers, safetensors, torch and the disk raise into a reason in words."""
    try:
        yield
    except EngineError:
        raise
    except Exception as error:  # four libraries without a common root
        raise LoadFailed(card.name, _reason(card, error)) from error


def _reason(card: ModelCard, error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    for path in (card.path, card.prior_path):
        if path is not None:
            text = text.replace(path, Path(path).name)
    return f"{type(error).__name__}: {text}"[:500]
