"""The decoder's UNet and the prior of Kandinsky 2.1 as first released, for diffusers.

The names come from ai-forever/Kandinsky-2 (``kandinsky2/model/text2im_model2_1.py``, ``unet.py`` and
``prior.py``), the released sizes from its ``configs.py`` (``CONFIG_2_1``). Both networks keep query, key
and value of an attention in one matrix, whose rows are ordered by head: the rows of head 0's query, key
and value, then head 1's. diffusers has a matrix for each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import Final

import torch
from pydantic import JsonValue

from engines.conversion.component import (
    ConvertedComponent,
    Original,
    Shape,
    Table,
    View,
    as_linear,
    check_against,
    meta_shapes,
    rename,
)

UNET: Final = "the UNet of Kandinsky 2.1"
PRIOR: Final = "the prior of Kandinsky 2.1"

# What no shape tells. CONFIG_2_1: num_head_channels of the UNet, xf_width / xf_heads of the prior.
_HEAD_CHANNELS: Final = 64
# unet.py and nn.py: GroupNorm32 everywhere, with torch's own epsilon.
_NORM_GROUPS: Final = 32
_NORM_EPSILON: Final = 1e-5
# CONFIG_2_1: image_size, in latent pixels.
_SAMPLE_SIZE: Final = 64
# prior.py: ext_len. The text's embedding, the time, the noised image embedding and the token that answers.
_ADDED_TOKENS: Final = 4

_SPLIT: Final = {
    ".qkv.": (".to_q.", ".to_k.", ".to_v."),
    ".encoder_kv.": (".add_k_proj.", ".add_v_proj."),
}

_UNET_NAMES: Final[Table] = (
    (r"^time_embed\.0\.", "time_embedding.linear_1."),
    (r"^time_embed\.2\.", "time_embedding.linear_2."),
    (r"^clip_to_seq\.", "encoder_hid_proj.image_embeds."),
    (r"^to_model_dim_n\.", "encoder_hid_proj.text_proj."),
    (r"^proj_n\.", "add_embedding.text_proj."),
    (r"^ln_model_n\.", "add_embedding.text_norm."),
    (r"^img_layer\.", "add_embedding.image_proj."),
    (r"^input_blocks\.0\.0\.", "conv_in."),
    (r"^out\.0\.", "conv_norm_out."),
    (r"^out\.2\.", "conv_out."),
    (r"^middle_block\.0\.", "mid_block.resnets.0."),
    (r"^middle_block\.1\.", "mid_block.attentions.0."),
    (r"^middle_block\.2\.", "mid_block.resnets.1."),
    (r"\.in_layers\.0\.", ".norm1."),
    (r"\.in_layers\.2\.", ".conv1."),
    (r"\.emb_layers\.1\.", ".time_emb_proj."),
    (r"\.out_layers\.0\.", ".norm2."),
    (r"\.out_layers\.3\.", ".conv2."),
    (r"\.skip_connection\.", ".conv_shortcut."),
    (r"(\.attentions\.\d+)\.norm\.", r"\1.group_norm."),
    (r"(\.attentions\.\d+)\.proj_out\.", r"\1.to_out.0."),
)

_BLOCK: Final = re.compile(r"(input|output)_blocks\.(\d+)\.(\d+)\.((?:norm|qkv|encoder_kv|proj_out)\.)?(.*)")

_PRIOR_NAMES: Final[Table] = (
    (r"^model\.", ""),
    (r"^time_embed\.0\.", "time_embedding.linear_1."),
    (r"^time_embed\.2\.", "time_embedding.linear_2."),
    (r"^clip_img_proj\.", "proj_in."),
    (r"^text_emb_proj\.", "embedding_proj."),
    (r"^text_enc_proj\.", "encoder_hidden_states_proj."),
    (r"^out_proj\.", "proj_to_clip_embeddings."),
    (r"^final_ln\.", "norm_out."),
    (r"^prd_emb$", "prd_embedding"),
    (r"^transformer\.resblocks\.", "transformer_blocks."),
    (r"\.attn\.c_qkv\.", ".attn1.qkv."),
    (r"\.attn\.c_proj\.", ".attn1.to_out.0."),
    (r"\.mlp\.c_fc\.", ".ff.net.0.proj."),
    (r"\.mlp\.c_proj\.", ".ff.net.2."),
    (r"\.ln_1\.", ".norm1."),
    (r"\.ln_2\.", ".norm3."),
)

# PriorDiffusionModel's buffers, which some versions of it saved and none reads back (strict=False).
_PRIOR_BUFFERS: Final = frozenset({"clip_mean", "clip_std", "causal_mask", "cf_token", "cf_mask"})


def unet(source: Mapping[str, torch.Tensor]) -> ConvertedComponent:
    """Convert decoder_fp16.ckpt, or inpainting_fp16.ckpt with its nine input channels.

    Raises:
        NotLoadable: tensors are missing, too many, or of unexpected shapes.
    """
    original = Original(source, UNET)
    layout = _layout(original)
    config = _unet_config(original, layout)
    views = original.views(
        pair
        for name in source
        for pair in _converted(original, name, rename(_placed(name, layout.layers), _UNET_NAMES))
    )
    component = ConvertedComponent("UNet2DConditionModel", config, views)
    check_against(component, meta_shapes(component), UNET)
    return component


def prior(
    source: Mapping[str, torch.Tensor], clip_mean: torch.Tensor, clip_std: torch.Tensor
) -> ConvertedComponent:
    """Convert prior_fp16.ckpt, and the two tensors of ViT-L-14_stats.th, each of CLIP's dimension.

    Raises:
        NotLoadable: tensors are missing, too many, or of unexpected shapes.
    """
    original = Original(source, PRIOR)
    config = _prior_config(original)
    statistics = {"clip_mean": clip_mean, "clip_std": clip_std}
    views = original.views(
        chain(
            (
                pair
                for name in source
                if name not in _PRIOR_BUFFERS
                for pair in _converted(original, name, rename(name, _PRIOR_NAMES))
            ),
            ((name, View(tensor, (1, tensor.numel()))) for name, tensor in statistics.items()),
        )
    )
    component = ConvertedComponent("PriorTransformer", config, views)
    check_against(component, meta_shapes(component), PRIOR)
    return component


@dataclass(frozen=True)
class _Layout:
    """How the UNet's numbered blocks fall into levels.

    ``channels`` are each level's; ``down`` and ``up`` say of each level, from the outermost and from the
    innermost, whether it has attention.
    """

    layers: int
    channels: tuple[int, ...]
    down: tuple[bool, ...]
    up: tuple[bool, ...]


def _layout(original: Original) -> _Layout:
    """Find the levels: every one but the outermost ends, on the way up, in a second residual block."""
    outputs = original.numbers(r"output_blocks\.(\d+)\.")
    levels = 1 + len(original.numbers(r"output_blocks\.(\d+)\.[12]\.in_layers\.0\.weight"))
    blocks, odd = divmod(len(outputs), levels)
    if odd or blocks < 2:
        raise original.unfit(
            f"the file lacks blocks of {original.what}: it holds {len(outputs)} output blocks, "
            f"which {levels} levels cannot share evenly"
        )
    firsts = [level * blocks for level in range(levels)]
    return _Layout(
        layers=blocks - 1,
        channels=tuple(
            original.shape(f"input_blocks.{1 + first}.0.in_layers.2.weight", 4)[0] for first in firsts
        ),
        down=tuple(f"input_blocks.{1 + first}.1.qkv.weight" in original.tensors for first in firsts),
        up=tuple(f"output_blocks.{first}.1.qkv.weight" in original.tensors for first in firsts),
    )


def _unet_config(original: Original, layout: _Layout) -> dict[str, JsonValue]:
    cross_attention, text = original.shape("to_model_dim_n.weight", 2)
    return {
        "sample_size": _SAMPLE_SIZE,
        "in_channels": original.shape("input_blocks.0.0.weight", 4)[1],
        "out_channels": original.shape("out.2.weight", 4)[0],
        "block_out_channels": [*layout.channels],
        "layers_per_block": layout.layers,
        "down_block_types": [
            "SimpleCrossAttnDownBlock2D" if attends else "ResnetDownsampleBlock2D" for attends in layout.down
        ],
        "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
        "up_block_types": [
            "SimpleCrossAttnUpBlock2D" if attends else "ResnetUpsampleBlock2D" for attends in layout.up
        ],
        "attention_head_dim": _HEAD_CHANNELS,
        "cross_attention_dim": cross_attention,
        "encoder_hid_dim": text,
        "encoder_hid_dim_type": "text_image_proj",
        "addition_embed_type": "text_image",
        "resnet_time_scale_shift": "scale_shift",
        "norm_num_groups": _NORM_GROUPS,
        "norm_eps": _NORM_EPSILON,
    }


def _prior_config(original: Original) -> dict[str, JsonValue]:
    prefix = "model." if "model.clip_img_proj.weight" in original.tensors else ""
    width, embedding = original.shape(f"{prefix}clip_img_proj.weight", 2)
    if width % _HEAD_CHANNELS:
        raise original.unfit(_odd_heads(original.what, f"{prefix}clip_img_proj.weight", width))
    return {
        "num_attention_heads": width // _HEAD_CHANNELS,
        "attention_head_dim": _HEAD_CHANNELS,
        "num_layers": len(original.numbers(rf"{re.escape(prefix)}transformer\.resblocks\.(\d+)\.")),
        "embedding_dim": embedding,
        "num_embeddings": original.shape(f"{prefix}positional_embedding", 3)[1] - _ADDED_TOKENS,
        "additional_embeddings": _ADDED_TOKENS,
    }


def _placed(name: str, layers: int) -> str:
    """Give a numbered block its level and its number there; other names stay as they are."""
    match = _BLOCK.fullmatch(name)
    if match is None or name.startswith("input_blocks.0."):
        return name
    side, number, position, attention, rest = match.groups(default="")
    way = "down" if side == "input" else "up"
    level, index = divmod(int(number) - (way == "down"), layers + 1)
    if attention:
        return f"{way}_blocks.{level}.attentions.{index}.{attention}{rest}"
    if way == "down" and index == layers:
        return f"{way}_blocks.{level}.downsamplers.0.{rest}"
    if position != "0":
        return f"{way}_blocks.{level}.{way}samplers.0.{rest}"
    return f"{way}_blocks.{level}.resnets.{index}.{rest}"


def _converted(original: Original, name: str, target: str) -> Iterator[tuple[str, View]]:
    """Give the tensors of diffusers' that the tensor ``name`` becomes, ``target`` being its new name."""
    tensor = original.tensors[name]
    shape = tuple(tensor.shape)
    if ".attentions." in target:
        shape = as_linear(shape)
    for marker, parts in _SPLIT.items():
        if marker in target:
            views = _by_head(original, name, shape, len(parts))
            yield from ((target.replace(marker, part), view) for part, view in zip(parts, views, strict=True))
            return
    yield target, View(tensor, shape)


