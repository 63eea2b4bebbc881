"""OpenAI's quality and style words as steps and guidance, relative to the model's own defaults.

A model is tuned for its default number of steps, so ``high`` and ``auto`` are that default. A preset
states other factors where the relation differs, as for a model distilled to four steps. ``style``
scales the guidance: ``vivid`` follows the prompt harder, ``natural`` less.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pydantic import JsonValue

from compat.mapped import Ignored
from compat.parameters import GUIDANCE, STEPS
from engines.schema import MethodSchema, ParameterSpec

AUTO: Final = "auto"

STEP_FACTORS: Final[Mapping[str, float]] = MappingProxyType(
    {"low": 0.5, "medium": 0.75, "high": 1.0, "xhigh": 1.5, "max": 2.0, AUTO: 1.0}
)
OLD_WORDS: Final[Mapping[str, str]] = MappingProxyType({"standard": "high", "hd": "xhigh"})
"""DALL·E's quality words, by what they are today."""

GUIDANCE_FACTORS: Final[Mapping[str, float]] = MappingProxyType({"vivid": 1.25, "natural": 0.75})


def resolved(quality: str | None) -> str:
    """The word that an answer states; ``auto`` is ``high``."""
    word = OLD_WORDS.get(quality or AUTO, quality or AUTO)
    return "high" if word == AUTO else word


def steps_for(
    quality: str | None,
    method: MethodSchema,
    *,
    given: Mapping[str, JsonValue],
    factors: Mapping[str, float],
) -> int | Ignored | None:
    """The number of steps for a quality word; ``None`` keeps the model's default.

    ``given`` are the request's own parameters, ``factors`` the preset's.
    """
    asked = quality is not None and quality != AUTO
    if STEPS in given:
        return Ignored("quality", f"{STEPS} was given, and decides") if asked else None
    factor = _factor(quality or AUTO, factors)
    default = _numeric_default(method.find(STEPS))
    if default is None:
        return Ignored("quality", f"the model has no adjustable {STEPS}") if asked else None
    if factor == 1:
        return None
    return _within(round(default * factor), method.find(STEPS))


def guidance_for(
    style: str | None, method: MethodSchema, *, given: Mapping[str, JsonValue]
) -> float | Ignored | None:
    """The guidance scale for a style; ``None`` keeps the model's default.

    Guidance of 1 and less means none to most pipelines, so a style neither switches it on nor off.
    """
    if style is None:
        return None
    if GUIDANCE in given:
        return Ignored("style", f"{GUIDANCE} was given, and decides")
    default = _numeric_default(method.find(GUIDANCE))
    if default is None:
        return Ignored("style", f"the model has no adjustable {GUIDANCE}; describe the style in the prompt")
    scaled = round(default * GUIDANCE_FACTORS[style], 4)
    if min(default, scaled) <= 1:
        return Ignored("style", "the model draws without guidance; describe the style in the prompt")
    return scaled


def _factor(quality: str, factors: Mapping[str, float]) -> float:
    """The preset's factor for this very word, or for its successor, or the general one."""
    word = OLD_WORDS.get(quality, quality)
    for name in (quality, word):
        if name in factors:
            return factors[name]
    return STEP_FACTORS[word]


def _numeric_default(spec: ParameterSpec | None) -> float | None:
    if spec is None or not spec.visible or isinstance(spec.default, bool):
        return None
    return spec.default if isinstance(spec.default, int | float) else None


def _within(steps: int, spec: ParameterSpec | None) -> int:
    bounds = spec.constraints if spec else None
    least = int(bounds.minimum) if bounds and bounds.minimum is not None else 1
    most = int(bounds.maximum) if bounds and bounds.maximum is not None else None
    return max(least, steps if most is None else min(steps, most))
