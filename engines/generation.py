"""One request drawn by a loaded pipeline: its calls, its steps, its pictures, its failures."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from PIL import Image
from pydantic import JsonValue
from transformers import PreTrainedTokenizerBase

from engines.blending import Repainting
from engines.calls import EngineCall, EngineOptions
from engines.card import Family
from engines.encoding import opaque
from engines.errors import GenerationFailed, InvalidParameter, ModerationBlocked
from engines.failures import translated
from engines.inputs import fitted, generators, holds_pictures, per_prompt, pipeline_arguments, seeds
from engines.offloading import claim, gradient_free
from engines.previews import Show, Ways
from engines.schema import UNSET, DefaultSource, MethodSchema, PipelineSchema
from engines.stepping import OnStep, StepHook, watched

if TYPE_CHECKING:
    from engines.loading import LoadedModel


@dataclass(frozen=True, kw_only=True)
class Generated:
    """What a request gave: pictures, each with its seed, and the values that made them.

    ``frames`` are, for a GIF, the pictures of the way to each image, in the images' order.
    ``parameters`` holds the defaults too, the size really drawn (before `EngineCall.resize_to`),
    and ``seeds``; a picture among them is described by its size. ``steps`` are those really made,
    over all pictures; ``inference_seconds`` is the time inside the pipeline; ``prompt_tokens`` the
    sum over the prompts, ``None`` where the model has no tokenizer.
    """

    images: tuple[tuple[Image.Image, int], ...]
    parameters: dict[str, JsonValue]
    steps: int
    inference_seconds: float
    prompt_tokens: int | None
    frames: tuple[tuple[Image.Image, ...], ...] = ()


def generate(
    model: LoadedModel,
    schema: PipelineSchema,
    call: EngineCall,
    *,
    options: EngineOptions,
    stop: threading.Event,
    on_step: OnStep,
    on_preview: Show | None = None,
) -> Generated:
    """Draw ``call.count`` images for each prompt, in the thread that calls.

    With `EngineOptions.batch_size` 1 every image is a call of its own and equals, pixel for pixel,
    the one that the stock pipeline draws from its seed. ``on_step`` gets the steps made and the
    steps expected over all calls, ``on_preview`` the `EngineCall.previews` pictures of the way.

    Raises:
        GenerationStopped: ``stop`` was set; at a step's boundary.
        InvalidRequest: the values do not fit, in our eyes or in the pipeline's.
        OutOfMemory, GenerationFailed: the pipeline failed.
    """
    method = schema.method(call.method)
    pipeline = model.pipelines.get(call.method)
    if method is None or pipeline is None:
        raise InvalidParameter("method", f"this model has no {call.method!r}")
    values = _defaults(method) | call.parameters
    given = _presets(method) | call.parameters
    pictures = pipeline_arguments(method, given, max_image_pixels=options.max_image_pixels)
    repainting = Repainting(pipeline, pictures, inpaints=call.method == "inpaint", keep=call.keep_unmasked)
    inputs = fitted(pictures, call.fit_inputs)
    arguments = repainting.arguments(inputs, schema.size)
    prompts = per_prompt(arguments)
    every_seed = seeds(call.seed, len(prompts) * call.count)
    together = images_per_call(
        model.card.family, method, values | arguments, batch_size=min(options.batch_size, call.count)
    )
    calls = list(_parted(prompts, every_seed, count=call.count, together=together))

    def finish(image: Image.Image) -> Image.Image:
        drawn = repainting.finished(_resized(image, call.resize_to))
        return opaque(drawn) if call.opaque else drawn

    with translated(model.card.name):
        claim(pipeline)
    ways = Ways(pipeline, call, values | arguments, finish=finish, show=on_preview)
    run = _Run(model.card.name, pipeline, method, stop=stop, on_step=on_step, values=values, calls=len(calls))
    images = [
        each
        for own, own_seeds in calls
        for each in run.draw(
            own, own_seeds, hooks=(*repainting.hooks(inputs, own_seeds[0]), *ways.hooks(len(own_seeds)))
        )
    ]
    return Generated(
        images=tuple((finish(image), seed) for image, seed in images),
        frames=ways.frames,
        parameters=_effective(method, values, {**inputs, **arguments}, images, every_seed),
        steps=run.steps,
        inference_seconds=run.seconds,
        prompt_tokens=_prompt_tokens(pipeline, prompts),
    )


class _Run:
    """The pipeline calls of one request, one after another."""

    def __init__(
        self,
        model: str,
        pipeline: Any,
        method: MethodSchema,
        *,
        stop: threading.Event,
        on_step: OnStep,
        values: Mapping[str, Any],
        calls: int,
    ) -> None:
        self.steps = 0
        self.seconds = 0.0
        self._model = model
        self._pipeline = pipeline
        self._method = method
        self._stop = stop
        self._on_step = on_step
        self._values = values
        self._calls_left = calls

    def draw(
        self, arguments: Mapping[str, Any], seeds: Sequence[int], *, hooks: Sequence[StepHook]
    ) -> list[tuple[Image.Image, int]]:
        """Call the pipeline once, for one image from each of ``seeds``."""
        started = time.monotonic()
        watch = watched(
            self._pipeline,
            model=self._model,
            stop=self._stop,
            on_step=self._report,
            arguments=self._values,
            already=self.steps,
            hooks=hooks,
        )
        try:
            with translated(self._model), watch as steps, gradient_free(self._pipeline):
                output = self._pipeline(**arguments, **self._own_arguments(seeds))
        except GenerationFailed as error:
            if (weak := _weak(self._values)) is not None:
                raise weak from error
            raise
        if any(getattr(output, "nsfw_content_detected", None) or ()):
            raise ModerationBlocked(self._model)
        self.steps += steps.steps
        self.seconds += time.monotonic() - started
        self._calls_left -= 1
        return self._with_seeds(list(_pictures(output)), seeds)

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


_KANDINSKY_2: Final = (Family.KANDINSKY_2_1, Family.KANDINSKY_2_2)


def images_per_call(
    family: Family, method: MethodSchema, values: Mapping[str, Any], *, batch_size: int
) -> int:
    """How many images of one prompt a pipeline call may draw: ``batch_size`` where that is safe, or 1.

    Kandinsky 2 fails on a list of generators with a negative prompt, and without guidance forgets to
    repeat its image embeddings (huggingface/diffusers#13597). A list of pictures is taken by some
    pipelines as one for each image of the batch, and by others as references for all.
    """
    if (
        batch_size == 1
        or method.name == "inpaint"
        or method.find("num_images_per_prompt") is None
        or method.find("generator") is None
    ):
        return 1
    if any(holds_pictures(spec.type) and isinstance(values.get(spec.name), list) for spec in method.visible):
        return 1
    if family in _KANDINSKY_2:
        scales = [values.get(name) for name in ("guidance_scale", "prior_guidance_scale")]
        guided = all(scale is None or scale > 1 for scale in scales)
        if values.get("negative_prompt") is not None or not guided:
            return 1
    return batch_size


def count_tokens(pipeline: Any, prompt: str) -> int | None:
    """How many tokens ``prompt`` has for the pipeline's first tokenizer, ``None`` without one.

    Neither cut off at the model's limit nor with the special tokens around it: it measures what the
    caller wrote.
    """
    for component in pipeline.components.values():
        tokenizer = getattr(component, "tokenizer", component)  # a processor holds its tokenizer
        if isinstance(tokenizer, PreTrainedTokenizerBase):
            encoded = tokenizer(prompt, add_special_tokens=False, truncation=False, verbose=False)
            return len(encoded["input_ids"])
    return None


def _weak(values: Mapping[str, Any]) -> InvalidParameter | None:
    """The fault of a strength that is less than one step: pipelines fail on it in many ways.

    Some round up and draw, so it is looked for only where one has failed.
    """
    strength, steps = values.get("strength"), values.get("num_inference_steps")
    if not isinstance(strength, int | float) or not isinstance(steps, int) or strength * steps >= 1:
        return None
    reason = f"with {steps} steps, expected at least {1 / steps:.3g}, but got {strength:g} instead."
    return InvalidParameter("strength", reason, "decimal_below_min_value")


def _defaults(method: MethodSchema) -> dict[str, JsonValue]:
    return {spec.name: spec.default for spec in method.visible if spec.default is not UNSET}


def _presets(method: MethodSchema) -> dict[str, JsonValue]:
    """The defaults that are the model's own, unknown to its pipeline: they must be passed."""
    own = (spec for spec in method.visible if spec.default_source is DefaultSource.CARD)
    return {spec.name: spec.default for spec in own if spec.default is not UNSET}


def _parted(
    prompts: Sequence[dict[str, Any]], every_seed: Sequence[int], *, count: int, together: int
) -> Iterator[tuple[dict[str, Any], Sequence[int]]]:
    """The arguments and seeds of every pipeline call, prompt by prompt."""
    for place, arguments in enumerate(prompts):
        own_seeds = every_seed[place * count : (place + 1) * count]
        for first in range(0, count, together):
            yield arguments, own_seeds[first : first + together]


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


def _resized(image: Image.Image, size: tuple[int, int] | None) -> Image.Image:
    if size is None or size == image.size:
        return image
    return image.resize(size, Image.Resampling.LANCZOS)


def _effective(
    method: MethodSchema,
    values: Mapping[str, JsonValue],
    arguments: Mapping[str, Any],
    images: Sequence[tuple[Image.Image, int]],
    every_seed: Sequence[int],
) -> dict[str, JsonValue]:
    effective = dict(values)
    for spec in method.visible:
        if spec.name in arguments and holds_pictures(spec.type):
            effective[spec.name] = _described(arguments[spec.name])
        elif spec.name in ("width", "height") and images:
            effective[spec.name] = getattr(images[0][0], spec.name)
    effective["seeds"] = list(every_seed)
    return effective


def _described(value: Any) -> JsonValue:
    """A picture, or a list of them, by size alone: its pixels are the caller's own."""
    if isinstance(value, list):
        return [_described(each) for each in value]
    return None if value is None else {"width": value.width, "height": value.height}


def _prompt_tokens(pipeline: Any, prompts: Sequence[Mapping[str, Any]]) -> int | None:
    texts = [own["prompt"] for own in prompts if isinstance(own.get("prompt"), str)]
    counts = [count_tokens(pipeline, text) for text in texts]
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
