"""OpenAI's ``input_fidelity`` as the strength of image-to-image.

Strength is the part of the way, from the picture to pure noise, that is denoised anew: near 0 hardly
anything changes, at 1 nothing of the picture is left.

==============  ========
input_fidelity  strength
==============  ========
high            0.35
low             0.7
left out        the model's own default, at least as low's
a variation     0.6
==============  ========
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pydantic import JsonValue

from compat.mapped import Ignored
from compat.parameters import STEPS, STRENGTH
from engines.schema import MethodSchema

FIDELITY_STRENGTHS: Final[Mapping[str, float]] = MappingProxyType({"high": 0.35, "low": 0.7})
VARIATION_STRENGTH: Final = 0.6


def strength_for(
    fidelity: str | None,
    method: MethodSchema,
    *,
    given: Mapping[str, JsonValue],
    otherwise: float | None = None,
) -> float | Ignored | None:
    """The strength for a fidelity, or ``otherwise`` without one; ``None`` keeps the model's default.

    ``given`` are the call's parameters so far: a strength given decides, and few steps raise the
    strength to that of one step, below which pipelines fail.
    """
    if STRENGTH in given:
        return None if fidelity is None else Ignored("input_fidelity", f"{STRENGTH} was given, and decides")
    spec = method.find(STRENGTH)
    if spec is None or not spec.visible:
        return None if fidelity is None else Ignored("input_fidelity", f"the model has no {STRENGTH}")
    wanted = FIDELITY_STRENGTHS[fidelity] if fidelity is not None else otherwise
    if wanted is None:
        wanted = _least_for_an_edit(method, spec.default)
    if wanted is None:
        return None
    steps = given.get(STEPS)
    least = math.ceil(100 / steps) / 100 if isinstance(steps, int) and steps > 0 else 0.0
    return max(wanted, least)


def _least_for_an_edit(method: MethodSchema, default: object) -> float | None:
    """Kandinsky 3's own default of 0.3 hardly follows a prompt; OpenAI's default is ``low``."""
    known = isinstance(default, int | float) and not isinstance(default, bool)
    weak = known and float(str(default)) < FIDELITY_STRENGTHS["low"]
    return FIDELITY_STRENGTHS["low"] if method.name == "image_to_image" and weak else None
