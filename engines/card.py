"""What a model is: name, place, family, parts and presets. Pure data; imports no torch."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pydantic import JsonValue

from engines.schema import Frozen, SizeFit


class Family(StrEnum):
    """The families told apart; every other diffusers pipeline is DIFFUSERS."""

    KANDINSKY_2_1 = "kandinsky-2.1"
    KANDINSKY_2_2 = "kandinsky-2.2"
    KANDINSKY_3 = "kandinsky-3"
    KANDINSKY_5 = "kandinsky-5"
    DIFFUSERS = "diffusers"
    UNKNOWN = "unknown"


class CheckpointFormat(StrEnum):
    """How a model lies on disk."""

    DIFFUSERS_FOLDER = "diffusers folder"
    ORIGINAL = "original weights"
    """As first released: files of its authors' own making, converted once into the cache."""
    CHECKPOINT = "single checkpoint"
    """Of which diffusers makes a pipeline (``from_single_file``); converted once, too."""
    PACK = "packed file"
    """A whole pipeline in one safetensors file, written by this program."""
    SAFETENSORS_FILE = "safetensors file"
    PICKLE_FILE = "pickle file"
    UNKNOWN = "unknown"


class Part(StrEnum):
    """How much of a model is there."""

    WHOLE = "whole"
    DECODER = "decoder"
    PRIOR = "prior"
    COMPONENT = "component"


class Component(Frozen):
    """One entry of ``model_index.json`` (or of a single file).

    ``size`` is in bytes; ``dtype`` is that of most weight bytes on disk, ``None`` for a component
    without weights.
    """

    name: str
    library: str
    class_name: str
    size: int = 0
    dtype: str | None = None


class Preset(Frozen):
    """What a model's author (``gateway.json`` in its folder) or its operator states about it.

    ``defaults`` override the signature's; ``sizes`` are the (width, height) pairs the model was
    made for; ``quality`` overrides the step factors of OpenAI's quality words.
    """

    description: str = ""
    defaults: dict[str, JsonValue] = {}
    sizes: tuple[tuple[int, int], ...] = ()
    size_fit: SizeFit = SizeFit.ERROR
    quality: dict[str, float] = {}


class Source(Frozen):
    """A file or folder that a model is made from, and what it is in it ("unet", "text_encoder" …)."""

    role: str
    path: str


class HubOrigin(Frozen):
    """The repository of a hub that a model was fetched from, at this commit."""

    repository: str
    revision: str


class ModelCard(Frozen):
    """A model as found on disk. ``size`` is in bytes, weights only.

    ``pipeline_class`` is the diffusers class that requests will be served with; ``stored_class``
    the one that the folder names (they differ where a decoder is completed by its prior).
    ``fingerprint`` changes when a file of the model does. ``sources`` are the parts of a model that is
    not one folder, and parts that were named to replace a folder's own; ``variant`` tells models of one
    family apart that need different samplers ("flash") or inputs ("inpainting"). ``inpaints``: the
    denoiser was made to (its first layer takes the mask, too). ``image_channels`` is 4 where the
    autoencoder makes transparency. ``pickled``: some of its weights are pickles.
    """

    name: str
    path: str
    family: Family
    format: CheckpointFormat
    part: Part
    pipeline_class: str | None = None
    stored_class: str | None = None
    components: tuple[Component, ...] = ()
    size: int = 0
    dtype: str | None = None
    prior_path: str | None = None
    loadable: bool = False
    reason: str | None = None
    """Why the model cannot be loaded, and what is needed."""
    fingerprint: str = ""
    sources: tuple[Source, ...] = ()
    variant: str | None = None
    inpaints: bool = False
    image_channels: int = 3
    pickled: bool = False
    hub: HubOrigin | None = None
    preset: Preset = Preset()

    def source(self, role: str) -> Path | None:
        """Where a part lies that has a place of its own."""
        return next((Path(each.path) for each in self.sources if each.role == role), None)


PIPELINE_ALIASES: Final = MappingProxyType(
    {
        "KandinskyV3Pipeline": "Kandinsky3Pipeline",
        "KandinskyV3Img2ImgPipeline": "Kandinsky3Img2ImgPipeline",
    }
)
"""Names under which people know a class that diffusers released as another."""
