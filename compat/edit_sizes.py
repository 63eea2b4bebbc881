"""The size of an edit: that of the picture sent in, where nothing else is asked for.

A model draws nothing useful at sizes far from those it was made for. So the picture is resampled to
the nearest size that the model draws well - of those it lists, or, of a free choice, the picture's
shape at the model's default area where the picture has less than a quarter of that area or more than
all of it - and the drawn one back to the size that is wanted.
"""

from __future__ import annotations

import math
from typing import Final

from compat.mapped import Adjusted
from compat.sizes import (
    LARGEST_RESIZED_EDGE,
    Size,
    SizePlan,
    best_supported,
    plan_size,
    spelled,
    takes_size,
)
from engines.schema import MethodSchema, SizeRule

SMALLEST_SHARE: Final = 0.25
"""Of the model's default area."""


def plan_edit_size(requested: Size | None, picture: Size, rule: SizeRule, method: MethodSchema) -> SizePlan:
    """Decide how the size of an edit is made; all sizes are (width, height) in pixels.

    A pipeline whose own call takes pictures sizes them itself.

    Raises:
        InvalidSize: the model does not make what was asked for, and nothing allows resampling.
    """
    if method.name == "__call__":
        return plan_size(requested, rule, method)
    if requested is not None and takes_size(method):
        plan = plan_size(requested, rule, method)
        drawn, wanted, adjusted = plan.draw or requested, requested, plan.adjusted
    else:
        wanted = requested or _bounded(picture)
        drawn = _well_drawn(wanted, rule)
        reason = f"drawn at {spelled(drawn)}, the nearest that the model draws well, and resized"
        adjusted = () if drawn == wanted else (Adjusted("size", spelled(wanted), spelled(drawn), reason),)
    return SizePlan(
        draw=drawn if takes_size(method) else None,
        resize_to=None if drawn == wanted else wanted,
        fit_inputs=drawn,
        adjusted=adjusted,
    )


def nearest_free(picture: Size, rule: SizeRule) -> Size:
    """The size of a picture's shape that a model of any size makes well."""
    scale = 1.0
    if rule.default_width is not None and rule.default_height is not None:
        share = picture[0] * picture[1] / (rule.default_width * rule.default_height)
        scale = 1.0 if SMALLEST_SHARE <= share <= 1 else math.sqrt(1 / share)
    return _on_multiple(picture[0] * scale, rule), _on_multiple(picture[1] * scale, rule)


def _well_drawn(wanted: Size, rule: SizeRule) -> Size:
    supported = rule.native or rule.fixed
    return best_supported(wanted, supported) if supported else nearest_free(wanted, rule)


def _on_multiple(edge: float, rule: SizeRule) -> int:
    step = rule.multiple
    lowest = max(1, math.ceil(rule.minimum / step)) * step
    highest = math.inf if rule.maximum is None else max(rule.maximum // step * step, lowest)
    return int(min(max(round(edge / step) * step, lowest), highest))


def _bounded(picture: Size) -> Size:
    """The picture's size, its longest edge brought down to what may be resampled to."""
    scale = min(1.0, LARGEST_RESIZED_EDGE / max(picture))
    return max(1, round(picture[0] * scale)), max(1, round(picture[1] * scale))
