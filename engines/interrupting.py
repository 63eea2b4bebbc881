"""Every component of a pipeline asked, before it computes, whether the run is to go on.

The steps of the schedulers are seen by `engines.stepping`; a text encoder before the first of them, and an
autoencoder after the last, would work on for nobody. Weights that are moved or compiled are left to their
owners: only the outermost call of a component is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def interruptible(pipelines: Iterable[Any], check: Callable[[], None]) -> Iterator[None]:
    """Call ``check``, which may raise, before each component of ``pipelines`` computes, while this lasts."""

    def before(*_: Any) -> None:
        check()

    handles = [module.register_forward_pre_hook(before) for module in _computing(pipelines)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def decoders(pipeline: Any) -> list[torch.nn.Module]:
    """The halves of autoencoders that make pictures: ``decode`` is no module's call, what it calls is."""
    return [half for component in _modules(pipeline) if (half := _half(component, "decoder")) is not None]


def _computing(pipelines: Iterable[Any]) -> list[torch.nn.Module]:
    found: dict[int, torch.nn.Module] = {}
    for pipeline in pipelines:
        for component in _modules(pipeline):
            halves = [_half(component, name) for name in ("encoder", "decoder")]
            for module in (component, *halves):
                if module is not None:
                    found[id(module)] = module
    return list(found.values())


def _modules(pipeline: Any) -> list[torch.nn.Module]:
    return [each for each in pipeline.components.values() if isinstance(each, torch.nn.Module)]


def _half(component: torch.nn.Module, name: str) -> torch.nn.Module | None:
    half = getattr(component, name, None) if hasattr(component, "decode") else None
    return half if isinstance(half, torch.nn.Module) else None
