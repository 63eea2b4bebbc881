"""The UNet of Kandinsky 3 as first released, and the text projection that lies in another file of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from diffusers.pipelines.kandinsky3.convert_kandinsky3_unet import convert_state_dict
from pydantic import JsonValue

from engines.conversion.component import ConvertedComponent, Original, check_against, meta_shapes
from engines.formats.diffusers_folder import INPAINTING_CHANNELS

# What shapes cannot tell. Source: get_unet() in kandinsky3/model/unet.py of ai-forever/Kandinsky-3.
_HEAD_CHANNELS: Final = 64
_NORM_GROUPS: Final = 32

_QUANTILE: Final = 0.99
_QUANTILE_INPAINTING: Final = 0.95


def scheduler(variant: str | None) -> dict[str, JsonValue]:
    """The configuration of `engines.kandinsky3_scheduler` with which the released models were sampled.

    A cosine schedule over 1000 times, ancestral; each guess of the picture is bounded by a quantile of its
    own values. Against the release's loop the latents differ by less than 0.002 after 50 steps. Source:
    kandinsky3/model/diffusion.py, t2i_pipeline.py and inpainting_pipeline.py of ai-forever/Kandinsky-3.
    """
    return {
        "num_train_timesteps": 1000,
        "beta_schedule": "squaredcos_cap_v2",
        "prediction_type": "epsilon",
        "variance_type": "fixed_small",
        "clip_sample": False,
        "thresholding": True,
        "dynamic_thresholding_ratio": _QUANTILE_INPAINTING if variant == "inpainting" else _QUANTILE,
        # The release has no upper bound; the class's default of 1 would clip instead.
        "sample_max_value": 1e9,
        "timestep_spacing": "trailing",
        "steps_offset": 0,
    }


def unet(source: Mapping[str, torch.Tensor], projection: Mapping[str, torch.Tensor]) -> ConvertedComponent:
    """Convert the UNet; ``projection`` is what projection.pt holds (a linear layer and a norm).

    Raises:
        NotLoadable: tensors are missing, too many, or of the wrong shape.
    """
    what = "the UNet of Kandinsky 3"
    config = _config(Original(source, what), Original(projection, "the text projection of Kandinsky 3"))
    rename: Any = convert_state_dict
    tensors = dict(rename({name: value for name, value in source.items() if name != "null_embedding"}))
    tensors["encoder_hid_proj.projection_linear.weight"] = projection["0.weight"]
    tensors["encoder_hid_proj.projection_norm.weight"] = projection["1.weight"]
    tensors["encoder_hid_proj.projection_norm.bias"] = projection["1.bias"]
    if config["in_channels"] == INPAINTING_CHANNELS:
        _widen(tensors)
    component = ConvertedComponent("Kandinsky3UNet", config, tensors)
    check_against(component, meta_shapes(component), what)
    return component


def _widen(tensors: dict[str, torch.Tensor]) -> None:
    """Give the last layer of the inpainting UNet as many outputs as it has inputs, the added ones zero.

    diffusers' class has no other form; `engines.kandinsky3_inpainting` uses the first four.
    """
    for name in ("conv_out.weight", "conv_out.bias"):
        last = tensors[name]
        added = last.new_zeros((INPAINTING_CHANNELS - len(last), *last.shape[1:]))
        tensors[name] = torch.cat([last, added])


def _config(source: Original, projection: Original) -> dict[str, JsonValue]:
    levels = sorted(source.numbers(r"down_samples\.(\d+)\."))
    channels: list[JsonValue] = [
        source.shape(f"down_samples.{level}.resnet_attn_blocks.0.0.resnet_blocks.3.projection.weight", 4)[0]
        for level in levels
    ]
    return {
        "in_channels": source.shape("in_layer.weight", 4)[1],
        "time_embedding_dim": source.shape("to_time_embed.1.weight", 2)[0],
        "groups": _NORM_GROUPS,
        "attention_head_dim": _HEAD_CHANNELS,
        "layers_per_block": len(source.numbers(r"down_samples\.0\.resnet_attn_blocks\.(\d+)\.")),
        "block_out_channels": channels,
        "cross_attention_dim": source.shape("feature_pooling.attention.to_key.weight", 2)[1],
        "encoder_hid_dim": projection.shape("0.weight", 2)[1],
    }
