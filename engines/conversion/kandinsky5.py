"""The transformer of Kandinsky 5: released under the names that diffusers uses, without a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from pydantic import JsonValue

from engines.conversion.component import ConvertedComponent, Original, check_against, meta_shapes

# What shapes cannot tell. Source: the configurations of kandinskylab/kandinsky-5 and diffusers' defaults.
_PATCH: Final = (1, 2, 2)
_AXES: Final = (2 / 8, 3 / 8, 3 / 8)
"""The shares of an attention head's width that time, height and width rotate: 32, 48 and 48 of 128."""

SCHEDULER: Final = {"num_train_timesteps": 1000, "shift": 3.0}


def transformer(source: Mapping[str, torch.Tensor]) -> ConvertedComponent:
    """Find the configuration that the tensors are of.

    Raises:
        NotLoadable: tensors are missing, too many, or of the wrong shape.
    """
    what = "the transformer of Kandinsky 5"
    component = ConvertedComponent(
        "Kandinsky5Transformer3DModel", _config(Original(source, what)), dict(source)
    )
    check_against(component, meta_shapes(component), what)
    return component


def _config(source: Original) -> dict[str, JsonValue]:
    area = _PATCH[0] * _PATCH[1] * _PATCH[2]
    width, inputs = source.shape("visual_embeddings.in_layer.weight", 2)
    latent = source.shape("out_layer.out_layer.weight", 2)[0] // area
    head = source.shape("visual_transformer_blocks.0.self_attention.query_norm.weight", 1)[0]
    return {
        "in_visual_dim": latent,
        "out_visual_dim": latent,
        "in_text_dim": source.shape("text_embeddings.in_layer.weight", 2)[1],
        "in_text_dim2": source.shape("pooled_text_embeddings.in_layer.weight", 2)[1],
        "time_dim": source.shape("time_embeddings.in_layer.weight", 2)[0],
        "patch_size": list(_PATCH),
        "model_dim": width,
        "ff_dim": source.shape("visual_transformer_blocks.0.feed_forward.in_layer.weight", 2)[0],
        "num_text_blocks": len(source.numbers(r"text_transformer_blocks\.(\d+)\.")),
        "num_visual_blocks": len(source.numbers(r"visual_transformer_blocks\.(\d+)\.")),
        "axes_dims": [int(share * head) for share in _AXES],
        "visual_cond": inputs // area != latent,
    }
