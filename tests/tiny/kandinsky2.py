"""Kandinsky 2.1 and 2.2: prior, decoder, and both in one."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    KandinskyCombinedPipeline,
    KandinskyPipeline,
    KandinskyPriorPipeline,
    KandinskyV22CombinedPipeline,
    KandinskyV22InpaintPipeline,
    KandinskyV22Pipeline,
    KandinskyV22PriorPipeline,
    PriorTransformer,
    UnCLIPScheduler,
    UNet2DConditionModel,
)
from diffusers.pipelines.kandinsky.text_encoder import MCLIPConfig, MultilingualCLIP

from tests.tiny import parts, tokenizers


def prior_21() -> Any:
    """Text to image embedding."""
    return parts.made(KandinskyPriorPipeline, **_prior())


def decoder_21() -> Any:
    """Text and image embedding to image."""
    return parts.made(KandinskyPipeline, **_decoder_21())


def combined_21() -> Any:
    """Text to image."""
    return parts.made(KandinskyCombinedPipeline, **_decoder_21(), **_prefixed(_prior()))


def prior_22() -> Any:
    """Text to image embedding."""
    return parts.made(KandinskyV22PriorPipeline, **_prior())


def decoder_22() -> Any:
    """Image embedding to image."""
    return parts.made(KandinskyV22Pipeline, **_decoder_22())


def combined_22() -> Any:
    """Text to image."""
    return parts.made(KandinskyV22CombinedPipeline, **_decoder_22(), **_prefixed(_prior()))


def inpainting_decoder_22() -> Any:
    """Image embedding, picture and mask to image."""
    return parts.made(KandinskyV22InpaintPipeline, **_decoder_22() | {"unet": _unet("image", channels=9)})


def _prefixed(components: dict[str, Any]) -> dict[str, Any]:
    return {f"prior_{name}": component for name, component in components.items()}


def _prior() -> dict[str, Any]:
    prior = parts.seeded(
        PriorTransformer, num_attention_heads=2, attention_head_dim=12, embedding_dim=32, num_layers=1
    )
    # It starts at zero, which would give every prompt the same embedding.
    prior.clip_std = torch.nn.Parameter(torch.ones_like(prior.clip_std))
    scheduler = parts.made(
        UnCLIPScheduler,
        variance_type="fixed_small_log",
        prediction_type="sample",
        num_train_timesteps=1000,
        clip_sample=True,
        clip_sample_range=10.0,
    )
    return {
        "prior": parts.noisy(prior),
        "scheduler": scheduler,
        **parts.clip_vision(),
        **parts.clip_text(projection=True),
    }


def _decoder_21() -> dict[str, Any]:
    tokenizer = tokenizers.xlm_roberta()
    config = parts.made(
        MCLIPConfig,
        numDims=32,
        transformerDimensions=32,
        hidden_size=32,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=2,
        vocab_size=len(tokenizer),
        max_position_embeddings=514,
        type_vocab_size=1,
        pad_token_id=1,
    )
    return {
        "text_encoder": parts.seeded(MultilingualCLIP, config),
        "tokenizer": tokenizer,
        "unet": _unet("text_image"),
        "scheduler": parts.made(DDIMScheduler, **_betas(), set_alpha_to_one=False),
        "movq": parts.movq(),
    }


def _decoder_22() -> dict[str, Any]:
    return {
        "unet": _unet("image"),
        "scheduler": parts.made(DDPMScheduler, **_betas(), variance_type="learned_range"),
        "movq": parts.movq(),
    }


def _unet(condition: str, channels: int = 4) -> Any:
    return parts.seeded(
        UNet2DConditionModel,
        in_channels=channels,
        out_channels=8,
        addition_embed_type=condition,
        encoder_hid_dim_type=f"{condition}_proj",
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        block_out_channels=(32, 64),
        layers_per_block=1,
        encoder_hid_dim=32,
        cross_attention_dim=32,
        attention_head_dim=4,
        resnet_time_scale_shift="scale_shift",
    )


def _betas() -> dict[str, Any]:
    return {
        "num_train_timesteps": 1000,
        "beta_schedule": "linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "clip_sample": False,
        "prediction_type": "epsilon",
        "thresholding": False,
        "steps_offset": 1,
    }
