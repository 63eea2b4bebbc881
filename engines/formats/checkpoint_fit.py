"""Whether a folder's configuration is that of the model in a single checkpoint, told by a few sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from engines.errors import NotLoadable
from engines.formats.tensor import Tensor

Tensors = Mapping[str, Tensor]
"""Of a denoiser, by their names without a prefix."""

_UNET_IN: Final = "input_blocks.0.0.weight"
_UNET_OUT: Final = "out.2.weight"
_FLUX_IN: Final = "img_in.weight"
_FLUX_OUT: Final = "final_layer.linear.weight"

_INPAINTING: Final = MappingProxyType(
    {
        "StableDiffusionPipeline": "StableDiffusionInpaintPipeline",
        "StableDiffusionXLPipeline": "StableDiffusionXLInpaintPipeline",
        "FluxPipeline": "FluxFillPipeline",
    }
)
# What a UNet is that takes so many channels more than the picture's latents have.
_OTHER_UNETS: Final = MappingProxyType(
    {
        1: "made to draw after a depth map",
        3: "an upscaler",
        4: "made to edit by instruction (InstructPix2Pix)",
    }
)
_MASKED: Final = 5
"""The latents of the picture below the mask, and the mask."""


def class_for(class_name: str, tensors: Tensors, what: str) -> str:
    """The pipeline class for a denoiser: another one where it was made to inpaint.

    ``what`` is the model in words.

    Raises:
        NotLoadable: it was made for something that is not served from a single file.
    """
    if class_name == "StableDiffusion3Pipeline":
        return class_name
    other: str | None = None
    if class_name == "FluxPipeline":
        inputs, outputs = _edge(tensors, _FLUX_IN, 1), _edge(tensors, _FLUX_OUT, 0)
        # Fill: the picture below the mask, and the mask in all its pixels (64, 64 and 256 for a patch).
        fills = inputs == 6 * outputs
        other = "made to draw after a control image" if inputs == 2 * outputs else None
    else:
        inputs, outputs = _edge(tensors, _UNET_IN, 1), _edge(tensors, _UNET_OUT, 0)
        fills = inputs == outputs + _MASKED
        other = _OTHER_UNETS.get(inputs - outputs)
    if inputs == outputs:
        return class_name
    if fills:
        return _INPAINTING[class_name]
    words = other or f"of {inputs} input channels"
    raise NotLoadable(
        what, f"this is a {what} {words}: of these no single file is served, give a diffusers folder"
    )


def misfit(class_name: str, config: Mapping[str, Any], tensors: Tensors) -> str | None:
    """What of a denoiser's configuration is not so in the file, in words."""
    kind = next(kind for kind in _SIZES if class_name.startswith(kind))
    for key, measure in _SIZES[kind].items():
        stored, wanted = measure(tensors), config.get(key)
        if wanted is not None and stored is not None and wanted != stored:
            return f"{key} is {wanted} there and {stored} in the file"
    return None


def _edge(tensors: Tensors, name: str, axis: int) -> int:
    tensor = tensors.get(name)
    if tensor is None or len(tensor.shape) <= axis:
        raise NotLoadable(name, f"the file lacks {name}, a tensor of its denoiser")
    return tensor.shape[axis]


def _edge_of(name: str, axis: int) -> Callable[[Tensors], int | None]:
    return lambda tensors: _edge(tensors, name, axis)


def _text_width(tensors: Tensors) -> int | None:
    shapes = (tensor.shape for name, tensor in tensors.items() if name.endswith("attn2.to_k.weight"))
    return next((shape[1] for shape in shapes if len(shape) == 2), None)


def _count_of(blocks: str) -> Callable[[Tensors], int | None]:
    def count(tensors: Tensors) -> int:
        return len({name.split(".")[1] for name in tensors if name.startswith(f"{blocks}.")})

    return count


def _positions(tensors: Tensors) -> int | None:
    found = tensors.get("pos_embed")
    return None if found is None or len(found.shape) != 3 else round(found.shape[1] ** 0.5)


_Sizes = Mapping[str, Callable[[Tensors], int | None]]
_UNET: Final[_Sizes] = {"in_channels": _edge_of(_UNET_IN, 1), "cross_attention_dim": _text_width}
_MMDIT: Final[_Sizes] = {
    "in_channels": _edge_of("x_embedder.proj.weight", 1),
    "num_layers": _count_of("joint_blocks"),
    "joint_attention_dim": _edge_of("context_embedder.weight", 1),
    "pos_embed_max_size": _positions,
}
_FLUX: Final[_Sizes] = {
    "in_channels": _edge_of(_FLUX_IN, 1),
    "num_layers": _count_of("double_blocks"),
    "num_single_layers": _count_of("single_blocks"),
    "joint_attention_dim": _edge_of("txt_in.weight", 1),
    "guidance_embeds": lambda tensors: "guidance_in.in_layer.weight" in tensors,
}
_SIZES: Final[Mapping[str, _Sizes]] = MappingProxyType(
    {"StableDiffusion3": _MMDIT, "StableDiffusion": _UNET, "Flux": _FLUX}
)
"""By the beginning of a pipeline class: an entry of the denoiser's configuration, and its value in a file."""
