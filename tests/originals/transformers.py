"""Transformers of Stable Diffusion 3 and Flux under their authors' names, from diffusers' weights.

Both keep queries, keys and values in one matrix, in Flux's single blocks with the perceptron's first layer;
and both keep the shift of their last modulations before the scale, which diffusers turns round.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

State = dict[str, Tensor]

_MMDIT: Final = {
    "pos_embed.pos_embed": "pos_embed",
    "pos_embed.proj.": "x_embedder.proj.",
    "time_text_embed.timestep_embedder.linear_1.": "t_embedder.mlp.0.",
    "time_text_embed.timestep_embedder.linear_2.": "t_embedder.mlp.2.",
    "time_text_embed.text_embedder.linear_1.": "y_embedder.mlp.0.",
    "time_text_embed.text_embedder.linear_2.": "y_embedder.mlp.2.",
    "context_embedder.": "context_embedder.",
    "norm_out.linear.": "final_layer.adaLN_modulation.1.",
    "proj_out.": "final_layer.linear.",
}
_MMDIT_BLOCK: Final = {
    "attn.to_q.": "x_block.attn.qkv.",
    "attn.add_q_proj.": "context_block.attn.qkv.",
    "attn.norm_q.": "x_block.attn.ln_q.",
    "attn.norm_k.": "x_block.attn.ln_k.",
    "attn.norm_added_q.": "context_block.attn.ln_q.",
    "attn.norm_added_k.": "context_block.attn.ln_k.",
    "attn.to_out.0.": "x_block.attn.proj.",
    "attn.to_add_out.": "context_block.attn.proj.",
    "attn2.to_q.": "x_block.attn2.qkv.",
    "attn2.norm_q.": "x_block.attn2.ln_q.",
    "attn2.norm_k.": "x_block.attn2.ln_k.",
    "attn2.to_out.0.": "x_block.attn2.proj.",
    "norm1.linear.": "x_block.adaLN_modulation.1.",
    "norm1_context.linear.": "context_block.adaLN_modulation.1.",
    "ff.net.0.proj.": "x_block.mlp.fc1.",
    "ff.net.2.": "x_block.mlp.fc2.",
    "ff_context.net.0.proj.": "context_block.mlp.fc1.",
    "ff_context.net.2.": "context_block.mlp.fc2.",
}
_FLUX: Final = {
    "time_text_embed.timestep_embedder.linear_1.": "time_in.in_layer.",
    "time_text_embed.timestep_embedder.linear_2.": "time_in.out_layer.",
    "time_text_embed.text_embedder.linear_1.": "vector_in.in_layer.",
    "time_text_embed.text_embedder.linear_2.": "vector_in.out_layer.",
    "time_text_embed.guidance_embedder.linear_1.": "guidance_in.in_layer.",
    "time_text_embed.guidance_embedder.linear_2.": "guidance_in.out_layer.",
    "context_embedder.": "txt_in.",
    "x_embedder.": "img_in.",
    "norm_out.linear.": "final_layer.adaLN_modulation.1.",
    "proj_out.": "final_layer.linear.",
}
_FLUX_DOUBLE: Final = {
    "attn.to_q.": "img_attn.qkv.",
    "attn.add_q_proj.": "txt_attn.qkv.",
    "attn.norm_q.weight": "img_attn.norm.query_norm.scale",
    "attn.norm_k.weight": "img_attn.norm.key_norm.scale",
    "attn.norm_added_q.weight": "txt_attn.norm.query_norm.scale",
    "attn.norm_added_k.weight": "txt_attn.norm.key_norm.scale",
    "attn.to_out.0.": "img_attn.proj.",
    "attn.to_add_out.": "txt_attn.proj.",
    "norm1.linear.": "img_mod.lin.",
    "norm1_context.linear.": "txt_mod.lin.",
    "ff.net.0.proj.": "img_mlp.0.",
    "ff.net.2.": "img_mlp.2.",
    "ff_context.net.0.proj.": "txt_mlp.0.",
    "ff_context.net.2.": "txt_mlp.2.",
}
_FLUX_SINGLE: Final = {
    "attn.to_q.": "linear1.",
    "attn.norm_q.weight": "norm.query_norm.scale",
    "attn.norm_k.weight": "norm.key_norm.scale",
    "norm.linear.": "modulation.lin.",
    "proj_out.": "linear2.",
}
_OTHERS: Final = {
    "to_q.": ("to_k.", "to_v."),
    "add_q_proj.": ("add_k_proj.", "add_v_proj."),
}
"""What lies after the queries in one matrix."""


def mmdit(state: Mapping[str, Tensor]) -> State:
    """An ``SD3Transformer2DModel`` as the reference code has it, without ``model.diffusion_model.``."""
    last = max(int(name.split(".")[1]) for name in state if name.startswith("transformer_blocks."))
    turned = ("norm_out.linear.", f"transformer_blocks.{last}.norm1_context.linear.")
    found: State = {}
    for name, value in _joined(state).items():
        value = _swapped(value) if name.startswith(turned) else value
        kind, number, inner = [*name.split(".", 2), "", ""][:3]
        if kind == "transformer_blocks":
            found[f"joint_blocks.{number}.{_renamed(inner, _MMDIT_BLOCK)}"] = value
        else:
            found[_renamed(name, _MMDIT)] = value
    return found


def flux(state: Mapping[str, Tensor]) -> State:
    """A ``FluxTransformer2DModel`` as Black Forest Labs' code has it."""
    found: State = {}
    for name, value in _joined(state).items():
        value = _swapped(value) if name.startswith("norm_out.linear.") else value
        kind, number, inner = [*name.split(".", 2), "", ""][:3]
        if kind == "transformer_blocks":
            found[f"double_blocks.{number}.{_renamed(inner, _FLUX_DOUBLE)}"] = value
        elif kind == "single_transformer_blocks":
            found[f"single_blocks.{number}.{_renamed(inner, _FLUX_SINGLE)}"] = value
        else:
            found[_renamed(name, _FLUX)] = value
    return found


def _joined(state: Mapping[str, Tensor]) -> State:
    """The same tensors, with keys and values (and the perceptron of a single block) below the queries."""
    found: State = {}
    for name, value in state.items():
        if any(other in name for others in _OTHERS.values() for other in others) or ".proj_mlp." in name:
            continue
        for first, others in _OTHERS.items():
            if first in name:
                parts = [value, *(state[name.replace(first, other)] for other in others)]
                if name.startswith("single_"):
                    parts.append(state[name.replace("attn.to_q.", "proj_mlp.")])
                value = torch.cat(parts)
        found[name] = value
    return found


def _swapped(value: Tensor) -> Tensor:
    scale, shift = value.chunk(2)
    return torch.cat([shift, scale])


def _renamed(name: str, table: Mapping[str, str]) -> str:
    ours = next(ours for ours in table if name.startswith(ours))
    return table[ours] + name.removeprefix(ours)
