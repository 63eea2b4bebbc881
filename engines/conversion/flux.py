"""The transformer of Flux: Black Forest Labs' names and matrices to diffusers'.

diffusers' own conversion knows only the released width of 3072, and makes a copy of every weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import torch
from pydantic import JsonValue

from engines.conversion.component import (
    ConvertedComponent,
    Original,
    Table,
    View,
    check_against,
    meta_shapes,
    rename,
)

WHAT: Final = "the transformer of Flux"

_TABLE: Final[Table] = (
    (r"^time_in\.", "time_text_embed.timestep_embedder."),
    (r"^vector_in\.", "time_text_embed.text_embedder."),
    (r"^guidance_in\.", "time_text_embed.guidance_embedder."),
    (r"\.in_layer\.", ".linear_1."),
    (r"\.out_layer\.", ".linear_2."),
    (r"^txt_in\.", "context_embedder."),
    (r"^img_in\.", "x_embedder."),
    (r"^final_layer\.linear\.", "proj_out."),
    (r"^final_layer\.adaLN_modulation\.1\.", "norm_out.linear."),
    (r"^double_blocks\.", "transformer_blocks."),
    (r"^single_blocks\.", "single_transformer_blocks."),
    (r"\.img_mod\.lin\.", ".norm1.linear."),
    (r"\.txt_mod\.lin\.", ".norm1_context.linear."),
    (r"\.modulation\.lin\.", ".norm.linear."),
    (r"\.img_attn\.norm\.(query|key)_norm\.scale$", r".attn.norm_\1.weight"),
    (r"\.txt_attn\.norm\.(query|key)_norm\.scale$", r".attn.norm_added_\1.weight"),
    (r"\.norm\.(query|key)_norm\.scale$", r".attn.norm_\1.weight"),
    (r"\.attn\.norm_(added_)?query\.", r".attn.norm_\1q."),
    (r"\.attn\.norm_(added_)?key\.", r".attn.norm_\1k."),
    (r"\.img_attn\.proj\.", ".attn.to_out.0."),
    (r"\.txt_attn\.proj\.", ".attn.to_add_out."),
    (r"\.img_mlp\.0\.", ".ff.net.0.proj."),
    (r"\.img_mlp\.2\.", ".ff.net.2."),
    (r"\.txt_mlp\.0\.", ".ff_context.net.0.proj."),
    (r"\.txt_mlp\.2\.", ".ff_context.net.2."),
    (r"\.linear2\.", ".proj_out."),
)
# What lies below one another in one matrix: as many rows each as the model is wide, the last one the rest.
_STACKED: Final[Mapping[str, tuple[str, ...]]] = {
    ".img_attn.qkv.": (".attn.to_q.", ".attn.to_k.", ".attn.to_v."),
    ".txt_attn.qkv.": (".attn.add_q_proj.", ".attn.add_k_proj.", ".attn.add_v_proj."),
    ".linear1.": (".attn.to_q.", ".attn.to_k.", ".attn.to_v.", ".proj_mlp."),
}
_SHIFT_FIRST: Final = "final_layer.adaLN_modulation.1."
"""Shift above scale, which diffusers has the other way round."""


def transformer(source: Mapping[str, torch.Tensor], config: Mapping[str, JsonValue]) -> ConvertedComponent:
    """Convert the tensors (names without a prefix) of a transformer with this configuration of diffusers'.

    Raises:
        NotLoadable: tensors are missing, too many, or of the wrong shape.
    """
    original = Original(source, WHAT)
    width = original.shape("img_in.weight", 2)[0]
    component = ConvertedComponent(
        "FluxTransformer2DModel", dict(config), original.views(_converted(source, width))
    )
    check_against(component, meta_shapes(component), WHAT)
    return component


def _converted(source: Mapping[str, torch.Tensor], width: int) -> Iterator[tuple[str, View]]:
    for name, tensor in source.items():
        stacked = next((each for each in _STACKED if each in name), None)
        if stacked is not None:
            yield from _unstacked(name, tensor, stacked, width)
        else:
            value = _halves_swapped(tensor) if name.startswith(_SHIFT_FIRST) else tensor
            yield rename(name, _TABLE), View(value, tuple(value.shape))


def _unstacked(name: str, tensor: torch.Tensor, stacked: str, width: int) -> Iterator[tuple[str, View]]:
    parts = _STACKED[stacked]
    for number, part in enumerate(parts):
        end = None if number == len(parts) - 1 else (number + 1) * width
        rows = tensor[number * width : end]
        yield rename(name.replace(stacked, part), _TABLE), View(rows, tuple(rows.shape))


def _halves_swapped(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.roll(tensor.shape[0] // 2, 0)
