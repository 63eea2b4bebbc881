"""The sampler of Kandinsky 3 as released: diffusers' own, computed in 32 bits whatever the model's type."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDPMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMSchedulerOutput


class Kandinsky3Scheduler(DDPMScheduler):
    """`DDPMScheduler` whose steps are made in float32 and returned in the sample's type.

    At the first of the released timesteps (999) the picture's share of a sample is 2.4e-9: its estimate is
    a division by 5e-5, which float16 cannot hold as soon as the model is off by more than a little. The
    release samples in float32, too. Source: kandinsky3/model/diffusion.py of ai-forever/Kandinsky-3.
    """

    def step(
        self,
        model_output: torch.Tensor,
        timestep: int,
        sample: torch.Tensor,
        generator: torch.Generator | None = None,
        return_dict: bool = True,
    ) -> DDPMSchedulerOutput | tuple[torch.Tensor, ...]:
        """Make a step; arguments and result are the base class's."""
        base: Any = super()
        previous, estimate = base.step(
            model_output.float(), timestep, sample.float(), generator=generator, return_dict=False
        )
        previous, estimate = previous.to(sample.dtype), estimate.to(sample.dtype)
        if not return_dict:
            return previous, estimate
        return DDPMSchedulerOutput(prev_sample=previous, pred_original_sample=estimate)
