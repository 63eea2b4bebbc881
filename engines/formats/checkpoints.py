"""Single checkpoints of Stable Diffusion, SDXL, SD3 and Flux: what is in the file, and what its folder adds.

Of such a file diffusers makes a pipeline (``from_single_file``), given a folder with the configurations:
any diffusers folder of the same class, with or without weights. What the file lacks (the text encoders of
Flux, mostly) is taken from that folder's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from engines.card import CheckpointFormat, Component, ModelCard, Part, Source
from engines.errors import NotLoadable
from engines.formats import companions, content, diffusers_folder, weights
from engines.formats.companions import Companion
from engines.formats.diffusers_folder import INDEX, has_vocabulary, is_pipeline, weights_in
from engines.formats.single_file import SingleFile
from engines.formats.weights import Weights

ROLE: Final = "config"

# Names that begin so are the component's, as the programs that write such files call them.
_PARTS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = MappingProxyType(
    {
        "StableDiffusionPipeline": {
            "unet": ("model.diffusion_model.",),
            "vae": ("first_stage_model.",),
            "text_encoder": ("cond_stage_model.",),
        },
        "StableDiffusionXLPipeline": {
            "unet": ("model.diffusion_model.",),
            "vae": ("first_stage_model.",),
            "text_encoder": ("conditioner.embedders.0.",),
            "text_encoder_2": ("conditioner.embedders.1.",),
        },
        "StableDiffusion3Pipeline": {
            "transformer": ("model.diffusion_model.", "joint_blocks."),
            "vae": ("first_stage_model.",),
            "text_encoder": ("text_encoders.clip_l.",),
            "text_encoder_2": ("text_encoders.clip_g.",),
            "text_encoder_3": ("text_encoders.t5xxl.",),
        },
        "FluxPipeline": {
            "transformer": ("model.diffusion_model.", "double_blocks.", "single_blocks."),
            "vae": ("vae.",),
            "text_encoder": ("text_encoders.clip_l.",),
            "text_encoder_2": ("text_encoders.t5xxl.",),
        },
    }
)
_OPTIONAL: Final = ("safety_checker", "feature_extractor", "image_encoder")
_TEXT_WIDTH: Final = "attn2.to_k.weight"


def describe(
    card: ModelCard, path: Path, found: SingleFile, stored: Weights, given: Mapping[str, Path]
) -> ModelCard:
    """Complete the card of a recognised checkpoint.

    Raises:
        NotLoadable: the folder of its configuration is missing or another model's, or a part is nowhere.
    """
    companion = Companion(
        ROLE,
        f"the folder of its configuration and tokenizers (any diffusers folder of a {found.class_name})",
        (path.stem, "config", *_neighbours(path)),
        _fault(found.class_name, stored),
    )
    folder = companions.find(path, f"{found.what} without its configuration", [companion], given)[ROLE]
    components = tuple(_components(card.name, folder, held_by(found.class_name, stored)))
    return card.model_copy(
        update={
            "format": CheckpointFormat.CHECKPOINT,
            "part": Part.WHOLE,
            "pipeline_class": found.class_name,
            "stored_class": found.class_name,
            "components": components,
            "size": sum(component.size for component in components),
            "dtype": weights.main_dtype((component.dtype, component.size) for component in components),
            "sources": (Source(role="checkpoint", path=str(path)), Source(role=ROLE, path=str(folder))),
            "pickled": stored.format is CheckpointFormat.PICKLE_FILE,
            "loadable": True,
        }
    )


def held_by(class_name: str, stored: Weights) -> dict[str, Component]:
    """The components with weights in a checkpoint: their sizes and types, without classes."""
    held = {}
    for name, prefixes in _PARTS[class_name].items():
        tensors = [tensor for key, tensor in stored.tensors.items() if key.startswith(prefixes)]
        if tensors:
            held[name] = Component(
                name=name,
                library="",
                class_name="",
                size=sum(tensor.size for tensor in tensors),
                dtype=weights.main_dtype((tensor.dtype, tensor.size) for tensor in tensors),
            )
    return held


def files_of(card: ModelCard) -> Iterator[Path]:
    """The checkpoint, and the files of its folder that say how it is read."""
    yield Path(card.path)
    folder = config_folder(card)
    yield folder / INDEX
    for component in card.components:
        below = folder / component.name
        yield from sorted(file for file in below.glob("*.json") if file.is_file())


def config_folder(card: ModelCard) -> Path:
    """The folder of a described checkpoint's configuration."""
    folder = card.source(ROLE)
    assert folder is not None, "a described checkpoint has this source"
    return folder


def _components(model: str, folder: Path, held: Mapping[str, Component]) -> Iterator[Component]:
    index = content.read_object(folder / INDEX)
    for name, value in index.items():
        if not isinstance(value, list) or name.startswith("_") or value == [None, None]:
            continue
        library, class_name = value
        if name in held:
            yield held[name].model_copy(update={"library": library, "class_name": class_name})
            continue
        below = folder / name
        if name in _OPTIONAL and (not below.is_dir() or weights_in(below) is None):
            continue
        diffusers_folder.require_known(name, library, class_name)
        if "Tokenizer" in class_name and not has_vocabulary(below):
            raise NotLoadable(model, f"the tokenizer in {folder.name}/{name}/ has no vocabulary")
        yield _from_folder(model, below, name, library=library, class_name=class_name)


def _from_folder(model: str, folder: Path, name: str, *, library: str, class_name: str) -> Component:
    if any(word in class_name for word in ("Tokenizer", "Scheduler", "Processor", "Extractor")):
        return Component(name=name, library=library, class_name=class_name)
    stored = weights_in(folder) if folder.is_dir() else None
    if stored is None:
        reason = (
            f"the file does not hold the component {name} ({class_name}), and the folder of its configuration "
            f"({folder.parent.name}) has no weights for it: give a folder that has, {companions.OPTION} {ROLE}=PATH"
        )
        raise NotLoadable(model, reason)
    read = [weights.read(file) for file in stored.files]
    return Component(
        name=name,
        library=library,
        class_name=class_name,
        size=sum(each.size for each in read),
        dtype=weights.main_dtype((each.dtype, each.size) for each in read),
    )


def _fault(class_name: str, stored: Weights) -> Callable[[Path], str | None]:
    def fault(folder: Path) -> str | None:
        if not is_pipeline(folder):
            return f"has no {INDEX}"
        try:
            there = diffusers_folder.class_of(folder)
            config = _denoiser(folder)
        except NotLoadable as error:
            return f"is damaged: {error.reason}"
        if there != class_name:
            return f"is the folder of a {there}, not of a {class_name}"
        wanted, width = config.get("cross_attention_dim"), _text_width(stored)
        if isinstance(wanted, int) and width is not None and wanted != width:
            return (
                f"is of a model whose text embeddings have {wanted} features, where the file's have {width}"
            )
        return None

    return fault


def _denoiser(folder: Path) -> dict[str, Any]:
    for name in ("unet", "transformer"):
        if (folder / name / "config.json").is_file():
            return content.read_object(folder / name / "config.json")
    return {}


def _text_width(stored: Weights) -> int | None:
    shapes = (tensor.shape for name, tensor in stored.tensors.items() if name.endswith(_TEXT_WIDTH))
    return next((shape[1] for shape in shapes if len(shape) == 2), None)


def _neighbours(path: Path) -> list[str]:
    """The diffusers folders beside a file: one of its own class will do."""
    try:
        return sorted(entry.name for entry in path.parent.iterdir() if is_pipeline(entry))
    except OSError:
        return []
