"""The text encoder of Kandinsky 2.1: a multilingual CLIP, whose names of tensors are diffusers' too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from pydantic import JsonValue

from engines.conversion.component import ConvertedComponent, Original, check_against

# XLM-RoBERTa's heads. Source: its configuration.
_HEAD_CHANNELS: Final = 64
_STATED: Final = ("num_attention_heads", "layer_norm_eps", "hidden_act", "bos_token_id", "pad_token_id")
"""What shapes cannot tell and a configuration may."""
_WHAT: Final = "the multilingual CLIP of Kandinsky 2.1"


def text_encoder(source: Mapping[str, torch.Tensor], stated: Mapping[str, JsonValue]) -> ConvertedComponent:
    """Find the configuration that the tensors are of.

    ``stated`` is the config.json beside the original, of which only is used what shapes cannot tell: it may
    be that of XLM-RoBERTa, or name nothing but the model's base.

    Raises:
        NotLoadable: tensors are missing, too many, or of the wrong shape.
    """
    tensors = {name: value for name, value in source.items() if not name.endswith(".position_ids")}
    told = {name: stated[name] for name in _STATED if name in stated}
    component = ConvertedComponent("MultilingualCLIP", _config(Original(tensors, _WHAT)) | told, tensors)
    check_against(component, _meta_shapes(component), _WHAT)
    return component


def _config(source: Original) -> dict[str, JsonValue]:
    vocabulary, width = source.shape("transformer.embeddings.word_embeddings.weight", 2)
    embedding, _ = source.shape("LinearTransformation.weight", 2)
    return {
        "architectures": ["MultilingualCLIP"],
        "model_type": "M-CLIP",
        "transformerDimSize": width,
        "imageDimSize": embedding,
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": len(source.numbers(r"transformer\.encoder\.layer\.(\d+)\.")),
        "num_attention_heads": max(1, width // _HEAD_CHANNELS),
        "intermediate_size": source.shape("transformer.encoder.layer.0.intermediate.dense.weight", 2)[0],
        "max_position_embeddings": source.shape("transformer.embeddings.position_embeddings.weight", 2)[0],
        "type_vocab_size": source.shape("transformer.embeddings.token_type_embeddings.weight", 2)[0],
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
        "layer_norm_eps": 1e-5,
    }


def _meta_shapes(component: ConvertedComponent) -> dict[str, tuple[int, ...]]:
    from diffusers.pipelines.kandinsky.text_encoder import MCLIPConfig, MultilingualCLIP

    # Neither declares types.
    make: Any = MultilingualCLIP
    configure: Any = MCLIPConfig
    with torch.device("meta"):
        model = make(configure(**component.config))
    return {
        name: tuple(tensor.shape)
        for name, tensor in model.state_dict().items()
        if not name.endswith(".position_ids")
    }
