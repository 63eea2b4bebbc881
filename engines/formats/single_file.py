"""What a lone weight file is, told by the names and shapes of its tensors.

No single file holds all that text to image needs, save Stable Diffusion's: of Kandinsky 3 the text
encoder alone is three quarters of the weights, and it is never in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from engines.card import CheckpointFormat, Family, Part
from engines.formats.tensor import Tensor
from engines.formats.weights import Weights

_PREFIXES: Final = ("model.diffusion_model.", "diffusion_model.", "module.", "unet.")


@dataclass(frozen=True)
class SingleFile:
    """What a file holds. ``family`` is ``None`` where several share the same tensors.

    ``missing`` are the parts that text to image needs beside it.
    """

    family: Family | None
    part: Part
    component: str
    class_name: str
    what: str
    missing: tuple[str, ...]


_REST_OF_3: Final = ("the T5 text encoder", "the tokenizer", "the MoVQ decoder", "the scheduler")
_REST_OF_2: Final = ("the prior", "the text encoder", "the tokenizer", "the MoVQ decoder", "the scheduler")
_DECODER_OF_2: Final = ("the decoder's UNet", "the MoVQ decoder", "the scheduler")
_REST_OF_5: Final = ("the Qwen2.5-VL and CLIP text encoders", "their tokenizers", "the VAE", "the scheduler")
_PIPELINE: Final = ("the rest of the pipeline",)
_TOKENIZERS: Final = ("the tokenizer", "the scheduler's settings")

# The first rule all of whose keys are there decides; keys that lie deeper in the network come first.
_RULES: Final[tuple[tuple[tuple[str, ...], SingleFile], ...]] = (
    (
        ("feature_pooling.attention.to_query.weight", "down_samples.0.resnet_attn_blocks.0.0."),
        SingleFile(
            Family.KANDINSKY_3,
            Part.COMPONENT,
            "unet",
            "Kandinsky3UNet",
            "the UNet of Kandinsky 3 as first released",
            (*_REST_OF_3, "the text projection (projection.pt)"),
        ),
    ),
    (
        ("add_time_condition.attention.to_q.weight", "encoder_hid_proj.projection_linear.weight"),
        SingleFile(
            Family.KANDINSKY_3,
            Part.COMPONENT,
            "unet",
            "Kandinsky3UNet",
            "the UNet of Kandinsky 3",
            _REST_OF_3,
        ),
    ),
    (
        (
            "visual_transformer_blocks.0.visual_modulation.out_layer.weight",
            "text_transformer_blocks.0.text_modulation.out_layer.weight",
        ),
        SingleFile(
            Family.KANDINSKY_5,
            Part.COMPONENT,
            "transformer",
            "Kandinsky5Transformer3DModel",
            "the transformer of Kandinsky 5",
            _REST_OF_5,
        ),
    ),
    (
        ("clip_to_seq.weight", "to_model_dim_n.weight", "input_blocks.0.0.weight"),
        SingleFile(
            Family.KANDINSKY_2_1,
            Part.DECODER,
            "unet",
            "UNet2DConditionModel",
            "the decoder's UNet of Kandinsky 2.1 as first released",
            _REST_OF_2,
        ),
    ),
    (
        ("model.clip_img_proj.weight", "model.prd_emb", "model.text_enc_proj.weight"),
        SingleFile(
            Family.KANDINSKY_2_1,
            Part.PRIOR,
            "prior",
            "PriorTransformer",
            "the prior of Kandinsky 2.1 as first released",
            _DECODER_OF_2,
        ),
    ),
    (
        ("prd_embedding", "embedding_proj.weight", "proj_to_clip_embeddings.weight"),
        SingleFile(None, Part.PRIOR, "prior", "PriorTransformer", "the prior of Kandinsky 2", _DECODER_OF_2),
    ),
    (
        ("encoder_hid_proj.image_embeds.weight", "add_embedding.text_proj.weight"),
        SingleFile(
            Family.KANDINSKY_2_1,
            Part.DECODER,
            "unet",
            "UNet2DConditionModel",
            "the decoder's UNet of Kandinsky 2.1",
            _REST_OF_2,
        ),
    ),
    (
        ("encoder_hid_proj.image_embeds.weight",),
        SingleFile(
            Family.KANDINSKY_2_2,
            Part.DECODER,
            "unet",
            "UNet2DConditionModel",
            "the decoder's UNet of Kandinsky 2.2",
            _REST_OF_2,
        ),
    ),
    (
        ("encoder.mid.block_1.norm1.norm_layer.weight", "decoder.mid.block_1.norm1.conv_y.weight"),
        SingleFile(
            Family.KANDINSKY_3,
            Part.COMPONENT,
            "movq",
            "VQModel",
            "the MoVQ decoder of Kandinsky 3 as first released",
            _PIPELINE,
        ),
    ),
    (
        ("decoder.mid.block_1.norm1.conv_y.weight", "quantize.embedding.weight"),
        SingleFile(
            Family.KANDINSKY_2_1,
            Part.COMPONENT,
            "movq",
            "VQModel",
            "the MoVQ decoder of Kandinsky 2.1 as first released",
            _PIPELINE,
        ),
    ),
    (
        ("decoder.mid_block.resnets.0.norm1.conv_y.weight", "quantize.embedding.weight"),
        SingleFile(None, Part.COMPONENT, "movq", "VQModel", "a MoVQ decoder of Kandinsky", _PIPELINE),
    ),
    (
        ("conditioner.embedders.1.model.ln_final.weight", "first_stage_model.decoder.conv_in.weight"),
        SingleFile(
            Family.DIFFUSERS,
            Part.WHOLE,
            "pipeline",
            "StableDiffusionXLPipeline",
            "Stable Diffusion XL",
            _TOKENIZERS,
        ),
    ),
    (
        ("cond_stage_model.", "first_stage_model.decoder.conv_in.weight"),
        SingleFile(
            Family.DIFFUSERS,
            Part.WHOLE,
            "pipeline",
            "StableDiffusionPipeline",
            "Stable Diffusion",
            _TOKENIZERS,
        ),
    ),
    (
        ("double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight"),
        SingleFile(
            Family.DIFFUSERS,
            Part.COMPONENT,
            "transformer",
            "FluxTransformer2DModel",
            "the transformer of Flux",
            ("the text encoders", "the tokenizers", "the VAE", "the scheduler"),
        ),
    ),
)

# The size of the CLIP image embedding tells the two apart: ViT-L in 2.1, ViT-bigG in 2.2.
_PRIORS: Final = {768: Family.KANDINSKY_2_1, 1280: Family.KANDINSKY_2_2}


def recognise(weights: Weights) -> SingleFile | None:
    """Tell what a file is, or ``None`` where no rule fits. A key ending in a dot is a prefix."""
    tensors = _stripped(weights.tensors)
    for keys, found in _RULES:
        if all(_has(tensors, key) for key in keys):
            return _with_family(found, tensors)
    return None


def reason(found: SingleFile, file_format: CheckpointFormat) -> str:
    """Why such a file is not loaded, what it lacks, and what to give instead."""
    return (
        f"this single {file_format.value} holds {found.what} and needs "
        f"{', '.join(found.missing)}; give a diffusers folder (one with model_index.json) instead"
    )


def _has(tensors: Mapping[str, Tensor], key: str) -> bool:
    return any(name.startswith(key) for name in tensors) if key.endswith(".") else key in tensors


def _stripped(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Without the prefix that a trainer's wrapper gave to most names.

    A whole Stable Diffusion keeps its own: its other parts lie beside the UNet.
    """
    if any(name.startswith("first_stage_model.") for name in tensors):
        return tensors
    for prefix in _PREFIXES:
        if sum(name.startswith(prefix) for name in tensors) > len(tensors) / 2:
            return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def _with_family(found: SingleFile, tensors: Mapping[str, Tensor]) -> SingleFile:
    mean = tensors.get("clip_mean")
    if found.family is not None or found.component != "prior" or mean is None or not mean.shape:
        return found
    family = _PRIORS.get(mean.shape[-1])
    return SingleFile(family, found.part, found.component, found.class_name, found.what, found.missing)