def _by_head(original: Original, name: str, shape: Shape, parts: int) -> list[View]:
    """Take apart (heads x parts x channels, ...) rows into ``parts`` tensors of (heads x channels, ...)."""
    rows, *rest = shape
    heads, odd = divmod(rows, parts * _HEAD_CHANNELS)
    if odd:
        raise original.unfit(_odd_heads(original.what, name, rows // parts))
    by_head = original.tensors[name].reshape(heads, parts, _HEAD_CHANNELS, *rest)
    return [View(by_head[:, part], (heads * _HEAD_CHANNELS, *rest)) for part in range(parts)]


def _odd_heads(what: str, name: str, channels: int) -> str:
    return f"{name} of {what} has {channels} channels, which are no whole heads of {_HEAD_CHANNELS}"


SCHEDULER: Final[Mapping[str, JsonValue]] = MappingProxyType(
    {
        "num_train_timesteps": 1000,
        "beta_schedule": "linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "prediction_type": "epsilon",
        "thresholding": False,
    }
)
PRIOR_SCHEDULER: Final[Mapping[str, JsonValue]] = MappingProxyType(
    {
        "num_train_timesteps": 1000,
        "variance_type": "fixed_small_log",
        "prediction_type": "sample",
        "clip_sample": True,
        "clip_sample_range": 10.0,
    }
)
