"""What a live pipeline's components make of parameters: how large they can be, which are useless."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

MOST_STEPS: Final = 1000
CLIP_SKIP: Final = "clip_skip"


def largest(pipeline: Any) -> Mapping[str, int]:
    """The largest values of parameters that count something in a component."""
    steps = getattr(
        getattr(getattr(pipeline, "scheduler", None), "config", None), "num_train_timesteps", None
    )
    found = {"num_inference_steps": steps if isinstance(steps, int) else MOST_STEPS}
    layers = [count for encoder in _text_encoders(pipeline) if isinstance(count := _layers(encoder), int)]
    return found | ({CLIP_SKIP: min(layers) - 1} if layers else {})


def unusable(pipeline: Any) -> Mapping[str, str]:
    """The parameters that cannot work with these components, and why.

    diffusers 0.42 finds a CLIP encoder's last norm behind ``text_model``, which transformers 5 has no more.
    """
    encode = getattr(type(pipeline), "encode_prompt", None)
    wants = "text_model" in getattr(getattr(encode, "__code__", None), "co_names", ())
    if wants and not all(hasattr(encoder, "text_model") for encoder in _text_encoders(pipeline)):
        return {CLIP_SKIP: "the pipeline's way to skip layers does not fit its text encoder"}
    return {}


def _text_encoders(pipeline: Any) -> list[Any]:
    named = pipeline.components.items()
    return [part for name, part in named if name.startswith("text_encoder") and part is not None]


def _layers(encoder: Any) -> object:
    config = getattr(encoder, "config", None)
    return getattr(getattr(config, "text_config", config), "num_hidden_layers", None)
