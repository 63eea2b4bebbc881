"""The components in a single checkpoint: where files keep each, and how diffusers is to read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import Final

from engines.card import Component
from engines.errors import NotLoadable
from engines.formats import single_file, weights
from engines.formats.tensor import WIDTHS, Tensor

DENOISER: Final = "model.diffusion_model."
"""What the names of a whole model's UNet or transformer begin with."""

_DTYPES: Final = MappingProxyType(
    {
        "float32": "float32",
        "float16": "float16",
        "bfloat16": "bfloat16",
        "float64": "float32",
        # Only to keep, not to compute in: every value of these is one of bfloat16, too.
        "float8_e4m3fn": "bfloat16",
        "float8_e5m2": "bfloat16",
    }
)
"""In what type weights are written to the cache, by the file's."""

# What the quantisations of ComfyUI, bitsandbytes and others put beside a weight.
_QUANTISED: Final = (
    "scaled_fp8",
    ".scale_weight",
    ".weight_scale",
    ".scale_input",
    ".input_scale",
    ".comfy_quant",
    ".absmax",
    ".quant_map",
    ".weight_quantizer",
)


@dataclass(frozen=True)
class Place:
    """Where a file keeps a component.

    ``prefix`` is what the names of its tensors begin with, and ``read_as`` what diffusers is given instead.
    Of ``keys`` (behind the prefix) diffusers must see one to find the component; ``classes`` are those it
    can make of the tensors.
    """

    prefix: str
    read_as: str
    keys: tuple[str, ...]
    classes: tuple[str, ...]


_CLIP_KEY: Final = "transformer.text_model.embeddings.position_embedding.weight"
_CLIP: Final = ("CLIPTextModel",)
_CLIP_PROJECTED: Final = ("CLIPTextModelWithProjection",)
_T5: Final = ("T5EncoderModel",)


def _place(
    prefix: str, keys: tuple[str, ...], classes: tuple[str, ...], *, read_as: str | None = None
) -> Place:
    return Place(prefix, read_as or prefix, keys, classes)


_UNET: Final = _place(DENOISER, ("input_blocks.0.0.weight",), ("UNet2DConditionModel",))
_VAE: Final = _place("first_stage_model.", ("decoder.conv_in.weight",), ("AutoencoderKL",))
_T5XXL: Final = _place("text_encoders.t5xxl.", ("transformer.shared.weight",), _T5)

_STABLE_DIFFUSION: Final = {
    "unet": _UNET,
    "vae": _VAE,
    "text_encoder": _place("cond_stage_model.", (_CLIP_KEY, "model.token_embedding.weight"), _CLIP),
}
_STABLE_DIFFUSION_XL: Final = {
    "unet": _UNET,
    "vae": _VAE,
    # By its own name diffusers tells it from the second one only where their widths differ.
    "text_encoder": _place("conditioner.embedders.0.", (_CLIP_KEY,), _CLIP, read_as="cond_stage_model."),
    "text_encoder_2": _place("conditioner.embedders.1.", ("model.positional_embedding",), _CLIP_PROJECTED),
}
_STABLE_DIFFUSION_3: Final = {
    "transformer": _place(DENOISER, ("joint_blocks.0.x_block.attn.qkv.weight",), ("SD3Transformer2DModel",)),
    "vae": _VAE,
    "text_encoder": _place("text_encoders.clip_l.", (_CLIP_KEY,), _CLIP_PROJECTED),
    "text_encoder_2": _place("text_encoders.clip_g.", (_CLIP_KEY,), _CLIP_PROJECTED),
    "text_encoder_3": _T5XXL,
}
_FLUX: Final = {
    "transformer": _place(DENOISER, ("double_blocks.0.img_attn.qkv.weight",), ("FluxTransformer2DModel",)),
    "vae": _place("vae.", ("decoder.conv_in.weight",), ("AutoencoderKL",)),
    "text_encoder": _place("text_encoders.clip_l.", (_CLIP_KEY,), _CLIP),
    "text_encoder_2": _T5XXL,
}
PLACES: Final[Mapping[str, Mapping[str, Place]]] = MappingProxyType(
    {
        "StableDiffusionPipeline": _STABLE_DIFFUSION,
        "StableDiffusionInpaintPipeline": _STABLE_DIFFUSION,
        "StableDiffusionXLPipeline": _STABLE_DIFFUSION_XL,
        "StableDiffusionXLInpaintPipeline": _STABLE_DIFFUSION_XL,
        "StableDiffusion3Pipeline": _STABLE_DIFFUSION_3,
        "FluxPipeline": _FLUX,
        "FluxFillPipeline": _FLUX,
    }
)
"""By pipeline class and component; the denoiser comes first."""


def names_by_component(class_name: str, names: Iterable[str]) -> dict[str, dict[str, str]]:
    """The names of each component's tensors, and those under which diffusers is to read them.

    A denoiser alone in a file has no prefix, or a trainer's: all that is no other component's is its.
    """
    listed = list(names)
    places = PLACES[class_name]
    denoiser = next(iter(places))
    bare = not any(name.startswith(DENOISER) for name in listed)
    trainer = single_file.prefix_of(dict.fromkeys(listed)) if bare else ""
    found: dict[str, dict[str, str]] = {component: {} for component in places}
    for name in listed:
        component = next((each for each, place in places.items() if name.startswith(place.prefix)), None)
        if component is not None:
            place = places[component]
            found[component][name] = place.read_as + name.removeprefix(place.prefix)
        elif bare:
            found[denoiser][name] = DENOISER + name.removeprefix(trainer)
    return {component: pairs for component, pairs in found.items() if pairs}


def denoiser_in(class_name: str, stored: weights.Weights) -> dict[str, Tensor]:
    """The tensors of the UNet or transformer by their names without a prefix."""
    pairs = names_by_component(class_name, stored.tensors)[next(iter(PLACES[class_name]))]
    return {name.removeprefix(DENOISER): stored.tensors[stored_as] for stored_as, name in pairs.items()}


def held_by(class_name: str, stored: weights.Weights) -> dict[str, Component]:
    """The components in a file, without their classes: ``size`` and ``dtype`` are those in the cache.

    Raises:
        NotLoadable: a component is quantised, or has names that diffusers does not read.
    """
    held = {}
    for name, pairs in names_by_component(class_name, stored.tensors).items():
        place = PLACES[class_name][name]
        if not any(place.read_as + key in pairs.values() for key in place.keys):
            reason = f"the {name} in the file has names that diffusers does not read (no {place.keys[0]})"
            raise NotLoadable(name, f"{reason}: give the file as first released, or a diffusers folder")
        tensors = [stored.tensors[each] for each in pairs]
        dtype = _written(name, pairs, tensors)
        size = sum(prod(tensor.shape) for tensor in tensors) * WIDTHS[dtype]
        held[name] = Component(name=name, library="", class_name="", size=size, dtype=dtype)
    return held


def _written(component: str, names: Iterable[str], tensors: Iterable[Tensor]) -> str:
    """The type in which a component is written."""
    stored = weights.main_dtype((tensor.dtype, tensor.size) for tensor in tensors)
    found = _DTYPES.get(stored or "")
    if found is None or any(name.endswith(_QUANTISED) for name in names):
        kind = stored if found is None else f"{stored} with scales of its own"
        reason = (
            f"the {component} in the file is quantised ({kind}), which diffusers does not read from a file"
        )
        raise NotLoadable(component, f"{reason}: give the file in float16, bfloat16 or plain float8")
    return found
