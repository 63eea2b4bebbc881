"""Text encoders under the names of the files in which other programs keep whole models.

A tensor's name is what transformers saves; a text encoder alone (``CLIPTextModel``) is saved without the
``text_model.`` that these files have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor

State = dict[str, Tensor]

_OPEN_CLIP: Final = (
    ("text_model.embeddings.token_embedding.weight", "token_embedding.weight"),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.final_layer_norm.", "ln_final."),
    ("text_model.encoder.layers.", "transformer.resblocks."),
    (".self_attn.", ".attn."),
    (".layer_norm1.", ".ln_1."),
    (".layer_norm2.", ".ln_2."),
    (".mlp.fc1.", ".mlp.c_fc."),
    (".mlp.fc2.", ".mlp.c_proj."),
)


def clip(state: Mapping[str, Tensor]) -> State:
    """CLIP's text half as transformers named it before version 5."""
    loose = ("text_model.", "text_projection.")
    return {name if name.startswith(loose) else f"text_model.{name}": state[name] for name in state}


def open_clip(state: Mapping[str, Tensor]) -> State:
    """The text half of an OpenCLIP: queries, keys and values in one matrix, the projection transposed."""
    named = clip(state)
    found: State = {"logit_scale": torch.tensor(4.6)}
    for name, value in named.items():
        if ".q_proj." in name:
            parts = [named[name.replace(".q_proj.", f".{letter}_proj.")] for letter in "qkv"]
            found[_open_clip_name(name.replace(".q_proj.", ".in_proj_"))] = torch.cat(parts)
        elif name == "text_projection.weight":
            found["text_projection"] = value.T.contiguous()
        elif ".k_proj." not in name and ".v_proj." not in name:
            found[_open_clip_name(name)] = value
    return found


def _open_clip_name(name: str) -> str:
    for ours, theirs in _OPEN_CLIP:
        name = name.replace(ours, theirs)
    return name
