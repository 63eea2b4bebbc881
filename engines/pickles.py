"""Checkpoints that are pickles: what must hold before one is opened."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import version
from typing import Final

from engines.errors import NotLoadable

UNSAFE_VARIABLE: Final = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
_TRUE: Final = ("1", "y", "yes", "true")

# CVE-2025-32434 (before 2.6) and CVE-2026-24747 (before 2.10): weights_only could be got around.
_SAFE_TORCH: Final = (2, 10)


def fault_of(environment: Mapping[str, str]) -> str | None:
    """Why nothing may be loaded in this environment, or ``None``."""
    if environment.get(UNSAFE_VARIABLE, "").lower() not in _TRUE:
        return None
    return (
        f"{UNSAFE_VARIABLE} is set, with which code in a checkpoint would be executed: unset it and start "
        "again"
    )


def require_safe(name: str) -> None:
    """See that pickles can be opened without executing them.

    Raises:
        NotLoadable: an environment variable or an old torch is in the way; ``name`` is the file's.
    """
    fault = fault_of(os.environ)
    if fault:
        raise NotLoadable(name, fault)
    installed = version("torch")
    numbers = tuple(int(part) for part in installed.split("+")[0].split(".")[:2])
    if numbers < _SAFE_TORCH:
        wanted = ".".join(map(str, _SAFE_TORCH))
        reason = f"{name} is a pickle, and torch {installed} opens none safely: it needs {wanted} or newer"
        raise NotLoadable(name, reason)


def forbidden(name: str) -> NotLoadable:
    """The error of a pickle where a setting forbids them."""
    reason = "is a pickle, and KANDINSKY_ALLOW_PICKLES=false forbids them: give the weights as .safetensors"
    return NotLoadable(name, f"{name} {reason}")
