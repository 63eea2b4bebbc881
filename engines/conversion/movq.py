"""The MoVQ autoencoder of Kandinsky 2.1 and of Kandinsky 3 as first released, for diffusers.

Kandinsky 2.1's names are those of ai-forever/Kandinsky-2 (``kandinsky2/vqgan/autoencoder.py``, class
``MOVQ``). Kandinsky 3's (ai-forever/Kandinsky-3, ``kandinsky3/movq.py``) wraps the encoder's norms in the
class that the decoder's have, and left the codebook away, which no pipeline looks into.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

import torch
from pydantic import JsonValue

from engines.conversion.component import (
    ConvertedComponent,
    Original,
    Table,
    View,
    as_linear,
    check_against,
    meta_shapes,
    rename,
)

MOVQ: Final = "the MoVQ of Kandinsky 2.1 or 3"

# Normalize() in both sources; diffusers' spatial norm has no other number either.
_NORM_GROUPS: Final = 32
# CONFIG_2_1: n_embed. Kandinsky 3's file has no codebook; diffusers stores one even so.
_CODES: Final = 16384
_CODEBOOK: Final = "quantize.embedding.weight"
# The discriminator and the perceptual loss, which a training run saves with the model.
_UNNEEDED: Final = "loss."

_NAMES: Final[Table] = (
    (r"^(encoder\..+)\.norm_layer\.", r"\1."),
    (r"\.(down|up)\.(\d+)\.block\.", r".\1_blocks.\2.resnets."),
    (r"\.(down|up)\.(\d+)\.attn\.", r".\1_blocks.\2.attentions."),
    (r"\.(down|up)\.(\d+)\.\1sample\.", r".\1_blocks.\2.\1samplers.0."),
    (r"\.mid\.attn_1\.", ".mid_block.attentions.0."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.norm_out\.", ".conv_norm_out."),
    (r"(^encoder\..+\.attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(^decoder\..+\.attentions\.\d+)\.norm\.", r"\1.spatial_norm."),
    (r"(\.attentions\.\d+)\.([qkv])\.", r"\1.to_\2."),
    (r"(\.attentions\.\d+)\.proj_out\.", r"\1.to_out.0."),
)

# 1x1 convolutions there, linear layers in diffusers.
_PROJECTION: Final = re.compile(r".+\.attentions\.\d+\.to_(q|k|v|out\.0)\.weight")


def movq(source: Mapping[str, torch.Tensor]) -> ConvertedComponent:
    """Convert movq_final.ckpt (Kandinsky 2.1) or movq.pt (Kandinsky 3).

    Raises:
        NotLoadable: tensors are missing, too many, or of unexpected shapes.
    """
    original = Original(source, MOVQ)
    levels = len(original.numbers(r"encoder\.down\.(\d+)\."))
    config = _config(original, levels)
    component = ConvertedComponent("VQModel", config, original.views(_converted(original, levels)))
    check_against(component, meta_shapes(component), MOVQ)
    return component


def _converted(original: Original, levels: int) -> Iterator[tuple[str, View]]:
    for name, tensor in original.tensors.items():
        if name.startswith(_UNNEEDED):
            continue
        target = rename(_outermost_last(name, levels), _NAMES)
        shape = tuple(tensor.shape)
        yield target, View(tensor, as_linear(shape) if _PROJECTION.fullmatch(target) else shape)
    if _CODEBOOK not in original.tensors:
        shape = (_CODES, original.shape("quant_conv.weight", 4)[0])
        yield _CODEBOOK, View(original.tensors["quant_conv.weight"].new_zeros(shape), shape)


def _config(original: Original, levels: int) -> dict[str, JsonValue]:
    attends_down = original.numbers(r"encoder\.down\.(\d+)\.attn\.")
    attends_up = original.numbers(r"decoder\.up\.(\d+)\.attn\.")
    codes = original.shape(_CODEBOOK, 2)[0] if _CODEBOOK in original.tensors else _CODES
    return {
        "in_channels": original.shape("encoder.conv_in.weight", 4)[1],
        "out_channels": original.shape("decoder.conv_out.weight", 4)[0],
        "latent_channels": original.shape("encoder.conv_out.weight", 4)[0],
        "block_out_channels": [
            original.shape(f"encoder.down.{level}.block.0.conv1.weight", 4)[0] for level in range(levels)
        ],
        "layers_per_block": len(original.numbers(r"encoder\.down\.0\.block\.(\d+)\.")),
        "down_block_types": [
            "AttnDownEncoderBlock2D" if level in attends_down else "DownEncoderBlock2D"
            for level in range(levels)
        ],
        "up_block_types": [
            "AttnUpDecoderBlock2D" if level in attends_up else "UpDecoderBlock2D"
            for level in reversed(range(levels))
        ],
        "num_vq_embeddings": codes,
        "vq_embed_dim": original.shape("quant_conv.weight", 4)[0],
        "norm_num_groups": _NORM_GROUPS,
        "norm_type": "spatial",
    }


def _outermost_last(name: str, levels: int) -> str:
    """Turn the numbers of the decoder's levels round: they count from the picture, diffusers' to it."""
    return re.sub(r"^decoder\.up\.(\d+)\.", lambda match: f"decoder.up.{levels - 1 - int(match[1])}.", name)
