"""One request drawn by a loaded pipeline: its calls, its steps, its pictures, its failures."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from PIL import Image
from pydantic import JsonValue
from transformers import PreTrainedTokenizerBase

from engines.blending import Repainting
from engines.calls import EngineCall, EngineOptions
from engines.card import Family
from engines.drawing import Drawing
from engines.encoding import opaque
from engines.errors import InvalidParameter
from engines.failures import translated
from engines.inputs import fitted, holds_pictures, per_prompt, pipeline_arguments, seeds
from engines.offloading import claim
from engines.previews import Show, Ways
from engines.schema import UNSET, DefaultSource, MethodSchema, PipelineSchema
from engines.stepping import OnStep

if TYPE_CHECKING:
    from engines.loading import LoadedModel


@dataclass(frozen=True, kw_only=True)
class Generated:
    """What a request gave: pictures, each with its seed, and the values that made them.

    ``frames`` are, for a GIF, the pictures of the way to each image, in the images' order.
    ``parameters`` holds the defaults too, the size really drawn (before `EngineCall.resize_to`),
    and ``seeds``; a picture among them is described by its size. ``steps`` are those really made,
    over all pictures; ``inference_seconds`` is the time inside the pipeline; ``prompt_tokens`` the
    sum over the prompts, ``None`` where the model has no tokenizer; ``notes`` are remarks in words.
    """

    images: tuple[tuple[Image.Image, int], ...]
    parameters: dict[str, JsonValue]
    steps: int
    inference_seconds: float
    prompt_tokens: int | None
    frames: tuple[tuple[Image.Image, ...], ...] = ()
    notes: tuple[str, ...] = ()


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
        BrokenPicture: what it computed are no numbers.
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
    run = Drawing(
        model,
        pipeline,
        method,
        stop=stop,
        on_step=on_step,
        values=values,
        size=_size(values, schema),
        calls=len(calls),
    )
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
        notes=run.notes,
    )


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


def _size(values: Mapping[str, Any], schema: PipelineSchema) -> tuple[int, int] | None:
    """Width and height that will be drawn, where the request or the model tells."""
    rule = schema.size
    width = values.get("width") or (rule.default_width if rule else None)
    height = values.get("height") or (rule.default_height if rule else None)
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None


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
