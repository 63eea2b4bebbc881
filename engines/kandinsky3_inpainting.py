"""Inpainting by the UNet of Kandinsky 3 that was made for it, which diffusers has no pipeline for.

Source: ``inpainting_pipeline.py``, ``model/diffusion.py`` and ``utils.py`` of ai-forever/Kandinsky-3.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Final

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as functional
from diffusers import Kandinsky3Pipeline
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.kandinsky3.pipeline_kandinsky3 import downscale_height_and_width
from diffusers.pipelines.pipeline_utils import ImagePipelineOutput

from engines.sizing import LARGEST_EDGE

MULTIPLE: Final = 64
"""Pixels: the UNet halves latent cells of 8 pixels three times."""
LARGEST_AREA: Final = 1024 * 1024
"""Pixels of the pictures that the model was made for."""

OnStepEnd = Callable[[Any, int, Any, dict[str, torch.Tensor]], dict[str, torch.Tensor]]
"""Takes the pipeline, the step's number from 0, its timestep and the latents by name; returns them."""


class Kandinsky3InpaintPipeline(Kandinsky3Pipeline):
    """Repaints the marked part of a picture with the inpainting model of Kandinsky 3.

    The UNet has nine input channels, in this order: the four of the latents; the mask, which is 1 in cells
    to keep and 0 in cells to repaint; the four of the picture's latents, its marked part grey. Kandinsky 2
    and Stable Diffusion have the mask elsewhere. The UNet's first four output channels are the noise: the
    original model has no others, while diffusers' ``Kandinsky3UNet`` gives as many as it takes.

    The picture outside the mask is drawn anew too, close to the original but not equal to it.
    """

    _callback_tensor_inputs: ClassVar[list[str]] = ["latents"]

    # Of the base class, which declares no types.
    unet: Any
    movq: Any
    scheduler: Any
    guidance_scale: float
    do_classifier_free_guidance: bool
    encode_prompt: Any
    prepare_latents: Any
    check_inputs: Any
    progress_bar: Any
    maybe_free_model_hooks: Any
    _execution_device: torch.device

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str],
        image: PIL.Image.Image,
        mask_image: PIL.Image.Image,
        negative_prompt: str | list[str] | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 4.0,
        height: int | None = None,
        width: int | None = None,
        num_images_per_prompt: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
        callback_on_step_end: OnStepEnd | None = None,
        callback_on_step_end_tensor_inputs: list[str] = ["latents"],  # noqa: B006 - as in other pipelines
    ) -> ImagePipelineOutput | tuple[Any, ...]:
        """Draw a picture with its marked part repainted.

        Args:
            prompt: What the picture shows, the repainted part included.
            image: The picture to repaint a part of; it is resampled to the size that is drawn.
            mask_image: A grey picture: white is repainted, black stays much as it is. What is only partly
                marked is unknown to the model, and repainted as far as it is marked.
            negative_prompt: What to keep away from; only with a guidance_scale above 1.
            num_inference_steps: The number of denoising steps.
            guidance_scale: How closely to follow the prompt; 1 or less does without guidance.
            height: The height of the drawn picture in pixels. Where none is given it is the picture's, shrunk
                where the picture has more than 1024 x 1024 pixels, and rounded down to a multiple of 64.
            width: The width of the drawn picture in pixels, found in the same way.
            num_images_per_prompt: The number of pictures to draw for each prompt.
            generator: Where the noise comes from.
            output_type: As in other pipelines.
            return_dict: As in other pipelines.
            callback_on_step_end: As in other pipelines.
            callback_on_step_end_tensor_inputs: As in other pipelines; only the latents are given.
        """
        wanted = callback_on_step_end_tensor_inputs
        self.check_inputs(prompt, None, negative_prompt, callback_on_step_end_tensor_inputs=wanted)
        self._guidance_scale = guidance_scale
        own_width, own_height = drawn_size(*image.size)
        height = own_height if height is None else height
        width = own_width if width is None else width
        height, width = downscale_height_and_width(height, width, 8)  # type: ignore[no-untyped-call]
        texts = self._texts(prompt, negative_prompt, num_images_per_prompt)
        self.scheduler.set_timesteps(num_inference_steps, device=self._execution_device)
        latents = self._denoised(
            self._noise(prompt, num_images_per_prompt, (height, width), generator),
            self._conditions(image, mask_image, (height, width)),
            texts,
            generator=generator,
            on_step_end=callback_on_step_end,
        )
        pictures = self._pictures(latents, output_type)
        self.maybe_free_model_hooks()
        return ImagePipelineOutput(images=pictures) if return_dict else (pictures,)

    def _texts(
        self, prompt: str | list[str], negative_prompt: str | list[str] | None, count: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The texts' embeddings (batch, tokens, dimensions) and their masks, the negative ones first."""
        given, negative, mask, negative_mask = self.encode_prompt(
            prompt,
            self.do_classifier_free_guidance,
            num_images_per_prompt=count,
            device=self._execution_device,
            negative_prompt=negative_prompt,
            _cut_context=True,
        )
        if not self.do_classifier_free_guidance:
            return given, mask
        return torch.cat([negative, given]), torch.cat([negative_mask, mask]).bool()

    def _noise(
        self, prompt: str | list[str], count: int, cells: tuple[int, int], generator: Any
    ) -> torch.Tensor:
        """The latents to begin with, in 32 bits as all of the sampling: at the first timestep the estimate
        of the picture is beyond what 16 bits hold."""
        batch = count * (1 if isinstance(prompt, str) else len(prompt))
        shape = (batch, self.movq.config.latent_channels, *cells)
        latents: torch.Tensor = self.prepare_latents(
            shape, torch.float32, self._execution_device, generator, None, self.scheduler
        )
        return latents

    def _conditions(
        self, image: PIL.Image.Image, mask_image: PIL.Image.Image, cells: tuple[int, int]
    ) -> torch.Tensor:
        """The five channels beside the latents, (1, 5, height, width) in cells."""
        size = (cells[0] * 8, cells[1] * 8)
        marked = _marked(mask_image, size)
        pixels = _pixels(image, size).masked_fill(marked > 0, 0)
        known = self.movq.encode(pixels.to(self._execution_device, self.movq.dtype)).latents
        kept = functional.interpolate(1 - marked, size=cells).to(known.device)
        return torch.cat([kept, known.float()], dim=1)

    def _denoised(
        self,
        latents: torch.Tensor,
        conditions: torch.Tensor,
        texts: tuple[torch.Tensor, torch.Tensor],
        *,
        generator: Any,
        on_step_end: OnStepEnd | None,
    ) -> torch.Tensor:
        conditions = conditions.expand(len(latents), -1, -1, -1)
        timesteps = self.scheduler.timesteps
        self._num_timesteps = len(timesteps)
        with self.progress_bar(total=len(timesteps)) as bar:
            for number, timestep in enumerate(timesteps):
                noise = self._predicted(torch.cat([latents, conditions], dim=1), timestep, texts)
                latents = self.scheduler.step(noise, timestep, latents, generator=generator).prev_sample
                if on_step_end is not None:
                    latents = on_step_end(self, number, timestep, {"latents": latents}).pop(
                        "latents", latents
                    )
                bar.update()
        return latents

    def _predicted(
        self, sample: torch.Tensor, timestep: Any, texts: tuple[torch.Tensor, torch.Tensor]
    ) -> torch.Tensor:
        """The guided noise in the first four channels of ``sample``."""
        guided = self.do_classifier_free_guidance
        embeddings, mask = texts
        noise: torch.Tensor = self.unet(
            (torch.cat([sample] * 2) if guided else sample).to(self.unet.dtype),
            timestep,
            encoder_hidden_states=embeddings,
            encoder_attention_mask=mask,
            return_dict=False,
        )[0]
        noise = noise[:, : self.movq.config.latent_channels].float()
        if not guided:
            return noise
        without, given = noise.chunk(2)
        return (self.guidance_scale + 1) * given - self.guidance_scale * without

    def _pictures(self, latents: torch.Tensor, output_type: str) -> Any:
        if output_type == "latent":
            return latents
        decoded = self.movq.decode(latents.to(self.movq.dtype), force_not_quantize=True).sample
        return VaeImageProcessor().postprocess(decoded, output_type)


def drawn_size(width: int, height: int) -> tuple[int, int]:
    """The size (width, height) in pixels that a picture of this size is repainted at.

    Its area is at most that of 1024 x 1024, and its edges are rounded down to multiples of 64, as in the
    release; they are at least 64, and no longer than any model here draws.
    """
    factor = max(1.0, math.sqrt(width * height / LARGEST_AREA))
    edges = (min(round(edge / factor), LARGEST_EDGE) // MULTIPLE * MULTIPLE for edge in (width, height))
    drawn_width, drawn_height = (max(edge, MULTIPLE) for edge in edges)
    return drawn_width, drawn_height


def _pixels(image: PIL.Image.Image, size: tuple[int, int]) -> torch.Tensor:
    """The picture at ``size`` (height, width), from -1 to 1, as (1, 3, height, width)."""
    resampled = image.convert("RGB").resize(size[::-1], PIL.Image.Resampling.BICUBIC)
    array = np.asarray(resampled, dtype=np.float32)
    return torch.from_numpy(array / 127.5 - 1).permute(2, 0, 1)[None]


def _marked(mask: PIL.Image.Image, size: tuple[int, int]) -> torch.Tensor:
    """How much of each pixel of ``size`` (height, width) is marked, from 0 to 1, as (1, 1, height, width)."""
    grey = torch.from_numpy(np.asarray(mask.convert("L"), dtype=np.float32) / 255)[None, None]
    return functional.interpolate(grey, size=size, mode="bilinear")
