"""The tiny models by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from transformers.utils.logging import disable_progress_bar

from tests.tiny import kandinsky2, kandinsky3, kandinsky5, others, parts

_BUILDERS: Final[Mapping[str, Callable[[], Any]]] = MappingProxyType(
    {
        "kandinsky21": kandinsky2.combined_21,
        "kandinsky21-decoder": kandinsky2.decoder_21,
        "kandinsky21-prior": kandinsky2.prior_21,
        "kandinsky22": kandinsky2.combined_22,
        "kandinsky22-decoder": kandinsky2.decoder_22,
        "kandinsky22-inpainting-decoder": kandinsky2.inpainting_decoder_22,
        "kandinsky22-prior": kandinsky2.prior_22,
        "kandinsky3": kandinsky3.text_to_image,
        "kandinsky5": kandinsky5.text_to_image,
        "sd15": others.stable_diffusion,
        "sd15-guarded": others.stable_diffusion_guarded,
        "sd15-inpainting": others.stable_diffusion_inpainting,
        "sd15-transparent": others.stable_diffusion_transparent,
        "sd2": others.stable_diffusion_2,
        "sd3": others.stable_diffusion_3,
        "sdxl": others.stable_diffusion_xl,
        "flux": others.flux,
    }
)
NAMES: Final = tuple(_BUILDERS)


def build(name: str, folder: Path) -> Path:
    """Write the model ``name`` as a diffusers folder at ``folder`` and return ``folder``.

    The same name gives the same weights every time.

    Raises:
        KeyError: there is no tiny model of this name.
    """
    pipeline = _BUILDERS[name]()
    parts.made(disable_progress_bar)
    pipeline.save_pretrained(folder)
    return folder
