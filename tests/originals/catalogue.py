"""The folders of original weights by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tests.originals.build import kandinsky3, kandinsky5, kandinsky21

_BUILDERS: Final[Mapping[str, Callable[[Path], Path]]] = MappingProxyType(
    {
        "kandinsky21": kandinsky21,
        "kandinsky3": kandinsky3,
        "kandinsky3-ckpt": partial(kandinsky3, suffix=".ckpt"),
        "kandinsky3-safetensors": partial(kandinsky3, suffix=".safetensors"),
        "kandinsky3-flash": partial(kandinsky3, variant="flash"),
        "kandinsky3-inpainting": partial(kandinsky3, variant="inpainting"),
        "kandinsky30": partial(kandinsky3, release="3.0"),
        "kandinsky5": kandinsky5,
    }
)
NAMES: Final = tuple(_BUILDERS)


def write(name: str, folder: Path) -> Path:
    """Write the release ``name`` below ``folder``; return what a user would name to load it.

    That is the file of the UNet or the transformer, or the folder where there are several.

    Raises:
        KeyError: there is no such release.
    """
    return _BUILDERS[name](folder)
