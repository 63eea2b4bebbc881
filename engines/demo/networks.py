"""The networks of the demo model: their sizes, how they begin, and the stock pipeline of them.

Kandinsky 3's pipeline fixes more than its classes say: latents have four channels at one eighth of the side,
there is no scaling factor, and the decoder skips its codebook.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, Kandinsky3Pipeline, Kandinsky3UNet, VQModel
from torch import Tensor
from transformers import T5Config, T5EncoderModel, T5Tokenizer

Network: TypeAlias = Any
"""A network of diffusers or transformers, neither of which types its methods."""

SIZE = 128
LATENT_CHANNELS = 4
SCHEDULE: Mapping[str, Any] = MappingProxyType(
    {
        "num_train_timesteps": 1000,
        "beta_schedule": "squaredcos_cap_v2",
        "prediction_type": "v_prediction",
        "timestep_spacing": "trailing",
    }
)


def movq(start: Path | None) -> Network:
    """Returns the autoencoder of a folder, or an untrained one of a million weights."""
    if start:
        return VQModel.from_pretrained(start, dtype=torch.float32)  # type: ignore[no-untyped-call]  # diffusers
    return VQModel(  # type: ignore[no-untyped-call]  # diffusers
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        sample_size=SIZE,
        num_vq_embeddings=1024,
        vq_embed_dim=LATENT_CHANNELS,
        norm_type="spatial",
        norm_num_groups=16,
        scaling_factor=1.0,
    )


def text_encoder(start: Path | None, vocabulary: int) -> Network:
    """Returns the text encoder of a pipeline folder, or an untrained one of two layers and width 96."""
    if start:
        return T5EncoderModel.from_pretrained(start / "text_encoder", dtype=torch.float32)
    settings: dict[str, Any] = {
        "vocab_size": vocabulary,
        "d_model": 96,
        "d_kv": 24,
        "d_ff": 192,
        "num_layers": 2,
        "num_heads": 4,
        "dropout_rate": 0.0,
        "feed_forward_proj": "gated-gelu",
        "relative_attention_num_buckets": 16,
        "relative_attention_max_distance": 64,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    }
    encoder = T5EncoderModel(T5Config(**settings))
    with torch.no_grad():  # T5 starts its embeddings at unit deviation, too loud for so shallow an encoder
        encoder.shared.weight.mul_(0.3)
    return encoder


def unet(start: Path | None) -> Network:
    """Returns the UNet of a pipeline folder, or an untrained one of 4.3 million weights."""
    if start:
        kind: Network = Kandinsky3UNet
        return kind.from_pretrained(start / "unet", dtype=torch.float32)
    return Kandinsky3UNet(  # type: ignore[no-untyped-call]  # diffusers
        in_channels=LATENT_CHANNELS,
        time_embedding_dim=64,
        groups=8,
        attention_head_dim=32,
        layers_per_block=2,
        block_out_channels=(64, 64, 64, 96),
        cross_attention_dim=64,
        encoder_hid_dim=96,
    )


def signal_levels() -> Tensor:
    """Returns the share of signal (the cumulative product of alphas) at each of the 1000 training times."""
    scheduler: Any = DDPMScheduler(**SCHEDULE, clip_sample=False)  # type: ignore[no-untyped-call]  # diffusers
    levels: Tensor = scheduler.alphas_cumprod
    return levels.float()


def pipeline(parts: Mapping[str, Network], tokenizer: T5Tokenizer) -> Network:
    """Returns a stock ``Kandinsky3Pipeline`` of the parts ``unet``, ``text_encoder`` and ``movq``, on CPU."""
    # Made from the training schedule, whose ``clip_sample`` other schedulers need: latents are not pixels.
    base: Network = DDPMScheduler(**SCHEDULE, clip_sample=False)  # type: ignore[no-untyped-call]  # diffusers
    solver: Network = DPMSolverMultistepScheduler
    scheduler = solver.from_config(base.config)
    placed: dict[str, Network] = {name: part.to("cpu").eval() for name, part in parts.items()}
    for name in ("unet", "movq"):
        placed[name].to(memory_format=torch.contiguous_format)
    kind: Network = Kandinsky3Pipeline
    return kind(tokenizer=tokenizer, scheduler=scheduler, **placed)


def load_pipeline(folder: Path) -> Network:
    """Returns the pipeline of a folder in float32, without a progress bar.

    16-bit weights are widened: on CPU float32 draws faster than 16 bits do.
    """
    kind: Network = Kandinsky3Pipeline
    made = kind.from_pretrained(folder, dtype=torch.float32)
    made.set_progress_bar_config(disable=True)
    return made
