"""Kandinsky 3."""

from __future__ import annotations

from typing import Any

from diffusers import DDPMScheduler, Kandinsky3Pipeline, Kandinsky3UNet

from tests.tiny import parts


def unet(in_channels: int = 4) -> Any:
    """The UNet; nine channels make one for inpainting."""
    made = parts.seeded(
        Kandinsky3UNet,
        in_channels=in_channels,
        time_embedding_dim=32,
        groups=2,
        attention_head_dim=8,
        layers_per_block=3,
        block_out_channels=(32, 64),
        cross_attention_dim=32,
        encoder_hid_dim=32,
    )
    return parts.noisy(made)


def text_to_image() -> Any:
    """Text to image."""
    scheduler = parts.made(
        DDPMScheduler,
        beta_schedule="squaredcos_cap_v2",
        clip_sample=False,
        thresholding=True,
        dynamic_thresholding_ratio=0.99,
        sample_max_value=2.0,
        steps_offset=1,
    )
    return parts.made(
        Kandinsky3Pipeline, **parts.t5_text(), unet=unet(), scheduler=scheduler, movq=parts.movq()
    )
