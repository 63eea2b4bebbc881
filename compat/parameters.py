"""The pipelines' own parameter names that OpenAI's fields are mapped to.

No other module outside `engines` names a pipeline's parameter.
"""

from __future__ import annotations

from typing import Final

PROMPT: Final = "prompt"
NEGATIVE_PROMPT: Final = "negative_prompt"
WIDTH: Final = "width"
HEIGHT: Final = "height"
STEPS: Final = "num_inference_steps"
GUIDANCE: Final = "guidance_scale"
COUNT: Final = "num_images_per_prompt"
IMAGE: Final = "image"
MASK: Final = "mask_image"
STRENGTH: Final = "strength"

TIMEOUT: Final = "timeout"
"""Ours, unless a pipeline has a parameter of this name."""
SEED: Final = "seed"
"""No pipeline's parameter: pipelines take a generator, an `EngineCall` the seed."""
