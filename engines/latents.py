"""Between pictures and the latents that a pipeline's denoising loop steps through.

Layouts (batch, channels, height, width in latent cells): Kandinsky 2 and 3, Stable Diffusion and SDXL
as they stand; Kandinsky 5 (batch, 1, height, width, channels); Flux packs 2 x 2 cells into one token.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from PIL import Image


class LatentCodec:
    """The autoencoder of a pipeline, in its loop's layout; made by `codec_for`."""

    def __init__(self, pipeline: Any, autoencoder: Any) -> None:
        self._pipeline = pipeline
        self._autoencoder = autoencoder
        self._quantised = hasattr(autoencoder, "quantize")
        config = autoencoder.config
        self._scale = 1.0 if self._quantised else float(getattr(config, "scaling_factor", None) or 1.0)
        # Kandinsky 5 leaves the shift out, although its autoencoder has one.
        is_kandinsky_5 = type(pipeline).__name__.startswith("Kandinsky5")
        self._shift = 0.0 if is_kandinsky_5 else float(getattr(config, "shift_factor", None) or 0.0)
        self.factor = 2 ** (len(config.block_out_channels) - 1)
        """Pixels of an edge of a latent cell."""

    def encode(self, image: Image.Image, like: torch.Tensor) -> torch.Tensor:
        """The latents of an RGB picture, in the layout, dtype and on the device of ``like``.

        The picture is resampled to the size that ``like`` stands for.
        """
        height, width = _cells(like)
        size = (width * self.factor, height * self.factor)
        pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS), dtype=np.float32)
        tensor = torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)[None]
        tensor = tensor.to(like.device, next(self._autoencoder.parameters()).dtype)
        encoded = self._autoencoder.encode(tensor)
        if self._quantised:
            latents = encoded.latents
        else:
            latents = (encoded.latent_dist.mode() - self._shift) * self._scale
        return _laid_out(latents.to(like.dtype), like)

    def decode(self, latents: torch.Tensor, size: tuple[int, int], *, shrink: int) -> Image.Image:
        """The first picture of a batch, its latents averaged over ``shrink`` x ``shrink`` cells before.

        ``size`` (width, height) in pixels is what the latents stand for, and what is returned.
        """
        plane = self._plane(latents, size)[:1]
        if shrink > 1:
            plane = functional.avg_pool2d(plane.float(), shrink).to(plane.dtype)
        dtype = next(self._autoencoder.parameters()).dtype
        if self._quantised:
            pixels = self._autoencoder.decode(plane.to(dtype), force_not_quantize=True).sample
        else:
            pixels = self._autoencoder.decode(plane.to(dtype) / self._scale + self._shift).sample
        array = (pixels[0].float() * 127.5 + 127.5).clamp(0, 255).round().to(torch.uint8)
        image = Image.fromarray(array.permute(1, 2, 0).cpu().numpy())
        return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)

    def _plane(self, latents: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """The latents as (batch, channels, height, width)."""
        if latents.ndim == 5:
            channels = self._autoencoder.config.latent_channels
            return latents[:, 0, :, :, :channels].permute(0, 3, 1, 2)
        if latents.ndim == 3:
            unpacked: torch.Tensor = self._pipeline._unpack_latents(latents, size[1], size[0], self.factor)
            return unpacked
        return latents


def codec_for(pipeline: Any) -> LatentCodec | None:
    """The codec of a pipeline, ``None`` where its latents are of a kind that is not known here."""
    autoencoder = getattr(pipeline, "movq", None) or getattr(pipeline, "vae", None)
    config = getattr(autoencoder, "config", None)
    known = autoencoder is not None and hasattr(config, "block_out_channels")
    if not known or not hasattr(autoencoder, "decode"):
        return None
    return LatentCodec(pipeline, autoencoder)


def pixel_size(latents: torch.Tensor, factor: int) -> tuple[int, int] | None:
    """Width and height in pixels of what latents stand for; ``None`` for packed ones, which do not tell."""
    if latents.ndim == 3:
        return None
    height, width = _cells(latents)
    return width * factor, height * factor


def mask_like(mask: Image.Image, like: torch.Tensor) -> torch.Tensor:
    """A grey mask in the layout of latents; a cell is as much marked as its most marked pixel."""
    height, width = _cells(like)
    grey = torch.from_numpy(np.asarray(mask.convert("L"), dtype=np.float32) / 255)[None, None]
    cells = functional.adaptive_max_pool2d(grey, (height, width)).to(like.device, like.dtype)
    return _laid_out(cells, like)


def _cells(latents: torch.Tensor) -> tuple[int, int]:
    """Height and width in latent cells."""
    height, width = latents.shape[2:4]
    return int(height), int(width)


def _laid_out(plane: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A (batch, channels, height, width) tensor in the layout of ``like``."""
    return plane.permute(0, 2, 3, 1)[:, None] if like.ndim == 5 else plane
