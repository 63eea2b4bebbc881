"""Inpainting by a pipeline that has none: what the mask leaves out is put back after every step.

The picture's own latents, noised as far as the loop has come, replace the drawn ones outside the mask;
the loop then draws what fits to them. At the end the untouched pixels themselves are pasted back, so
that they equal the input exactly. Source of the method: RePaint (Lugmayr et al., 2022), without its
resampling.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image

from engines.latents import LatentCodec, codec_for, mask_like
from engines.schema import SizeRule
from engines.stepping import Step, StepHook
from engines.validation import nearest_valid


def needs_blending(pipeline: Any) -> bool:
    """Whether a pipeline that is asked to inpaint takes no mask itself."""
    return "mask_image" not in inspect.signature(pipeline.__call__).parameters


class Blending:
    """The hook that puts the picture back. ``mask`` is grey, white where to repaint."""

    def __init__(self, pipeline: Any, picture: Image.Image, mask: Image.Image, *, seed: int) -> None:
        codec = codec_for(pipeline)
        assert codec is not None, "only pipelines with a known autoencoder are given this method"
        self._codec: LatentCodec = codec
        self._picture = picture
        self._mask = mask
        self._seed = seed
        self._clean: torch.Tensor | None = None
        self._noise: torch.Tensor | None = None

    def __call__(self, step: Step) -> Any:
        """Replace the latents outside the mask; returns the step's result with them."""
        if not step.main:
            return step.result
        drawn = step.latents
        clean, noise = self._prepared(drawn)
        kept = clean if step.next_timestep is None else _noised(step, clean, noise)
        mask = mask_like(self._mask, drawn)
        return step.with_latents(drawn * mask + kept.to(drawn.dtype) * (1 - mask))

    def _prepared(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self._clean is None or self._noise is None:
            self._clean = self._codec.encode(self._picture, like)
            source = torch.Generator("cpu").manual_seed(self._seed)
            noise = torch.randn(self._clean.shape, generator=source)
            self._noise = noise.to(like.device, like.dtype)
        return self._clean, self._noise


class Repainting:
    """What an inpainting call needs around its pipeline; nothing for any other call.

    ``pictures`` are a call's decoded arguments at their own size. With ``keep`` the input's pixels are
    pasted back where the mask is black, which blending always does.
    """

    def __init__(self, pipeline: Any, pictures: Mapping[str, Any], *, inpaints: bool, keep: bool) -> None:
        self._pipeline = pipeline
        self._blends = inpaints and needs_blending(pipeline)
        self._pasted = (pictures["image"], pictures["mask_image"]) if self._blends or keep else None

    def arguments(self, given: Mapping[str, Any], rule: SizeRule | None) -> dict[str, Any]:
        """The pipeline's arguments; a blending one gets the picture's size, or the nearest it makes."""
        if not self._blends:
            return dict(given)
        own = {name: value for name, value in given.items() if name not in ("image", "mask_image")}
        if rule is not None and own.get("width") is None and own.get("height") is None:
            own["width"], own["height"] = _nearest(given["image"].size, rule)
        return own

    def hooks(self, given: Mapping[str, Any], seed: int) -> list[StepHook]:
        """The hooks of the call for one image."""
        if not self._blends:
            return []
        return [Blending(self._pipeline, given["image"], given["mask_image"], seed=seed)]

    def finished(self, drawn: Image.Image) -> Image.Image:
        """The drawn picture, at its final size, as it is handed out."""
        return drawn if self._pasted is None else paste_back(drawn, *self._pasted)


def paste_back(drawn: Image.Image, picture: Image.Image, mask: Image.Image) -> Image.Image:
    """The drawn picture with the input's own pixels where the mask is black, blended where it is grey."""
    if picture.size != drawn.size:
        picture = picture.resize(drawn.size, Image.Resampling.LANCZOS)
    if mask.size != drawn.size:
        mask = mask.resize(drawn.size, Image.Resampling.BILINEAR)
    return Image.composite(drawn, picture.convert(drawn.mode), mask.convert("L"))


def _noised(step: Step, clean: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """The clean latents at the noise level that the loop's next step begins with."""
    timestep = torch.as_tensor(step.next_timestep, device=clean.device).reshape(1)
    noising = getattr(step.scheduler, "add_noise", None) or step.scheduler.scale_noise
    names = list(inspect.signature(noising).parameters)
    values = {"original_samples": clean, "sample": clean, "noise": noise, "timesteps": timestep}
    values["timestep"] = timestep
    noised: torch.Tensor = noising(**{name: values[name] for name in names})
    return noised


def _nearest(size: tuple[int, int], rule: SizeRule) -> tuple[int, int]:
    listed = rule.fixed
    if listed:
        return min(listed, key=lambda each: abs(math.log(each[0] / each[1] * size[1] / size[0])))
    return nearest_valid(rule, *size)[0]
