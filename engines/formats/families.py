"""What a pipeline class is good for, told by its name: family, part, and the class to serve with."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Final

from engines.card import PIPELINE_ALIASES, Family, Part

_FAMILIES: Final = (
    (re.compile(r"KandinskyV22"), Family.KANDINSKY_2_2),
    (re.compile(r"KandinskyV?3"), Family.KANDINSKY_3),
    (re.compile(r"Kandinsky5"), Family.KANDINSKY_5),
    (re.compile(r"Kandinsky(Combined|Img2Img|Inpaint|Prior|Pipeline)"), Family.KANDINSKY_2_1),
)

# Where file names must decide, as the released files are called.
_NAMES: Final = (
    (re.compile(r"kandinsky[-_ .]?v?3|(?<![a-z0-9])v3"), Family.KANDINSKY_3),
    (re.compile(r"kandinsky[-_ .]?v?5"), Family.KANDINSKY_5),
    (re.compile(r"kandinsky[-_ .]?v?2[-_.]?1"), Family.KANDINSKY_2_1),
    (re.compile(r"kandinsky"), Family.KANDINSKY_2_2),
)

_PRIORS: Final = MappingProxyType(
    {
        "KandinskyPriorPipeline": Family.KANDINSKY_2_1,
        "KandinskyV22PriorPipeline": Family.KANDINSKY_2_2,
        "KandinskyV22PriorEmb2EmbPipeline": Family.KANDINSKY_2_2,
    }
)

_COMPLETED: Final = MappingProxyType(
    {
        "KandinskyPipeline": "KandinskyCombinedPipeline",
        "KandinskyImg2ImgPipeline": "KandinskyCombinedPipeline",
        "KandinskyV22Pipeline": "KandinskyV22CombinedPipeline",
        "KandinskyV22Img2ImgPipeline": "KandinskyV22CombinedPipeline",
        "KandinskyInpaintPipeline": "KandinskyInpaintCombinedPipeline",
        "KandinskyV22InpaintPipeline": "KandinskyV22InpaintCombinedPipeline",
    }
)
"""The class that a decoder becomes with a prior: the same weights, and a prompt."""

_SAME_PARTS: Final = MappingProxyType(
    {
        **PIPELINE_ALIASES,
        "Kandinsky3Img2ImgPipeline": "Kandinsky3Pipeline",
        "KandinskyV3Img2ImgPipeline": "Kandinsky3Pipeline",
        "KandinskyImg2ImgCombinedPipeline": "KandinskyCombinedPipeline",
        "KandinskyV22Img2ImgCombinedPipeline": "KandinskyV22CombinedPipeline",
    }
)
"""Classes whose components make a text to image pipeline as they are."""

# Only what a name says for sure; whatever passes here is looked at again by `engines.discovery`.
_OTHER_TASKS: Final = (
    (re.compile(r"Video|[TI]2V|TI2VA|V2V|Animate"), "makes video"),
    (re.compile(r"Audio|Music|Speech"), "makes sound"),
    (re.compile(r"ShapE"), "makes three-dimensional objects"),
    (re.compile(r"Prior"), "makes image embeddings"),
    (re.compile(r"Control[Nn]et|T2IAdapter"), "needs a control image"),
    (re.compile(r"^Flax|^Onnx"), "needs another runtime than PyTorch"),
)


def family_of_class(class_name: str) -> Family:
    """The family of a pipeline class."""
    return next((family for test, family in _FAMILIES if test.match(class_name)), Family.DIFFUSERS)


def family_of_name(*names: str) -> Family:
    """The family that file or folder names hint at, the first name that says anything deciding."""
    for name in names:
        for test, family in _NAMES:
            if test.search(name.lower()):
                return family
    return Family.UNKNOWN


def part_of_class(class_name: str) -> Part:
    """How much of a model a pipeline class is."""
    if class_name in _PRIORS:
        return Part.PRIOR
    return Part.DECODER if class_name in _COMPLETED else Part.WHOLE


def serving_class(class_name: str) -> str:
    """The class to serve a stored one with, given its prior where it needs one."""
    return _COMPLETED.get(class_name) or _SAME_PARTS.get(class_name, class_name)


def other_task(class_name: str) -> str | None:
    """What a pipeline does instead of drawing images; ``None`` where its name is silent."""
    return next((what for test, what in _OTHER_TASKS if test.search(class_name)), None)
