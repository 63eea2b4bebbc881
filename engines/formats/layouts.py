"""The original releases of Kandinsky: which files make a model, and which components they become."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from engines.card import Family, Preset
from engines.errors import NotLoadable
from engines.formats import content, single_file, weights
from engines.formats.companions import Companion
from engines.formats.diffusers_folder import INPAINTING_CHANNELS, OWN_LIBRARY, has_vocabulary, weights_in
from engines.formats.single_file import SingleFile
from engines.formats.tensor import shape_of
from engines.formats.weights import Weights

# Kandinsky 5 for video shares its names of tensors with Kandinsky 5 for images: its width tells.
# Source: the configurations in kandinskylab/kandinsky-5 (Lite and Pro video).
_VIDEO_WIDTHS: Final = (1792, 4096)
_LATENT_CHANNELS_5: Final = 16


@dataclass(frozen=True)
class Assembled:
    """A component of the pipeline: ``source`` is the role of the folder that holds it as it is, or
    ``made_from`` are the roles of what `engines.conversion` makes it from, the one with its weights first.
    A scheduler has neither."""

    name: str
    library: str
    class_name: str
    source: str | None = None
    made_from: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """One release: the role of its main file, the parts beside it, and the pipeline they make."""

    main: str
    pipeline_class: str
    variant: str | None
    companions: tuple[Companion, ...]
    components: tuple[Assembled, ...]
    preset: Preset = field(default_factory=Preset)

    @property
    def converted(self) -> tuple[str, ...]:
        """The roles of what is converted."""
        return tuple(dict.fromkeys(role for each in self.components for role in each.made_from))


def layout_of(found: SingleFile, path: Path, stored: Weights) -> Layout:
    """The layout that a recognised main file belongs to.

    Raises:
        NotLoadable: it makes something else than pictures.
    """
    return _LAYOUTS[found.family](path, stored)  # type: ignore[index]


def _kandinsky_3(path: Path, stored: Weights) -> Layout:
    variant = None
    if single_file.input_channels(stored) == INPAINTING_CHANNELS:
        variant = "inpainting"
    elif "flash" in path.stem.lower():
        variant = "flash"
    # Each variant was trained with one of its own: with another's it would draw, and not what was asked.
    projection = f"projection_{variant}.pt" if variant else "projection.pt"
    # 3.0 keeps it in the UNet's file, 3.1 beside the text encoder.
    within = PROJECTIONS in stored.beside
    scheduler = "FlashScheduler" if variant == "flash" else "Kandinsky3Scheduler"
    return Layout(
        main="unet",
        preset=_PRESETS_3[variant],
        pipeline_class="Kandinsky3InpaintPipeline" if variant == "inpainting" else "Kandinsky3Pipeline",
        variant=variant,
        companions=(
            Companion(
                "text_encoder",
                "the T5 text encoder with its tokenizer",
                _TEXT_FOLDERS,
                _encoder_fault("t5", with_tokenizer=True),
            ),
            Companion(
                "movq",
                "the MoVQ",
                ("movq.pt", "movq.safetensors", "movq.ckpt", "movq.pth"),
                _file_fault(Family.KANDINSKY_3, "movq"),
            ),
            *([] if within else [_projection(projection)]),
        ),
        components=(
            Assembled("tokenizer", "transformers", "T5Tokenizer", "text_encoder"),
            Assembled("text_encoder", "transformers", "T5EncoderModel", "text_encoder"),
            Assembled(
                "unet",
                "diffusers",
                "Kandinsky3UNet",
                made_from=("unet",) if within else ("unet", "projection"),
            ),
            Assembled("scheduler", OWN_LIBRARY, scheduler),
            Assembled("movq", "diffusers", "VQModel", made_from=("movq",)),
        ),
    )


def _projection(name: str) -> Companion:
    return Companion(
        "projection",
        "the text projection",
        (name, *(f"{folder}/{name}" for folder in _TEXT_FOLDERS)),
        _file_fault(Family.KANDINSKY_3, "projection"),
        within="text_encoder",
    )


PROJECTIONS: Final = "projections"
"""The key of a file of Kandinsky 3.0 under which its text projection lies."""

# What the released samplers use; the flash model was distilled with the guidance in its weights.
_PRESETS_3: Final[Mapping[str | None, Preset]] = {
    None: Preset(defaults={"num_inference_steps": 50, "guidance_scale": 3.0}),
    "inpainting": Preset(defaults={"num_inference_steps": 50, "guidance_scale": 4.0}),
    "flash": Preset(
        defaults={"num_inference_steps": 4, "guidance_scale": 1.0},
        quality=dict.fromkeys(("low", "medium", "high", "xhigh", "max"), 1.0),
    ),
}
_TEXT_FOLDERS: Final = ("flan_ul2_encoder", "text_encoder")


def _kandinsky_2_1(_: Path, stored: Weights) -> Layout:
    inpaints = single_file.input_channels(stored) == INPAINTING_CHANNELS
    return Layout(
        main="unet",
        pipeline_class="KandinskyInpaintCombinedPipeline" if inpaints else "KandinskyCombinedPipeline",
        variant="inpainting" if inpaints else None,
        companions=(
            Companion(
                "prior",
                "the prior",
                ("prior_fp16.ckpt", "prior.ckpt", "prior_fp16.safetensors", "prior.safetensors"),
                _file_fault(Family.KANDINSKY_2_1, "prior"),
            ),
            Companion(
                "movq",
                "the MoVQ",
                ("movq_final.ckpt", "movq_final.safetensors", "movq.ckpt"),
                _file_fault(Family.KANDINSKY_2_1, "movq"),
            ),
            Companion(
                "clip_stats",
                "the mean and deviation of CLIP's embeddings",
                ("ViT-L-14_stats.th", "ViT-L-14_stats.pt", "ViT-L-14_stats.safetensors"),
                _file_fault(Family.KANDINSKY_2_1, "clip_stats"),
            ),
            Companion(
                "text_encoder",
                "the multilingual CLIP text encoder with its tokenizer",
                ("text_encoder",),
                _encoder_fault("xlm-roberta", "m-clip", with_tokenizer=True),
            ),
            Companion(
                "clip",
                "OpenAI's CLIP ViT-L/14 as a folder of transformers, for the prior",
                ("clip-vit-large-patch14", "clip"),
                _clip_fault,
            ),
        ),
        components=(
            Assembled("text_encoder", "kandinsky", "MultilingualCLIP", made_from=("text_encoder",)),
            Assembled("tokenizer", "transformers", "XLMRobertaTokenizer", "text_encoder"),
            Assembled("unet", "diffusers", "UNet2DConditionModel", made_from=("unet",)),
            Assembled("scheduler", "diffusers", "DDIMScheduler"),
            Assembled("movq", "diffusers", "VQModel", made_from=("movq",)),
            Assembled("prior_prior", "diffusers", "PriorTransformer", made_from=("prior", "clip_stats")),
            Assembled("prior_image_encoder", "transformers", "CLIPVisionModelWithProjection", "clip"),
            Assembled("prior_text_encoder", "transformers", "CLIPTextModelWithProjection", "clip"),
            Assembled("prior_tokenizer", "transformers", "CLIPTokenizer", "clip"),
            Assembled("prior_scheduler", "diffusers", "UnCLIPScheduler"),
            Assembled("prior_image_processor", "transformers", "CLIPImageProcessor", "clip"),
        ),
    )


def _kandinsky_5(path: Path, stored: Weights) -> Layout:
    first = shape_of(single_file.bare(stored.tensors), "visual_embeddings.in_layer.weight", 2)
    edits = first[1] // 4 != _LATENT_CHANNELS_5
    if first[0] in _VIDEO_WIDTHS:
        raise NotLoadable(path.name, "this is the transformer of a Kandinsky 5 that makes video")
    tokenizer = "Qwen2VLProcessor" if edits else "Qwen2Tokenizer"
    return Layout(
        main="transformer",
        pipeline_class="Kandinsky5I2IPipeline" if edits else "Kandinsky5T2IPipeline",
        variant="image-to-image" if edits else None,
        companions=(
            Companion(
                "text_encoder",
                "the Qwen2.5-VL text encoder with its tokenizer",
                ("text_encoder", "Qwen2.5-VL-7B-Instruct"),
                _encoder_fault("qwen2_5_vl", with_tokenizer=True),
            ),
            Companion(
                "text_encoder_2",
                "the CLIP text encoder with its tokenizer",
                ("text_encoder2", "text_encoder_2", "clip-vit-large-patch14"),
                _encoder_fault("clip", "clip_text_model", with_tokenizer=True),
            ),
            Companion("vae", "the VAE of Flux as a diffusers folder", ("vae",), _vae_fault),
        ),
        components=(
            Assembled("transformer", "diffusers", "Kandinsky5Transformer3DModel", made_from=("transformer",)),
            Assembled("vae", "diffusers", "AutoencoderKL", "vae"),
            Assembled("text_encoder", "transformers", "Qwen2_5_VLForConditionalGeneration", "text_encoder"),
            Assembled("tokenizer", "transformers", tokenizer, "text_encoder"),
            Assembled("text_encoder_2", "transformers", "CLIPTextModel", "text_encoder_2"),
            Assembled("tokenizer_2", "transformers", "CLIPTokenizer", "text_encoder_2"),
            Assembled("scheduler", "diffusers", "FlowMatchEulerDiscreteScheduler"),
        ),
    )


_LAYOUTS: Final[Mapping[Family, Callable[[Path, Weights], Layout]]] = {
    Family.KANDINSKY_2_1: _kandinsky_2_1,
    Family.KANDINSKY_3: _kandinsky_3,
    Family.KANDINSKY_5: _kandinsky_5,
}


def _file_fault(family: Family, component: str) -> Callable[[Path], str | None]:
    def fault(path: Path) -> str | None:
        if path.is_dir():
            return "is a folder, not a file"
        try:
            found = single_file.recognise(weights.read(path))
        except NotLoadable as error:
            return error.reason.removeprefix(path.name).strip()
        if found is None:
            return "holds tensors of nothing known here"
        if (found.family, found.component) != (family, component):
            return f"holds {found.what}"
        return None

    return fault


def _encoder_fault(*model_types: str, with_tokenizer: bool) -> Callable[[Path], str | None]:
    def fault(path: Path) -> str | None:
        config = _config(path, "config.json")
        if isinstance(config, str):
            return config
        model_type = str(config.get("model_type", "")).lower()
        if model_type and model_type not in model_types:
            return f"holds a model of the type {model_type!r}, not {' or '.join(model_types)}"
        fault = _weights_fault(path)
        if fault is not None:
            return fault
        if with_tokenizer and not has_vocabulary(path):
            return "has no vocabulary of a tokenizer"
        return None

    return fault


def _vae_fault(path: Path) -> str | None:
    config = _config(path, "config.json")
    if isinstance(config, str):
        return config
    if config.get("_class_name") != "AutoencoderKL":
        return f"holds a {config.get('_class_name') or 'model of another library'}, not an AutoencoderKL"
    channels = config.get("latent_channels")
    if channels != _LATENT_CHANNELS_5:
        return f"makes latents of {channels} channels, where Flux's makes {_LATENT_CHANNELS_5}"
    return _weights_fault(path)


def _clip_fault(path: Path) -> str | None:
    fault = _encoder_fault("clip", with_tokenizer=True)(path)
    if fault is None and not (path / "preprocessor_config.json").is_file():
        return "has no preprocessor_config.json, which says how pictures are prepared"
    return fault


def _weights_fault(path: Path) -> str | None:
    """What is wrong with the weight files of a folder, by their headers."""
    try:
        stored = weights_in(path)
        if stored is None:
            return "has no weight file"
        for file in stored.files:
            weights.read(file)
    except NotLoadable as error:
        return f"is damaged: {error.reason}"
    return None


def _config(path: Path, name: str) -> dict[str, Any] | str:
    """The configuration in a folder, or what is wrong with it."""
    if not path.is_dir():
        return "is a file, not a folder"
    try:
        return content.read_object(path / name)
    except NotLoadable as error:
        return f"is damaged: {error.reason}"
