"""Kandinsky 3's sampler: diffusers' own in 32 bits, and finite where 16 bits overflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler

from engines.conversion import kandinsky3
from engines.kandinsky3_scheduler import Kandinsky3Scheduler


def sampled(kind: Any, dtype: torch.dtype, *, error: float = 0.1) -> torch.Tensor:
    """The end of five steps of a model that is off by ``error``."""
    scheduler = kind(**kandinsky3.scheduler(None))
    scheduler.set_timesteps(5)
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 4, 8, 8, generator=generator).to(dtype)
    for time in scheduler.timesteps:
        off = error * torch.randn(latents.shape, generator=generator).to(dtype)
        latents = scheduler.step(latents + off, time, latents, generator=generator).prev_sample
    assert latents.dtype is dtype
    return latents


def test_in_32_bits_it_is_diffusers_own() -> None:
    assert torch.equal(sampled(Kandinsky3Scheduler, torch.float32), sampled(DDPMScheduler, torch.float32))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bits_stay_finite(dtype: torch.dtype) -> None:
    assert sampled(Kandinsky3Scheduler, dtype, error=4.0).isfinite().all()


def test_diffusers_own_overflows_in_float16() -> None:
    assert not sampled(DDPMScheduler, torch.float16, error=4.0).isfinite().all()


def test_its_configuration_survives_a_round_trip(tmp_path: Path) -> None:
    made: Any = Kandinsky3Scheduler
    given = kandinsky3.scheduler("inpainting")
    made(**given).save_pretrained(tmp_path)

    kept = made.from_pretrained(tmp_path).config
    assert {name: kept[name] for name in given} == given
