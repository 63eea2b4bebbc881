"""The pipeline calls of one request: watched, measured, and their failures told by what was asked for."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from engines.errors import GenerationFailed, InvalidParameter, ModerationBlocked, OutOfMemory
from engines.exhaustion import Extent
from engines.failures import translated
from engines.finiteness import Finiteness
from engines.inputs import generators
from engines.offloading import gradient_free
from engines.schema import MethodSchema
from engines.stepping import OnStep, StepHook, watched

if TYPE_CHECKING:
    from engines.loading import LoadedModel


class Drawing:
    """The pipeline calls of one request, one after another.

    ``values`` are the effective parameters, ``size`` is the (width, height) that they mean, where it is
    known, ``calls`` how many there will be. ``steps``, ``seconds`` and ``notes`` add up.
    """

    def __init__(
        self,
        model: LoadedModel,
        pipeline: Any,
        method: MethodSchema,
        *,
        stop: threading.Event,
        on_step: OnStep,
        values: Mapping[str, Any],
        size: tuple[int, int] | None,
        calls: int,
    ) -> None:
        self.steps = 0
        self.seconds = 0.0
        self.notes: tuple[str, ...] = ()
        self._model = model.card.name
        self._dtype = model.dtype
        self._occupancy = model.occupancy
        self._pipeline = pipeline
        self._method = method
        self._stop = stop
        self._on_step = on_step
        self._values = values
        self._size = size
        self._calls_left = calls

    def draw(
        self, arguments: Mapping[str, Any], seeds: Sequence[int], *, hooks: Sequence[StepHook]
    ) -> list[tuple[Image.Image, int]]:
        """Call the pipeline once, for one image from each of ``seeds``."""
        started = time.monotonic()
        extent = None if self._size is None else Extent(*self._size, len(seeds))
        finiteness = Finiteness(self._model, self._pipeline, dtype=self._dtype)
        watch = watched(
            self._pipeline,
            model=self._model,
            stop=self._stop,
            on_step=self._report,
            arguments=self._values,
            already=self.steps,
            hooks=(*hooks, finiteness),
        )
        with (
            self._explained(extent),
            translated(self._model),
            self._occupancy.drawing(extent),
            watch as steps,
            gradient_free(self._pipeline),
            finiteness.watching(),
        ):
            output = self._pipeline(**arguments, **self._own_arguments(seeds))
        if any(getattr(output, "nsfw_content_detected", None) or ()):
            raise ModerationBlocked(self._model)
        self.steps += steps.steps
        self.seconds += time.monotonic() - started
        self._calls_left -= 1
        pictures = list(_pictures(output))
        self.notes = self.notes or finiteness.notes(pictures)
        return self._with_seeds(pictures, seeds)

    @contextmanager
    def _explained(self, extent: Extent | None) -> Iterator[None]:
        """Say of a failure what only the request tells: the picture's size, a strength that is too small."""
        try:
            yield
        except OutOfMemory as error:
            if extent is None:
                raise
            raise OutOfMemory(self._model, error.reason, self._occupancy.shortage(extent)) from error
        except GenerationFailed as error:
            if type(error) is GenerationFailed and (weak := _weak(self._values)) is not None:
                raise weak from error
            raise

    def _report(self, step: int, total: int) -> None:
        """Compose one call's progress with the calls made, and those to come at the same length."""
        self._on_step(self.steps + step, self.steps + total * self._calls_left)

    def _own_arguments(self, seeds: Sequence[int]) -> dict[str, Any]:
        own: dict[str, Any] = {}
        if self._method.find("generator") is not None:
            sources = generators(seeds)
            own["generator"] = sources if len(sources) > 1 else sources[0]
        else:
            # The pipeline draws from torch's global generator.
            torch.manual_seed(seeds[0])
        if self._method.find("num_images_per_prompt") is not None:
            own["num_images_per_prompt"] = len(seeds)
        if self._method.find("output_type") is not None:
            own["output_type"] = "pil"
        return own

    def _with_seeds(self, pictures: list[Any], seeds: Sequence[int]) -> list[tuple[Image.Image, int]]:
        if not all(isinstance(picture, Image.Image) for picture in pictures):
            raise GenerationFailed(self._model, f"{self._method.pipeline_class} gave no pictures")
        if len(seeds) == 1:
            return [(picture, seeds[0]) for picture in pictures]
        if len(pictures) != len(seeds):
            raise GenerationFailed(self._model, f"{len(pictures)} pictures came for {len(seeds)} seeds")
        return list(zip(pictures, seeds, strict=True))


def _weak(values: Mapping[str, Any]) -> InvalidParameter | None:
    """The fault of a strength that is less than one step: pipelines fail on it in many ways.

    Some round up and draw, so it is looked for only where one has failed.
    """
    strength, steps = values.get("strength"), values.get("num_inference_steps")
    if not isinstance(strength, int | float) or not isinstance(steps, int) or strength * steps >= 1:
        return None
    reason = f"with {steps} steps, expected at least {1 / steps:.3g}, but got {strength:g} instead."
    return InvalidParameter("strength", reason, "decimal_below_min_value")


def _pictures(output: Any) -> Iterator[Any]:
    """What a pipeline gave: its field ``images`` or ``image``, else the first (a tuple's too)."""
    for name in ("images", "image"):
        found = getattr(output, name, None)
        if found is not None:
            return _flat(found)
    return _flat(output[0])


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for each in value:
            yield from _flat(each)
    else:
        yield value
