"""Stable Diffusion 1.5, 2, XL, 3 and Flux in one file, as people download them, from tiny diffusers folders.

Each function gives the tensors of a file by name; the prefixes are those of the programs that wrote the
real files: CompVis' (``first_stage_model``), Stability's (``conditioner.embedders``) and ComfyUI's
(``text_encoders.clip_l``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.originals import latent_diffusion, text_encoders, transformers

State = dict[str, Tensor]


def stable_diffusion(folder: Path) -> State:
    """Stable Diffusion 1.5 (``v1-5-pruned.safetensors``): with it came the averages of training."""
    positions = {"text_model.embeddings.position_ids": torch.arange(77)[None]}
    unet = _unet(folder)
    averages = {f"model_ema.{name.replace('.', '')}": value * 0.5 for name, value in unet.items()}
    return {
        **unet,
        **averages,
        **_autoencoder(folder, "first_stage_model"),
        **_under(
            "cond_stage_model.transformer",
            {**text_encoders.clip(_state(folder, "text_encoder")), **positions},
        ),
        "alphas_cumprod": torch.linspace(1.0, 0.0, 1000),
    }


def stable_diffusion_2(folder: Path) -> State:
    """Stable Diffusion 2 (``768-v-ema.ckpt``): its OpenCLIP is whole, of which the last layer is not used."""
    text = text_encoders.open_clip(_state(folder, "text_encoder"))
    layer = "transformer.resblocks.22."
    unused = {
        name.replace(".22.", ".23."): value * 0.5 for name, value in text.items() if name.startswith(layer)
    }
    return {
        **_unet(folder),
        **_autoencoder(folder, "first_stage_model"),
        **_under(
            "cond_stage_model.model",
            {**text, **unused, "text_projection": torch.eye(len(text["ln_final.weight"]))},
        ),
    }


def stable_diffusion_xl(folder: Path) -> State:
    """Stable Diffusion XL (``sd_xl_base_1.0.safetensors``)."""
    return {
        **_unet(folder),
        **_autoencoder(folder, "first_stage_model"),
        **_under("conditioner.embedders.0.transformer", text_encoders.clip(_state(folder, "text_encoder"))),
        **_under("conditioner.embedders.1.model", text_encoders.open_clip(_state(folder, "text_encoder_2"))),
    }


def stable_diffusion_3(folder: Path, *, with_text: bool) -> State:
    """Stable Diffusion 3 (``sd3_medium_incl_clips_t5xxlfp8.safetensors``, or without its text encoders)."""
    return {
        **_under("model.diffusion_model", transformers.mmdit(_state(folder, "transformer"))),
        **_autoencoder(folder, "first_stage_model"),
        **(_texts(folder, ("clip_l", "clip_g", "t5xxl")) if with_text else {}),
    }


def flux(folder: Path) -> State:
    """The transformer of Flux alone (``flux1-dev.safetensors``)."""
    return transformers.flux(_state(folder, "transformer"))


def flux_whole(folder: Path) -> State:
    """Flux with all that belongs to it, as ComfyUI saves a model (``flux1-dev-fp8.safetensors``)."""
    return {
        **_under("model.diffusion_model", flux(folder)),
        **_autoencoder(folder, "vae"),
        **_texts(folder, ("clip_l", "t5xxl")),
    }


def _unet(folder: Path) -> State:
    return _under(
        "model.diffusion_model", latent_diffusion.unet(_state(folder, "unet"), _config(folder, "unet"))
    )


def _autoencoder(folder: Path, prefix: str) -> State:
    return _under(prefix, latent_diffusion.autoencoder(_state(folder, "vae"), _config(folder, "vae")))


def _texts(folder: Path, names: tuple[str, ...]) -> State:
    found: State = {}
    for number, name in enumerate(names, 1):
        state = _state(folder, "text_encoder" if number == 1 else f"text_encoder_{number}")
        if name == "clip_l":
            state = {
                key: value for key, value in text_encoders.clip(state).items() if "projection" not in key
            }
        elif name == "t5xxl":
            state["encoder.embed_tokens.weight"] = state["shared.weight"].clone()
        found |= _under(f"text_encoders.{name}.transformer", state)
        found[f"text_encoders.{name}.logit_scale"] = torch.tensor(4.6)
    return found


def _under(prefix: str, state: Mapping[str, Tensor]) -> State:
    return {f"{prefix}.{name}": value for name, value in state.items()}


def _state(folder: Path, component: str) -> State:
    (file,) = (folder / component).glob("*.safetensors")
    return load_file(file)


def _config(folder: Path, component: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / component / "config.json").read_text())
    return found
