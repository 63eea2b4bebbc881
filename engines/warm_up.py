"""One picture that nobody sees, at the end of a load, so that the first caller gets a quick one.

What happens once in a process (kernels loaded and chosen, workspaces and caches made) then has happened,
and what the model needs beside its weights is measured. It leaves no trace in later pictures: every one
begins from its own seed, and torch's own source of randomness is put back.
"""

from __future__ import annotations

import base64
import io
import logging
import math
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import torch
from PIL import Image
from pydantic import JsonValue

from engines.calls import EngineCall, EngineOptions
from engines.errors import EngineError, GenerationStopped, ModerationBlocked
from engines.generation import generate
from engines.inputs import holds_pictures
from engines.schema import MethodSchema, ParameterSpec, PipelineSchema, ValueKind

if TYPE_CHECKING:
    from engines.loading import LoadedModel

_logger = logging.getLogger(__name__)

STEPS: Final = 2
"""The first is unlike the others, and some schedulers divide by the number less one."""
_EDGE: Final = 512
"""Pixels of a picture that is given to models which start from one and do not tell a size."""


def is_wanted(options: EngineOptions, device: str) -> bool:
    """Whether a model on ``device`` (a torch name) is warmed up: as told, else on a GPU."""
    return device.startswith("cuda") if options.warm_up is None else options.warm_up


def warm_up(
    model: LoadedModel,
    schema: PipelineSchema,
    options: EngineOptions,
    *,
    stop: threading.Event,
    on_step: Callable[[int, int], None],
) -> str | None:
    """Draw one picture of `STEPS` steps at the model's default size, in the thread that calls.

    It never fails: what went wrong is logged, and returned in words. ``stop`` ends it at the next step.
    """
    devices = [model.device] if model.device.startswith("cuda") else []
    try:
        with torch.random.fork_rng(devices=devices):
            generate(model, schema, call_for(schema), options=options, stop=stop, on_step=on_step)
    except (GenerationStopped, ModerationBlocked):
        return None
    except EngineError as error:
        note = f"the picture to warm up with failed: {error}"
        _logger.warning("%s: %s", model.card.name, note, exc_info=True)
        return note
    return None


def call_for(schema: PipelineSchema) -> EngineCall:
    """The least that the model's main method can be asked for at its default size."""
    # A pipeline made to inpaint needs its picture and mask, though some default to None.
    pictures = ("image", "mask_image") if schema.call.find("mask_image") else ()
    parameters: dict[str, JsonValue] = {
        spec.name: _least(spec, schema)
        for spec in schema.call.visible
        if spec.required or spec.name in pictures
    }
    steps = _steps(schema.call)
    parameters |= {
        spec.name: steps for spec in schema.call.visible if spec.name.endswith("num_inference_steps")
    }
    return EngineCall(request_id="warm-up", method="__call__", parameters=parameters, seed=0)


def _least(spec: ParameterSpec, schema: PipelineSchema) -> JsonValue:
    """A picture for what takes one, white so that as a mask it marks everything; else a word."""
    if not holds_pictures(spec.type):
        return "a"
    width, height = (schema.size.default_width, schema.size.default_height) if schema.size else (None, None)
    buffer = io.BytesIO()
    Image.new("L", (width or _EDGE, height or _EDGE), "white").save(buffer, "PNG")
    picture = base64.b64encode(buffer.getvalue()).decode()
    return [picture] if spec.type.kind is ValueKind.ARRAY else picture


def _steps(method: MethodSchema) -> int:
    """`STEPS`, or as many as a default strength needs to make one."""
    spec = method.find("strength")
    strength = spec.default if spec is not None else None
    if not isinstance(strength, int | float) or not 0 < strength < 1:
        return STEPS
    return max(STEPS, math.ceil(1 / strength))
