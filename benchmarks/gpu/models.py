"""Models of real sizes and shapes in 16 bits with random weights: nothing is fetched.

``python -m benchmarks.gpu.models FOLDER [NAME ...] [--tiny]`` writes them; 7 to 8 GB each, in seconds where
there is a GPU to make the numbers. Their pictures are noise; time and memory are the real ones'. What is
large and adds nothing here was cut: Kandinsky 3's text encoder has 2 of its 24 layers, Flux has 12 of its 57
blocks and 4 of the 24 layers of its larger text encoder.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    Kandinsky3Pipeline,
    Kandinsky3UNet,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    VQModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from tests.tiny import build, tokenizers
from tests.tiny.parts import made

_BETAS: Final = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@dataclass(frozen=True)
class Shape:
    """A model to be made; ``tiny`` is the test model of its family."""

    make: Callable[[], Any]
    dtype: torch.dtype
    tiny: str


def sdxl() -> Any:
    """Stable Diffusion XL, base, whole."""
    unet = made(
        UNet2DConditionModel,
        sample_size=128,
        block_out_channels=(320, 640, 1280),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(5, 10, 20),
        cross_attention_dim=2048,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )
    return made(
        StableDiffusionXLPipeline,
        unet=unet,
        vae=_vae(sample_size=1024, scaling_factor=0.13025),
        text_encoder=CLIPTextModel(_clip(768, layers=12, heads=12, activation="quick_gelu")),
        tokenizer=tokenizers.clip(),
        text_encoder_2=CLIPTextModelWithProjection(_clip(1280, layers=32, heads=20, activation="gelu")),
        tokenizer_2=tokenizers.clip(),
        scheduler=made(EulerDiscreteScheduler, **_BETAS, steps_offset=1, timestep_spacing="leading"),
    )


def kandinsky3() -> Any:
    """Kandinsky 3, its text encoder cut."""
    movq = made(
        VQModel,
        block_out_channels=(256, 512, 512, 1024),
        down_block_types=("DownEncoderBlock2D",) * 3 + ("AttnDownEncoderBlock2D",),
        up_block_types=("AttnUpDecoderBlock2D",) + ("UpDecoderBlock2D",) * 3,
        layers_per_block=2,
        latent_channels=4,
        num_vq_embeddings=16384,
        vq_embed_dim=4,
        norm_type="spatial",
    )
    scheduler = made(
        DDPMScheduler,
        beta_schedule="squaredcos_cap_v2",
        clip_sample=False,
        thresholding=True,
        dynamic_thresholding_ratio=0.99,
        sample_max_value=2.0,
        steps_offset=1,
    )
    return made(
        Kandinsky3Pipeline,
        unet=_noisy(made(Kandinsky3UNet)),
        movq=movq,
        text_encoder=T5EncoderModel(_t5(layers=2, d_ff=16384, heads=16)),
        tokenizer=tokenizers.t5(),
        scheduler=scheduler,
    )


def flux() -> Any:
    """Flux, the variant with an embedded guidance scale, cut."""
    vae = _vae(
        sample_size=1024,
        latent_channels=16,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )
    return made(
        FluxPipeline,
        transformer=made(FluxTransformer2DModel, num_layers=4, num_single_layers=8, guidance_embeds=True),
        vae=vae,
        text_encoder=CLIPTextModel(_clip(768, layers=12, heads=12, activation="quick_gelu")),
        tokenizer=tokenizers.clip(),
        text_encoder_2=T5EncoderModel(_t5(layers=4, d_ff=10240, heads=64)),
        tokenizer_2=tokenizers.t5(),
        scheduler=made(FlowMatchEulerDiscreteScheduler, use_dynamic_shifting=True),
    )


SHAPES: Final[Mapping[str, Shape]] = MappingProxyType(
    {
        "sdxl": Shape(sdxl, torch.bfloat16, "sdxl"),
        "kandinsky3": Shape(kandinsky3, torch.float16, "kandinsky3"),
        "flux": Shape(flux, torch.bfloat16, "flux"),
    }
)


def write(name: str, root: Path, *, tiny: bool = False) -> Path:
    """Write the model ``name`` as a diffusers folder below ``root``, unless it is there; say where."""
    folder = root / (f"{name}-tiny" if tiny else name)
    if (folder / "model_index.json").is_file():
        return folder
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shape = SHAPES[name]
    if tiny:
        build(shape.tiny, unfinished)
    else:
        with _made_in(shape.dtype), torch.random.fork_rng():
            torch.manual_seed(0)
            pipeline = shape.make()
        pipeline.save_pretrained(unfinished)
        del pipeline
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    unfinished.rename(folder)
    return folder


@contextmanager
def _made_in(dtype: torch.dtype) -> Iterator[None]:
    """Let modules be made in ``dtype``, on the GPU where there is one: it makes random numbers at once."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
            yield
    finally:
        torch.set_default_dtype(usual)


def _noisy(module: Any) -> Any:
    """Give small values to weights that start at zero: without them neither prompt nor time has an effect."""
    for parameter in module.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    return module


def _vae(**options: Any) -> Any:
    return made(
        AutoencoderKL,
        block_out_channels=(128, 256, 512, 512),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        **{"latent_channels": 4} | options,
    )


def _clip(width: int, *, layers: int, heads: int, activation: str) -> CLIPTextConfig:
    words = len(tokenizers.clip())
    return CLIPTextConfig(
        vocab_size=words,
        bos_token_id=words - 2,
        eos_token_id=words - 1,
        pad_token_id=1,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        projection_dim=width,
        hidden_act=activation,
    )


def _t5(*, layers: int, d_ff: int, heads: int) -> T5Config:
    return T5Config(
        vocab_size=len(tokenizers.t5()),
        d_model=4096,
        d_kv=4096 // heads,
        d_ff=d_ff,
        num_layers=layers,
        num_heads=heads,
        is_encoder_decoder=False,
        feed_forward_proj="gated-gelu",
    )


def main() -> None:
    """Write the models that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SHAPES))
    parser.add_argument("--tiny", action="store_true", help="the test models of the same families")
    given = parser.parse_intermixed_args()
    for name in given.names or SHAPES:
        started = time.perf_counter()
        folder = write(name, given.folder, tiny=given.tiny)
        size = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
        print(f"{folder}: {size / 1e9:.2f} GB in {time.perf_counter() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
