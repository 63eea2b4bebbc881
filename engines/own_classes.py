"""The classes of our own that stand beside those of diffusers, found by name and imported when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

LIBRARY: Final = "kandinsky_gateway"
"""What ``model_index.json`` names as the library of a component that is one of these."""

_PLACES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "FlashScheduler": "engines.flash:FlashScheduler",
        "Kandinsky3Scheduler": "engines.kandinsky3_scheduler:Kandinsky3Scheduler",
        "Kandinsky3InpaintPipeline": "engines.kandinsky3_inpainting:Kandinsky3InpaintPipeline",
    }
)
NAMES: Final = frozenset(_PLACES)
"""The names of the classes that there are."""


def find(name: str) -> Any | None:
    """The class of this name, ``None`` where it is none of ours; imports torch and diffusers."""
    place = _PLACES.get(name)
    if place is None:
        return None
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)
