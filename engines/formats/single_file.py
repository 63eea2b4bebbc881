"""What a lone weight file is, told by the names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum, auto
from operator import methodcaller
from typing import Final

from engines.card import Family, Part
from engines.formats.tensor import Tensor
from engines.formats.weights import Weights

_PREFIXES: Final = ("model.diffusion_model.", "diffusion_model.", "module.", "unet.")
_OTHER_PARTS: Final = ("first_stage_model.", "cond_stage_model.", "conditioner.", "text_encoders.", "vae.")


class Kind(Enum):
    """What can be made of a file."""

    ORIGINAL = auto()
    """The main part of a model as first released: loadable, given its companions."""
    COMPANION = auto()
    """Another part of such a model."""
    COMPONENT = auto()
    """One component of a diffusers folder, out of its place."""
    CHECKPOINT = auto()
    """A model of which ``from_single_file`` of diffusers makes a pipeline."""
    ADDITION = auto()
    """Something that changes a model and is none."""


@dataclass(frozen=True)
class SingleFile:
    """What a file holds. ``family`` is ``None`` where several share the same tensors."""

    kind: Kind
    family: Family | None
    part: Part
    component: str
    class_name: str
    what: str


def _original(family: Family, part: Part, component: str, class_name: str, what: str) -> SingleFile:
    return SingleFile(Kind.ORIGINAL, family, part, component, class_name, f"{what} as first released")


def _companion(family: Family, component: str, class_name: str, what: str) -> SingleFile:
    part = Part.PRIOR if component == "prior" else Part.COMPONENT
    return SingleFile(Kind.COMPANION, family, part, component, class_name, f"{what} as first released")


def _component(family: Family | None, part: Part, component: str, class_name: str, what: str) -> SingleFile:
    return SingleFile(Kind.COMPONENT, family, part, component, class_name, f"{what} as diffusers stores it")


def _checkpoint(class_name: str, what: str) -> SingleFile:
    return SingleFile(Kind.CHECKPOINT, Family.DIFFUSERS, Part.WHOLE, "pipeline", class_name, what)


_UNET: Final = "UNet2DConditionModel"
_PRIOR: Final = "PriorTransformer"

# The first rule all of whose keys are there decides; keys that lie deeper in the network come first.
_RULES: Final[tuple[tuple[tuple[str, ...], SingleFile], ...]] = (
    (
        ("feature_pooling.attention.to_query.weight", "down_samples.0.resnet_attn_blocks.0.0."),
        _original(Family.KANDINSKY_3, Part.COMPONENT, "unet", "Kandinsky3UNet", "the UNet of Kandinsky 3"),
    ),
    (
        ("add_time_condition.attention.to_q.weight", "encoder_hid_proj.projection_linear.weight"),
        _component(Family.KANDINSKY_3, Part.COMPONENT, "unet", "Kandinsky3UNet", "the UNet of Kandinsky 3"),
    ),
    (
        (
            "visual_transformer_blocks.0.visual_modulation.out_layer.weight",
            "text_transformer_blocks.0.text_modulation.out_layer.weight",
        ),
        _original(
            Family.KANDINSKY_5,
            Part.COMPONENT,
            "transformer",
            "Kandinsky5Transformer3DModel",
            "the transformer of Kandinsky 5",
        ),
    ),
    (
        ("clip_to_seq.weight", "to_model_dim_n.weight", "input_blocks.0.0.weight"),
        _original(Family.KANDINSKY_2_1, Part.DECODER, "unet", _UNET, "the decoder's UNet of Kandinsky 2.1"),
    ),
    (
        ("model.clip_img_proj.weight", "model.prd_emb", "model.text_enc_proj.weight"),
        _companion(Family.KANDINSKY_2_1, "prior", _PRIOR, "the prior of Kandinsky 2.1"),
    ),
    (
        ("prd_embedding", "embedding_proj.weight", "proj_to_clip_embeddings.weight"),
        _component(None, Part.PRIOR, "prior", _PRIOR, "the prior of Kandinsky 2"),
    ),
    (
        ("encoder_hid_proj.image_embeds.weight", "add_embedding.text_proj.weight"),
        _component(Family.KANDINSKY_2_1, Part.DECODER, "unet", _UNET, "the decoder's UNet of Kandinsky 2.1"),
    ),
    (
        ("encoder_hid_proj.image_embeds.weight",),
        _component(Family.KANDINSKY_2_2, Part.DECODER, "unet", _UNET, "the decoder's UNet of Kandinsky 2.2"),
    ),
    (
        ("encoder.mid.block_1.norm1.norm_layer.weight", "decoder.mid.block_1.norm1.conv_y.weight"),
        _companion(Family.KANDINSKY_3, "movq", "VQModel", "the MoVQ of Kandinsky 3"),
    ),
    (
        ("decoder.mid.block_1.norm1.conv_y.weight", "quantize.embedding.weight"),
        _companion(Family.KANDINSKY_2_1, "movq", "VQModel", "the MoVQ of Kandinsky 2.1"),
    ),
    (
        ("decoder.mid_block.resnets.0.norm1.conv_y.weight", "quantize.embedding.weight"),
        _component(None, Part.COMPONENT, "movq", "VQModel", "a MoVQ of Kandinsky"),
    ),
    (
        ("conditioner.embedders.1.model.", "model.diffusion_model."),
        _checkpoint("StableDiffusionXLPipeline", "Stable Diffusion XL"),
    ),
    (
        ("cond_stage_model.model.", "model.diffusion_model."),
        _checkpoint("StableDiffusionPipeline", "Stable Diffusion 2"),
    ),
    (
        ("cond_stage_model.", "model.diffusion_model."),
        _checkpoint("StableDiffusionPipeline", "Stable Diffusion"),
    ),
    (
        ("joint_blocks.0.context_block.attn.qkv.weight", "joint_blocks.0.x_block.attn.qkv.weight"),
        _checkpoint("StableDiffusion3Pipeline", "Stable Diffusion 3"),
    ),
    (
        ("double_blocks.0.img_attn.qkv.weight", "single_blocks.0.linear1.weight"),
        _checkpoint("FluxPipeline", "Flux"),
    ),
)

# Too common as a part of other files' keys: these must be all there are.
_PROJECTION_KEYS: Final = frozenset({"0.weight", "1.weight", "1.bias"})
_PROJECTION: Final = _companion(
    Family.KANDINSKY_3, "projection", "Sequential", "the text projection of Kandinsky 3"
)
_STATS_KEYS: Final = frozenset({"0", "1"})
_STATS: Final = _companion(
    Family.KANDINSKY_2_1,
    "clip_stats",
    "tuple",
    "the mean and deviation of CLIP's embeddings of Kandinsky 2.1",
)

# Of these, more than one rule would fit parts; each is told by one key.
_LOOKALIKES: Final = (
    ("control_model.", "a ControlNet with its model: give the model's own file, or a diffusers folder"),
    ("conditioner.embedders.0.open_clip.", "a model that makes video, which is not served"),
    (
        "conditioner.embedders.0.model.ln_final.weight",
        "the refiner of Stable Diffusion XL, which improves pictures and draws none: give the base model",
    ),
    ("distilled_guidance_layer.", "Chroma, of which no single file is served: give a diffusers folder"),
    ("double_stream_modulation_img.", "Flux 2, of which no single file is served: give a diffusers folder"),
    ("early_stream_modulations.", "Flux 3, of which no single file is served: give a diffusers folder"),
)

# What people save beside their models, told by a piece of a key's name.
_ADDITIONS: Final = (
    (("lora_", ".lora.", "lora_A", "lora_B"), "a LoRA, which changes a model and is none"),
    (("hada_w1_a", "lokr_w"), "a LyCORIS, which changes a model and is none"),
    (("string_to_param", "emb_params"), "a textual inversion, which adds a word to a model and is none"),
    (
        ("controlnet_cond_embedding.", "controlnet_blocks.", "input_hint_block."),
        "a ControlNet, not a model",
    ),
    (("ip_adapter.", "image_proj."), "an IP-Adapter, not a model"),
    (("motion_modules.",), "a motion module, not a model"),
    (("text_model.encoder.layers.0.",), "a CLIP encoder alone, one part of a model"),
    (("visual.transformer.resblocks.0.",), "a CLIP as OpenAI released it, one part of a model"),
    (("encoder.block.0.layer.0.SelfAttention.",), "a T5 text encoder alone, one part of a model"),
    (
        ("decoder.mid.attn_1.q.", "decoder.mid_block.attentions.0."),
        "an autoencoder alone, one part of a model",
    ),
    (("input_blocks.0.0.",), "a UNet alone, one part of a model: give the whole model's file"),
    (("transformer_blocks.0.", "down_blocks.0."), "a denoiser as diffusers stores it, one part of a model"),
)

# The size of the CLIP image embedding tells the two apart: ViT-L in 2.1, ViT-bigG in 2.2.
_PRIORS: Final = {768: Family.KANDINSKY_2_1, 1280: Family.KANDINSKY_2_2}


def recognise(weights: Weights) -> SingleFile | None:
    """Tell what a file is, or ``None`` where no rule fits. A key ending in a dot is a prefix."""
    tensors = bare(weights.tensors)
    for key, what in _LOOKALIKES:
        if _has(tensors, key):
            return _addition(what)
    for keys, found in _RULES:
        if all(_has(tensors, key) for key in keys):
            return _with_family(found, tensors)
    for only, found in ((_PROJECTION_KEYS, _PROJECTION), (_STATS_KEYS, _STATS)):
        if only == set(tensors):
            return found
    # One text of all names: a piece of a name has no line's end in it.
    names = "\n".join((*tensors, *weights.beside))
    for pieces, what in _ADDITIONS:
        if any(piece in names for piece in pieces):
            return _addition(what)
    return None


def _addition(what: str) -> SingleFile:
    return SingleFile(Kind.ADDITION, None, Part.COMPONENT, "addition", "", what)


def prefix_of(names: Mapping[str, object]) -> str:
    """The prefix that a trainer's wrapper gave to most names.

    A whole Stable Diffusion or Flux keeps its own: its other parts lie beside the denoiser.
    """
    if any(map(methodcaller("startswith", _OTHER_PARTS), names)):
        return ""
    most = len(names) / 2
    counted = ((each, sum(map(methodcaller("startswith", each), names))) for each in _PREFIXES)
    return next((each for each, count in counted if count > most), "")


def bare(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The tensors by their names without such a prefix."""
    prefix = prefix_of(tensors)
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()} if prefix else tensors


def input_channels(weights: Weights) -> int | None:
    """Of the first layer of a Kandinsky's denoiser: nine where it was made to inpaint."""
    tensors = bare(weights.tensors)
    first = (tensors.get(name) for name in ("in_layer.weight", "input_blocks.0.0.weight", "conv_in.weight"))
    return next((tensor.shape[1] for tensor in first if tensor is not None and len(tensor.shape) == 4), None)


def _has(tensors: Mapping[str, Tensor], key: str) -> bool:
    if key.endswith("."):
        return any(map(methodcaller("startswith", key), tensors))
    return key in tensors or _PREFIXES[0] + key in tensors


def _with_family(found: SingleFile, tensors: Mapping[str, Tensor]) -> SingleFile:
    mean = tensors.get("clip_mean")
    if found.family is not None or found.component != "prior" or mean is None or not mean.shape:
        return found
    return replace(found, family=_PRIORS.get(mean.shape[-1]))
