"""The mark of an engine's process: variables of its environment by which Ray keeps such workers apart."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

MARKER: Final = "KANDINSKY_ENGINE"
ENVIRONMENT: Final = MappingProxyType(
    {
        MARKER: "1",
        # diffusers asks for a GPU as it is imported. Without this torch would start the CUDA driver for the
        # answer, which then never looks again at the CUDA_VISIBLE_DEVICES that Ray sets for an engine.
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
    }
)


def marked(runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    """Ray's ``runtime_env`` of an application, with the mark added."""
    return {**runtime_env, "env_vars": {**runtime_env.get("env_vars", {}), **ENVIRONMENT}}


def is_marked(environment: Mapping[str, str]) -> bool:
    """Whether a process with this environment is an engine's, or waits to be."""
    return environment.get(MARKER) == ENVIRONMENT[MARKER]
