"""Pipelines that are not Kandinsky's: Stable Diffusion 1.5, XL and Flux."""

from __future__ import annotations

from typing import Any

from diffusers import (
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)

from tests.tiny import parts


def stable_diffusion() -> Any:
    """Stable Diffusion 1.5, without a safety checker."""
    none = {"safety_checker": None, "feature_extractor": None}
    return _stable_diffusion(parts.vae(), **none, requires_safety_checker=False)


def stable_diffusion_guarded() -> Any:
    """Stable Diffusion 1.5 with a safety checker, to which nothing is safe."""
    return _stable_diffusion(parts.vae(), **parts.safety_checker())


def stable_diffusion_transparent() -> Any:
    """Stable Diffusion 1.5 with an autoencoder that makes an alpha channel."""
    none = {"safety_checker": None, "feature_extractor": None}
    return _stable_diffusion(parts.vae(out_channels=4), **none, requires_safety_checker=False)


def _stable_diffusion(vae: Any, **own: Any) -> Any:
    scheduler = parts.made(
        PNDMScheduler,
        skip_prk_steps=True,
        steps_offset=1,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
    )
    return parts.made(
        StableDiffusionPipeline,
        unet=_unet(layers_per_block=1, cross_attention_dim=32, attention_head_dim=4),
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
        cross_attention_dim=64,
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
        **parts.second(parts.clip_text(projection=True)),
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


def _unet(**options: Any) -> Any:
    return parts.seeded(
        UNet2DConditionModel,
        block_out_channels=(32, 64),
        sample_size=32,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        **options,
    )
