"""Pipelines that are not Kandinsky's: Stable Diffusion 1.5, 2, XL and 3, and Flux."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PNDMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)

from tests.tiny import parts


def stable_diffusion() -> Any:
    """Stable Diffusion 1.5, without a safety checker."""
    none: dict[str, Any] = {"safety_checker": None, "feature_extractor": None}
    return _stable_diffusion(parts.vae(), **none, requires_safety_checker=False)


def stable_diffusion_guarded() -> Any:
    """Stable Diffusion 1.5 with a safety checker, to which nothing is safe."""
    return _stable_diffusion(parts.vae(), **parts.safety_checker())


def stable_diffusion_transparent() -> Any:
    """Stable Diffusion 1.5 with an autoencoder that makes an alpha channel."""
    none: dict[str, Any] = {"safety_checker": None, "feature_extractor": None}
    return _stable_diffusion(parts.vae(out_channels=4), **none, requires_safety_checker=False)


def stable_diffusion_inpainting() -> Any:
    """Stable Diffusion 1.5 with a UNet that was made to inpaint."""
    none: dict[str, Any] = {"safety_checker": None, "feature_extractor": None}
    return _stable_diffusion(
        parts.vae(), kind=StableDiffusionInpaintPipeline, channels=9, **none, requires_safety_checker=False
    )


def stable_diffusion_2() -> Any:
    """Stable Diffusion 2, whose text encoder is OpenCLIP's without its last layer."""
    return parts.made(
        StableDiffusionPipeline,
        unet=_unet(
            layers_per_block=1, cross_attention_dim=48, attention_head_dim=(2, 4), use_linear_projection=True
        ),
        scheduler=parts.made(
            DDIMScheduler, prediction_type="v_prediction", clip_sample=False, steps_offset=1
        ),
        vae=parts.vae(),
        **parts.clip_text(projection=False, width=48, layers=23),
        image_encoder=None,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _stable_diffusion(vae: Any, *, kind: Any = StableDiffusionPipeline, channels: int = 4, **own: Any) -> Any:
    scheduler = parts.made(
        PNDMScheduler,
        skip_prk_steps=True,
        steps_offset=1,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
    )
    return parts.made(
        kind,
        unet=_unet(in_channels=channels, layers_per_block=1, cross_attention_dim=32, attention_head_dim=4),
        scheduler=scheduler,
        vae=vae,
        **parts.clip_text(projection=False),
        image_encoder=None,
        **own,
    )


def stable_diffusion_xl() -> Any:
    """Stable Diffusion XL, base."""
    unet = _unet(
        layers_per_block=2,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        transformer_layers_per_block=(1, 2),
        # The pooled text embedding, and six numbers about the size at eight features each.
        projection_class_embeddings_input_dim=32 + 6 * 8,
        cross_attention_dim=32 + 48,
    )
    scheduler = parts.made(
        EulerDiscreteScheduler,
        beta_start=0.00085,
        beta_end=0.012,
        steps_offset=1,
        beta_schedule="scaled_linear",
        timestep_spacing="leading",
    )
    return parts.made(
        StableDiffusionXLPipeline,
        unet=unet,
        scheduler=scheduler,
        vae=parts.vae(),
        **parts.clip_text(projection=False),
        **parts.second(parts.clip_text(projection=True, width=48)),
    )


def stable_diffusion_3() -> Any:
    """Stable Diffusion 3.5 medium: two attentions in its first block."""
    transformer = parts.seeded(
        SD3Transformer2DModel,
        sample_size=32,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=96,
        caption_projection_dim=32,
        pooled_projection_dim=64,
        pos_embed_max_size=32,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    vae = parts.vae(
        use_quant_conv=False, use_post_quant_conv=False, scaling_factor=1.5305, shift_factor=0.0609
    )
    text = parts.clip_text(projection=True)
    # What the first encoder of the real one has: its pooled embedding is not projected.
    text["text_encoder"].text_projection.weight = torch.nn.Parameter(torch.eye(32))
    return parts.made(
        StableDiffusion3Pipeline,
        scheduler=parts.made(FlowMatchEulerDiscreteScheduler, shift=3.0),
        transformer=transformer,
        vae=vae,
        **text,
        **parts.second(parts.clip_text(projection=True, width=48)),
        **parts.third(parts.t5_text(width=96)),
    )


def flux() -> Any:
    """Flux, the variant with an embedded guidance scale."""
    transformer = parts.seeded(
        FluxTransformer2DModel,
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=[4, 4, 8],
        guidance_embeds=True,
    )
    vae = parts.vae(
        use_quant_conv=False, use_post_quant_conv=False, scaling_factor=0.3611, shift_factor=0.1159
    )
    return parts.made(
        FluxPipeline,
        scheduler=parts.made(FlowMatchEulerDiscreteScheduler, use_dynamic_shifting=True),
        transformer=transformer,
        vae=vae,
        **parts.clip_text(projection=False),
        **parts.second(parts.t5_text()),
    )


def _unet(*, in_channels: int = 4, **options: Any) -> Any:
    return parts.seeded(
        UNet2DConditionModel,
        block_out_channels=(32, 64),
        sample_size=32,
        in_channels=in_channels,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        **options,
    )
