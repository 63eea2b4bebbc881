"""Weights that wait in the host's memory and come to the GPU when they are used.

The pictures stay the same, bit for bit, and take longer; the host must hold all of the weights. The
three ways are diffusers' own: ``model`` moves a component at a time, ``sequential`` a layer at a time,
``group`` blocks of a denoiser and layers of an encoder, the next being fetched while one computes.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Any, Final

from engines.errors import NotLoadable
from engines.schema import Method

_logger = logging.getLogger(__name__)

DEVICES: Final = ("cuda",)
"""Devices with a memory of their own, in which room can be made."""


class Offload(StrEnum):
    """Which weights wait outside the device's memory; see the module."""

    NONE = "none"
    MODEL = "model"
    SEQUENTIAL = "sequential"
    GROUP = "group"


def check(model: str, mode: Offload, *, device: str, quantized: Collection[str] = ()) -> None:
    """See, before anything is read, that ``mode`` makes sense on a device (its torch name).

    ``quantized`` are the names of the components that are loaded with fewer bits.

    Raises:
        NotLoadable: the device has no memory of its own, or the weights cannot be moved that way.
    """
    if mode is Offload.NONE:
        return
    kind = device.partition(":")[0]
    if kind not in DEVICES:
        reason = (
            f"--offload {mode} makes room in the memory of a CUDA device, and this model computes on "
            f"{kind!r}, where the weights lie in the host's memory anyway"
        )
        raise NotLoadable(model, reason)
    if mode is Offload.SEQUENTIAL and quantized:
        # An open issue of torchao's: pytorch/ao#3373.
        reason = (
            f"--offload {mode} is not known to work with quantised weights ({', '.join(sorted(quantized))}): "
            f"use --offload {Offload.MODEL}, which takes less time, too"
        )
        raise NotLoadable(model, reason)


def apply(
    pipelines: Mapping[Method, Any], components: Mapping[str, Any], mode: Offload, *, device: str
) -> None:
    """Install the hooks that move the weights of ``components``, which all ``pipelines`` share.

    The components lie in the host's memory before, or on ``device``. Those that must not be moved stay
    there; with `Offload.GROUP` the reason is logged. With `Offload.NONE` nothing is done.

    Raises:
        NotLoadable: a pipeline does not say in which order it uses its components.
    """
    if mode is Offload.MODEL:
        _apply_model(pipelines, device)
    elif mode is Offload.SEQUENTIAL:
        _apply_sequential(pipelines, device)
    elif mode is Offload.GROUP:
        _apply_group(components, _kept(pipelines), device)


def claim(pipeline: Any) -> None:
    """Make the hooks of the shared components this pipeline's, before it is called.

    Under `Offload.MODEL` a component is moved away when the next one *of the pipeline that installed
    the hooks* begins; every pipeline has an order of its own, and installs its hooks again at the end of
    a call. For every other mode this does nothing.
    """
    pipeline.maybe_free_model_hooks()


def gradient_free(pipeline: Any) -> AbstractContextManager[None]:
    """The mode to call a pipeline in: torch's inference mode, or ``no_grad`` where weights are moved.

    torchao's weights cannot change devices in inference mode ("Attempted to set the storage of a tensor
    on device …", torch 2.13, torchao 0.18). Both draw the same pictures; a tiny model takes 4 % longer
    without inference mode.
    """
    import torch

    moved = any(
        hasattr(module, "_hf_hook") or hasattr(module, "_diffusers_hook")
        for component in pipeline.components.values()
        if isinstance(component, torch.nn.Module)
        for module in component.modules()
    )
    return torch.no_grad() if moved else torch.inference_mode()


def _apply_model(pipelines: Mapping[Method, Any], device: str) -> None:
    """Each pipeline takes the others' hooks off and installs its own: `claim` says whose turn it is."""
    for pipeline in pipelines.values():
        if pipeline.model_cpu_offload_seq is None:
            name = type(pipeline).__name__
            reason = (
                f"{name} does not say in which order it uses its components, so --offload {Offload.MODEL} "
                f"cannot work: use --offload {Offload.SEQUENTIAL}"
            )
            raise NotLoadable(name, reason)
        pipeline.enable_model_cpu_offload(device=device)


def _apply_sequential(pipelines: Mapping[Method, Any], device: str) -> None:
    """The hooks are the layers' own and know no pipeline: the first to install them does so for all."""
    for pipeline in pipelines.values():
        if not all(hasattr(each, "_hf_hook") for each in _movable(pipeline)):
            pipeline.enable_sequential_cpu_offload(device=device)


def _movable(pipeline: Any) -> list[Any]:
    import torch

    return [
        component
        for name, component in pipeline.components.items()
        if isinstance(component, torch.nn.Module) and name not in pipeline._exclude_from_cpu_offload
    ]


def _kept(pipelines: Mapping[Method, Any]) -> frozenset[str]:
    """The components whose weights some pipeline reads beside their forward pass (a prior's statistics)."""
    return frozenset(name for each in pipelines.values() for name in each._exclude_from_cpu_offload)


def _apply_group(components: Mapping[str, Any], kept: Collection[str], device: str) -> None:
    import torch

    for name, component in components.items():
        if not isinstance(component, torch.nn.Module):
            continue
        reason = "its pipeline reads weights of it directly" if name in kept else _resident(component)
        if reason is None:
            _group(component, device)
        else:
            _logger.info("%s stays on %s: %s", name, device, reason)
            component.to(device)


def _resident(component: Any) -> str | None:
    """Why a component cannot be moved in groups, ``None`` if it can."""
    name = type(component).__name__
    if not getattr(component, "_supports_group_offloading", True):
        return f"diffusers does not move a {name} in groups"
    if hasattr(component, "decode"):
        # The hooks hang on forward, and a pipeline calls encode and decode.
        return f"a {name} is called in halves"
    if getattr(component, "is_loaded_in_4bit", False):
        return "4-bit weights of bitsandbytes cannot be moved in groups"
    return None


def _group(component: Any, device: str) -> None:
    """Blocks of a diffusers model; layers of one of transformers, whose blocks lie too deep to be found."""
    import torch
    from diffusers import ModelMixin

    blocks = isinstance(component, ModelMixin)
    hooks: Any = importlib.import_module("diffusers.hooks")  # untyped
    hooks.apply_group_offloading(
        component,
        onload_device=torch.device(device),
        offload_device=torch.device("cpu"),
        offload_type="block_level" if blocks else "leaf_level",
        num_blocks_per_group=1 if blocks else None,
        # The next group is fetched while one computes; the host's copy of the weights is pinned.
        use_stream=device.startswith("cuda"),
    )
