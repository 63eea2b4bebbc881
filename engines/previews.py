"""Pictures of the way: what a pipeline's loop already tells of its result, decoded small.

Half-way latents are mostly noise; shown is the loop's own estimate of the clean picture, which every
step implies, decoded at half its size and at most `LONGEST_EDGE` pixels: a quarter of what decoding the
picture costs, and for large ones a tenth and less.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from PIL import Image

from engines.calls import EngineCall, ImageFormat
from engines.errors import EngineError
from engines.latents import LatentCodec, codec_for, pixel_size
from engines.stepping import Step, StepHook

_logger = logging.getLogger(__name__)

LONGEST_EDGE: Final = 256
"""Pixels that a preview is decoded at; it is then enlarged to the picture's size."""

Show = Callable[[int, Image.Image], None]
"""Takes a preview's number, counted from 0, and the picture."""


class Previewer:
    """The hook that shows ``count`` previews, evenly spread over the steps of one pipeline call.

    ``size`` (width, height) is the picture's, for layouts of latents that do not tell it. What cannot
    be estimated or decoded is left out: a preview never fails a picture.
    """

    def __init__(self, codec: LatentCodec, *, count: int, size: tuple[int, int] | None, show: Show) -> None:
        self._codec = codec
        self._count = count
        self._size = size
        self._show = show
        self._shown = 0

    def __call__(self, step: Step) -> Any:
        """Show a preview where one is due; returns the step's result as it is."""
        if step.main and step.number in due(step.of, self._count):
            image = self._decoded(step)
            if image is not None:
                self._show(self._shown, image)
                self._shown += 1
        return step.result

    def _decoded(self, step: Step) -> Image.Image | None:
        try:
            latents = estimate(step)
            size = pixel_size(latents, self._codec.factor) or self._size
            return None if size is None else self._codec.decode(latents, size, shrink=_shrink(size))
        except EngineError:  # the run was ended
            raise
        except Exception:  # a layout that is not known; the picture itself goes on
            _logger.warning("no preview of %s", type(step.scheduler).__name__, exc_info=True)
            return None


class Ways:
    """The pictures of the way of one request: shown as previews, or gathered as the frames of a GIF.

    ``values`` are the request's effective ones, ``finish`` what is done to every picture.
    """

    def __init__(
        self,
        pipeline: Any,
        call: EngineCall,
        values: Mapping[str, Any],
        *,
        finish: Callable[[Image.Image], Image.Image],
        show: Show | None,
    ) -> None:
        self._codec = codec_for(pipeline)
        self._animated = call.format is ImageFormat.GIF
        self._count = call.frames - 1 if self._animated else call.previews
        width, height = values.get("width"), values.get("height")
        self._size = (width, height) if isinstance(width, int) and isinstance(height, int) else None
        self._finish = finish
        self._show = show
        self._gathered: list[list[Image.Image]] = []

    @property
    def frames(self) -> tuple[tuple[Image.Image, ...], ...]:
        """The frames before each picture, where they were gathered."""
        return tuple(map(tuple, self._gathered))

    def hooks(self, images: int) -> list[StepHook]:
        """The hooks of the next pipeline call, which makes ``images``: frames are those of the first."""
        if self._animated:
            self._gathered += [[] for _ in range(images)]
        elif self._show is None:
            return []
        if self._codec is None or not self._count:
            return []
        return [Previewer(self._codec, count=self._count, size=self._size, show=self._take)]

    def _take(self, index: int, image: Image.Image) -> None:
        if self._animated:
            self._gathered[-1].append(self._finish(image))
        elif self._show is not None:
            self._show(index, self._finish(image))


def _shrink(size: tuple[int, int]) -> int:
    return max(2, math.ceil(max(size) / LONGEST_EDGE))


def due(steps: int, count: int) -> frozenset[int]:
    """The steps, counted from 1, after which a preview is shown; fewer than ``count`` where steps are few."""
    return frozenset(
        number for i in range(count) if 1 <= (number := round((i + 1) * steps / (count + 1))) < steps
    )


def estimate(step: Step) -> torch.Tensor:
    """The clean latents that a step implies.

    Sources: ``pred_original_sample`` of diffusers' schedulers; else the definitions of the prediction
    types (epsilon, v, sample) and, for schedulers with sigmas, x0 = x - sigma * prediction.
    """
    told = getattr(step.result, "pred_original_sample", None)
    if isinstance(told, torch.Tensor):
        return told
    sample, output = step.sample.float(), step.model_output.float()
    if output.shape != sample.shape:  # the variance is predicted along with the noise
        output = output[:, : sample.shape[1]]
    config = step.scheduler.config
    prediction = getattr(config, "prediction_type", "epsilon")
    levels = getattr(step.scheduler, "alphas_cumprod", None)
    sigmas = getattr(step.scheduler, "sigmas", None)
    # Flow matching knows sigmas alone; Euler and its like have both and step by sigmas.
    by_sigma = levels is None or hasattr(step.scheduler, "is_scale_input_called")
    if prediction == "sample":
        return output.to(step.sample.dtype)
    if levels is None and sigmas is None:
        raise ValueError(f"{type(step.scheduler).__name__} tells no noise levels")
    if by_sigma and sigmas is not None:
        sigma = sigmas[step.number - 1 + len(sigmas) - 1 - step.of].to(sample.device).float()
        scaled = prediction == "v_prediction"
        clean = _from_velocity(sample, output, sigma) if scaled else sample - sigma * output
    else:
        assert levels is not None
        level = levels[int(torch.as_tensor(step.timestep).flatten()[0])].to(sample.device).float()
        if prediction == "v_prediction":
            clean = level.sqrt() * sample - (1 - level).sqrt() * output
        else:
            clean = (sample - (1 - level).sqrt() * output) / level.sqrt()
    return clean.to(step.sample.dtype)


def _from_velocity(sample: torch.Tensor, output: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Of a sample with the variance 1 + sigma ** 2, as the schedulers with sigmas keep it."""
    return sample / (sigma**2 + 1) - output * sigma / (sigma**2 + 1).sqrt()
