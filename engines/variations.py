"""Variations of a picture by a Kandinsky 2: its decoder draws from the picture's own image embedding.

Image-to-image keeps where things are; an image embedding keeps what is there. With a prompt, the
embedding that the prior makes of it is mixed in. Source of the method: the interpolation of
``KandinskyV22PriorPipeline`` in diffusers.
"""

from __future__ import annotations

from typing import Any, ClassVar

import PIL.Image
import torch
from diffusers import KandinskyCombinedPipeline, KandinskyV22CombinedPipeline
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput


class _Variation:
    """What both generations have in common; the other base class holds prior and decoder."""

    prior_pipe: Any
    decoder_pipe: Any
    maybe_free_model_hooks: Any
    _decoder_reads: ClassVar[bool]
    """Whether the decoder takes the text too."""

    @torch.no_grad()
    def __call__(
        self,
        image: PIL.Image.Image,
        prompt: str | None = None,
        negative_prompt: str | None = None,
        image_weight: float = 0.6,
        num_inference_steps: int = 100,
        guidance_scale: float = 4.0,
        height: int = 512,
        width: int = 512,
        prior_guidance_scale: float = 4.0,
        prior_num_inference_steps: int = 25,
        generator: torch.Generator | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagePipelineOutput | tuple[Any, ...]:
        """Draw a picture of what is in another one.

        Args:
            image: The picture to vary.
            prompt: What to change it towards; without one, only the picture counts.
            negative_prompt: What to keep away from.
            image_weight: The picture's share against the prompt's, from 0 to 1; only with a prompt.
            num_inference_steps: The number of denoising steps of the decoder.
            guidance_scale: How closely the decoder follows what it was given.
            height: The height of the drawn picture in pixels.
            width: The width of the drawn picture in pixels.
            prior_guidance_scale: How closely the prior follows the prompt.
            prior_num_inference_steps: The number of denoising steps of the prior; only with a prompt.
            generator: Where the noise comes from.
            output_type: As in other pipelines.
            return_dict: As in other pipelines.
        """
        prior = {"num_inference_steps": prior_num_inference_steps, "guidance_scale": prior_guidance_scale}
        found, negative = _embeddings(
            self, image, prompt, negative_prompt, weight=image_weight, generator=generator, **prior
        )
        texts = {"prompt": prompt or "", "negative_prompt": negative_prompt} if self._decoder_reads else {}
        drawn: ImagePipelineOutput | tuple[Any, ...] = self.decoder_pipe(
            **texts,
            image_embeds=found,
            negative_image_embeds=negative,
            height=height,
            width=width,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            generator=generator,
            output_type=output_type,
            return_dict=return_dict,
        )
        self.maybe_free_model_hooks()
        return drawn


class KandinskyV22VariationPipeline(_Variation, KandinskyV22CombinedPipeline):
    """Draws variations of a picture with Kandinsky 2.2."""

    _decoder_reads = False


class KandinskyVariationPipeline(_Variation, KandinskyCombinedPipeline):
    """Draws variations of a picture with Kandinsky 2.1."""

    _decoder_reads = True


def _embeddings(
    pipeline: Any,
    image: PIL.Image.Image,
    prompt: str | None,
    negative_prompt: str | None,
    *,
    weight: float,
    **prior: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The image embedding to draw from and the one to keep away from, each of shape (1, dimensions)."""

    def of_text(text: str) -> torch.Tensor:
        embedding: torch.Tensor = pipeline.prior_pipe(prompt=text, **prior).image_embeds
        return embedding

    encoder = pipeline.prior_image_encoder
    pixels = pipeline.prior_image_processor(image.convert("RGB"), return_tensors="pt").pixel_values
    device = pipeline._execution_device
    found = encoder(pixels.to(device=device, dtype=encoder.dtype)).image_embeds
    if prompt:
        found = weight * found + (1 - weight) * of_text(prompt)
    if negative_prompt:
        return found, of_text(negative_prompt)
    return found, pipeline.prior_pipe.get_zero_embed(1, device=device)
