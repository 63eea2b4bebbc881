"""UNet and autoencoder of a latent diffusion model under the names of CompVis' code, from diffusers' weights.

Their UNet counts its blocks through: ``input_blocks.N`` and ``output_blocks.N`` are what diffusers keeps as
the layers of ``down_blocks`` and ``up_blocks``, each with its attention, and the steps between the levels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from torch import Tensor

State = dict[str, Tensor]
Config = Mapping[str, Any]

_UNET: Final = {
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.",
    "conv_in.": "input_blocks.0.0.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
    "mid_block.resnets.0.": "middle_block.0.",
    "mid_block.attentions.0.": "middle_block.1.",
    "mid_block.resnets.1.": "middle_block.2.",
}
_RESNET: Final = {
    "norm1.": "in_layers.0.",
    "conv1.": "in_layers.2.",
    "time_emb_proj.": "emb_layers.1.",
    "norm2.": "out_layers.0.",
    "conv2.": "out_layers.3.",
    "conv_shortcut.": "skip_connection.",
}
_AUTOENCODER: Final = {
    "mid_block.resnets.0.": "mid.block_1.",
    "mid_block.resnets.1.": "mid.block_2.",
    "mid_block.attentions.0.": "mid.attn_1.",
    "conv_norm_out.": "norm_out.",
}
_ATTENTION: Final = {
    "group_norm.": "norm.",
    "to_q.": "q.",
    "to_k.": "k.",
    "to_v.": "v.",
    "to_out.0.": "proj_out.",
}


def unet(state: Mapping[str, Tensor], config: Config) -> State:
    """A ``UNet2DConditionModel`` as ``model.diffusion_model`` has it."""
    places = {**_UNET, **dict(_places(state, config))}
    found = {}
    for name, value in state.items():
        place = next(place for place in places if name.startswith(place))
        inner = name.removeprefix(place)
        if ".resnets." in place:
            inner = _renamed(inner, _RESNET)
        found[places[place] + inner] = value
    return found


def autoencoder(state: Mapping[str, Tensor], config: Config) -> State:
    """An ``AutoencoderKL`` as ``first_stage_model`` has it; its attentions are convolutions."""
    places = {f"{half}.{ours}": f"{half}.{theirs}" for half, ours, theirs in _halves(config)}
    found = {}
    for name, value in state.items():
        place = next((place for place in places if name.startswith(place)), "")
        inner = name.removeprefix(place)
        if ".attn_1." in places.get(place, ""):
            inner = _renamed(inner, _ATTENTION)
            value = value[:, :, None, None] if value.dim() == 2 else value
        found[places.get(place, "") + inner.replace("conv_shortcut.", "nin_shortcut.")] = value
    return found


def _places(state: Mapping[str, Tensor], config: Config) -> Iterator[tuple[str, str]]:
    """Where the layers of the levels lie, ours and theirs."""
    levels, layers = len(config["block_out_channels"]), config["layers_per_block"]
    number = 0
    for level in range(levels):
        for layer in range(layers):
            number += 1
            yield f"down_blocks.{level}.resnets.{layer}.", f"input_blocks.{number}.0."
            yield f"down_blocks.{level}.attentions.{layer}.", f"input_blocks.{number}.1."
        number += 1
        yield f"down_blocks.{level}.downsamplers.0.conv.", f"input_blocks.{number}.0.op."
    for level in range(levels):
        attends = any(name.startswith(f"up_blocks.{level}.attentions.") for name in state)
        for layer in range(layers + 1):
            number = level * (layers + 1) + layer
            yield f"up_blocks.{level}.resnets.{layer}.", f"output_blocks.{number}.0."
            yield f"up_blocks.{level}.attentions.{layer}.", f"output_blocks.{number}.1."
        yield f"up_blocks.{level}.upsamplers.0.conv.", f"output_blocks.{number}.{1 + attends}.conv."


def _halves(config: Config) -> Iterator[tuple[str, str, str]]:
    """Where the layers of encoder and decoder lie; the decoder counts its levels from the picture."""
    levels, layers = len(config["block_out_channels"]), config["layers_per_block"]
    for level in range(levels):
        for layer in range(layers):
            yield "encoder", f"down_blocks.{level}.resnets.{layer}.", f"down.{level}.block.{layer}."
        yield "encoder", f"down_blocks.{level}.downsamplers.0.conv.", f"down.{level}.downsample.conv."
        theirs = levels - 1 - level
        for layer in range(layers + 1):
            yield "decoder", f"up_blocks.{level}.resnets.{layer}.", f"up.{theirs}.block.{layer}."
        yield "decoder", f"up_blocks.{level}.upsamplers.0.conv.", f"up.{theirs}.upsample.conv."
    for half in ("encoder", "decoder"):
        for ours, place in _AUTOENCODER.items():
            yield half, ours, place


def _renamed(name: str, table: Mapping[str, str]) -> str:
    ours = next((ours for ours in table if name.startswith(ours)), "")
    return table.get(ours, "") + name.removeprefix(ours)
