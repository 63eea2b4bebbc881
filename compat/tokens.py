"""Token counts for ``usage``, which some clients read unguarded.

Text tokens are what the pipeline's tokenizer made of the prompt, 0 where the engine cannot tell.
Image tokens are counted, not measured, for a diffusion model has none: one for each patch of
16 x 16 pixels of a finished picture, so 4096 for 1024x1024, close to what OpenAI's models report
at high quality (4160). Pictures that are sent in count by the same rule, at the size they come in;
a mask counts nothing. Each partial image of a stream counts 100, as OpenAI's do, whatever its size.
"""

from __future__ import annotations

from typing import Any, Final

from engines.calls import EngineResult

PATCH: Final = 16
PARTIAL_IMAGE: Final = 100


def image_tokens(width: int, height: int) -> int:
    """Tokens of one picture of this size in pixels."""
    return -(-width // PATCH) * -(-height // PATCH)


def usage(result: EngineResult, *, input_image_tokens: int = 0, partial_images: int = 0) -> dict[str, Any]:
    """OpenAI's ``usage`` object of a finished call; ``partial_images`` were sent on the way."""
    text = result.prompt_tokens or 0
    drawn = sum(image_tokens(image.width, image.height) for image in result.images)
    drawn += partial_images * PARTIAL_IMAGE
    given = text + input_image_tokens
    return {
        "input_tokens": given,
        "output_tokens": drawn,
        "total_tokens": given + drawn,
        "input_tokens_details": {"text_tokens": text, "image_tokens": input_image_tokens},
        "output_tokens_details": {"text_tokens": 0, "image_tokens": drawn},
    }
