"""Components that several tiny models share."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL, VQModel
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    T5Config,
    T5EncoderModel,
)

from tests.tiny import tokenizers


def seeded(make: Any, *arguments: Any, **options: Any) -> Any:
    """Construct a module with the same random weights every time, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make(*arguments, **options).eval()


def made(make: Any, **options: Any) -> Any:
    """Call a function of diffusers or transformers that declares no types."""
    return make(**options)


def noisy(module: Any, scale: float = 0.02) -> Any:
    """Give small random values to parameters that start at zero.

    Kandinsky's modulations do: with random weights, the prompt and the timestep would have no effect.
    """
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        if not parameter.any():
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return module


def movq() -> Any:
    """Four levels, as the real one has: Kandinsky 3 hard-codes the factor of 8."""
    return seeded(
        VQModel,
        block_out_channels=[32, 32, 32, 64],
        down_block_types=["DownEncoderBlock2D"] * 3 + ["AttnDownEncoderBlock2D"],
        up_block_types=["AttnUpDecoderBlock2D"] + ["UpDecoderBlock2D"] * 3,
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=8,
        norm_type="spatial",
        num_vq_embeddings=12,
        vq_embed_dim=4,
    )


def vae(latent_channels: int = 4, out_channels: int = 3, **options: Any) -> Any:
    """A KL autoencoder of factor 8; of four ``out_channels`` the last is alpha."""
    return seeded(
        AutoencoderKL,
        block_out_channels=[32, 32, 32, 64],
        in_channels=3,
        out_channels=out_channels,
        down_block_types=["DownEncoderBlock2D"] * 4,
        up_block_types=["UpDecoderBlock2D"] * 4,
        latent_channels=latent_channels,
        layers_per_block=1,
        norm_num_groups=8,
        **options,
    )


def t5_text(width: int = 32) -> dict[str, Any]:
    """``tokenizer`` and ``text_encoder``."""
    tokenizer = tokenizers.t5()
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=width,
        d_kv=8,
        d_ff=37,
        num_layers=2,
        num_heads=4,
        relative_attention_num_buckets=8,
        is_encoder_decoder=False,
        feed_forward_proj="gated-gelu",
    )
    return {"tokenizer": tokenizer, "text_encoder": seeded(T5EncoderModel, config)}


def clip_text(*, projection: bool, width: int = 32, layers: int = 2) -> dict[str, Any]:
    """``tokenizer`` and ``text_encoder``."""
    tokenizer = tokenizers.clip()
    config = CLIPTextConfig(
        bos_token_id=len(tokenizer) - 2,
        eos_token_id=len(tokenizer) - 1,
        pad_token_id=1,
        hidden_size=width,
        projection_dim=32,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=layers,
        vocab_size=len(tokenizer),
        hidden_act="gelu",
    )
    encoder = seeded(CLIPTextModelWithProjection if projection else CLIPTextModel, config)
    return {"tokenizer": tokenizer, "text_encoder": encoder}


def second(text: dict[str, Any]) -> dict[str, Any]:
    """The same components under the names of a pipeline's second text encoder."""
    return {f"{name}_2": component for name, component in text.items()}


def third(text: dict[str, Any]) -> dict[str, Any]:
    """The same components under the names of a pipeline's third text encoder."""
    return {f"{name}_3": component for name, component in text.items()}


def safety_checker() -> dict[str, Any]:
    """``safety_checker`` and ``feature_extractor``: one that objects to everything."""
    checker = seeded(StableDiffusionSafetyChecker, CLIPConfig(projection_dim=32, vision_config=_vision()))
    # A likeness above its threshold is objectionable, and none is below this one.
    checker.concept_embeds_weights = torch.nn.Parameter(torch.full((17,), -2.0), requires_grad=False)
    return {"safety_checker": checker, "feature_extractor": clip_vision()["image_processor"]}


def clip_vision() -> dict[str, Any]:
    """``image_encoder`` and ``image_processor``."""
    config = CLIPVisionConfig(**_vision())
    processor = CLIPImageProcessor(
        crop_size=224, do_center_crop=True, do_normalize=True, do_resize=True, resample=3, size=224
    )
    return {"image_encoder": seeded(CLIPVisionModelWithProjection, config), "image_processor": processor}


def _vision() -> dict[str, Any]:
    return {
        "hidden_size": 32,
        "image_size": 224,
        "projection_dim": 32,
        "intermediate_size": 37,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "patch_size": 14,
    }
