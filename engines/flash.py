"""The sampler of Kandinsky 3.1 flash, as a scheduler that the pipelines of Kandinsky 3 drive as they are.

Source: ``t2i_pipeline.py`` and ``model/diffusion.py`` (the branch ``gan``) of ai-forever/Kandinsky-3.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Final

import torch
from diffusers import DDPMScheduler, SchedulerMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_ddpm import DDPMSchedulerOutput
from diffusers.utils.torch_utils import randn_tensor

PUBLISHED_STEPS: Final = 4
"""The number of steps that the model was distilled for."""


class FlashScheduler(SchedulerMixin, ConfigMixin):
    """Goes from noise to a picture by estimates of the clean latents, each noised again to be refined.

    The model tells the noise in a sample; what is left without it is the estimate. The next step begins
    with the estimate under fresh noise, as much of it as belongs to its timestep; after the last step the
    estimate itself is the result. Nothing is clipped or thresholded, and the model is to be asked without
    guidance (``guidance_scale`` 1): it was distilled so.

    The noise levels are those of the cosine schedule. Four steps are at 979, 729, 479 and 229, as
    published. Any other number n also begins at ``first_timestep`` and goes on by 1000/n, or, where that
    would end below 0 (from 48 steps on), evenly down to 0.

    The release noises its initial noise a second time at the first timestep. That is again standard normal
    noise, so the initial latents are taken as they are.
    """

    order: ClassVar[int] = 1
    init_noise_sigma: ClassVar[float] = 1.0

    alphas_cumprod: torch.Tensor
    timesteps: torch.Tensor

    @register_to_config  # type: ignore[untyped-decorator]  # diffusers
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        first_timestep: int = 979,  # noqa: ARG002 - the decorator keeps it, in self.config
    ) -> None:
        cosine: Any = DDPMScheduler(  # type: ignore[no-untyped-call]  # diffusers
            num_train_timesteps=num_train_timesteps, beta_schedule="squaredcos_cap_v2"
        )
        self.betas: torch.Tensor = cosine.betas
        self.alphas_cumprod = cosine.alphas_cumprod
        self.timesteps = torch.arange(num_train_timesteps - 1, -1, -1)
        self.num_inference_steps: int | None = None

    add_noise = DDPMScheduler.add_noise

    def __len__(self) -> int:
        return len(self.alphas_cumprod)

    def scale_model_input(self, sample: torch.Tensor, timestep: Any = None) -> torch.Tensor:  # noqa: ARG002
        """The sample as it is; other schedulers scale it here."""
        return sample

    def set_timesteps(self, num_inference_steps: int, device: torch.device | str | None = None) -> None:
        """Choose the timesteps of a run of ``num_inference_steps``, from 1 to ``num_train_timesteps``.

        Raises:
            ValueError: another number of steps.
        """
        if not 1 <= num_inference_steps <= len(self):
            raise ValueError(f"expected from 1 to {len(self)} steps, but got {num_inference_steps}")
        chosen = _timesteps(num_inference_steps, len(self), self.config["first_timestep"])
        self.num_inference_steps = num_inference_steps
        self.timesteps = torch.tensor(chosen, device=device)

    def step(
        self,
        model_output: torch.Tensor,
        timestep: torch.Tensor | int,
        sample: torch.Tensor,
        generator: torch.Generator | list[torch.Generator] | None = None,
        return_dict: bool = True,
    ) -> DDPMSchedulerOutput | tuple[torch.Tensor, torch.Tensor]:
        """Estimate the clean latents, and noise them for the timestep that follows.

        Computed in 32 bits, returned in the sample's dtype. ``timestep`` is one of ``timesteps``.
        """
        level = self._level(timestep, sample)
        clean = (sample.float() - (1 - level).sqrt() * model_output.float()) / level.sqrt()
        following = self._following(timestep)
        latents = clean
        if following is not None:
            noise = randn_tensor(sample.shape, generator=generator, device=sample.device, dtype=sample.dtype)
            level = self._level(following, sample)
            latents = level.sqrt() * clean + (1 - level).sqrt() * noise.float()
        latents, clean = latents.to(sample.dtype), clean.to(sample.dtype)
        if not return_dict:
            return latents, clean
        return DDPMSchedulerOutput(prev_sample=latents, pred_original_sample=clean)

    def _level(self, timestep: torch.Tensor | int, like: torch.Tensor) -> torch.Tensor:
        """The share of the picture in a sample's variance, from 1 (the picture alone) to 0 (noise)."""
        return self.alphas_cumprod[int(timestep)].to(like.device)

    def _following(self, timestep: torch.Tensor | int) -> torch.Tensor | None:
        """The timestep after this one, ``None`` after the last."""
        places = (self.timesteps == timestep).nonzero()
        place = int(places[0]) + 1
        return self.timesteps[place] if place < len(self.timesteps) else None


def _timesteps(steps: int, trained: int, first: int) -> list[int]:
    """The timesteps of a run, falling, no two alike."""
    first = max(first, steps - 1)
    if steps == 1:
        return [first]
    last = max(first - (steps - 1) * trained / steps, 0)
    return [math.floor(first - place * (first - last) / (steps - 1) + 0.5) for place in range(steps)]
