"""Which pipeline classes share a loaded model's components: one for every way of calling it."""

from __future__ import annotations

import inspect
from typing import Any, Final

from engines import own_classes
from engines.card import Family, ModelCard
from engines.schema import Method

_KANDINSKY_2: Final = (Family.KANDINSKY_2_1, Family.KANDINSKY_2_2)
_BLENDED: Final = (*_KANDINSKY_2, Family.KANDINSKY_3, Family.KANDINSKY_5)


def main_class(card: ModelCard) -> Any | None:
    """The class of a model's ``__call__``, ours or diffusers'; ``None`` where neither has it."""
    import diffusers

    name = card.pipeline_class or ""
    return own_classes.find(name) or getattr(diffusers, name, None)


def task_classes(card: ModelCard) -> dict[Method, Any]:
    """The classes to serve a model with, by method; ``__call__`` first.

    A Kandinsky without a class for inpainting inpaints by `engines.blending`, with its main class; a
    Kandinsky 2 with its prior draws variations by `engines.variations`.

    Source: the mappings of ``AutoPipelineForImage2Image`` and ``AutoPipelineForInpainting``. A
    Kandinsky 2 inpaints only with a UNet that was made for it (nine input channels).
    """
    from diffusers.pipelines import auto_pipeline

    main = main_class(card)
    assert main is not None, "only models of a class that was found are given here"
    classes: dict[Method, Any] = {"__call__": main}
    names = auto_pipeline.AUTO_TEXT2IMAGE_PIPELINES_MAPPING
    key = next((key for key, found in names.items() if found is main), "")
    image_to_image = auto_pipeline.AUTO_IMAGE2IMAGE_PIPELINES_MAPPING.get(key)
    inpaint = auto_pipeline.AUTO_INPAINT_PIPELINES_MAPPING.get(key)
    if image_to_image is not None:
        classes["image_to_image"] = image_to_image
    if inpaint is not None and _can_inpaint(card):
        classes["inpaint"] = inpaint
    elif card.family in _BLENDED and "image" not in inspect.signature(main.__call__).parameters:
        classes["inpaint"] = main
    variation = _variation_class(main)
    if variation is not None:
        classes["variation"] = variation
    return classes


def _variation_class(main: Any) -> Any:
    """The class that draws variations with the components of ``main``, of those that hold a prior."""
    from engines.variations import KandinskyV22VariationPipeline, KandinskyVariationPipeline

    found = (KandinskyVariationPipeline, KandinskyV22VariationPipeline)
    return next((each for each in found if main in each.__bases__), None)


def _can_inpaint(card: ModelCard) -> bool:
    return card.inpaints or card.family not in _KANDINSKY_2
