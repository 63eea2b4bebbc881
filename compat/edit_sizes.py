"""The size of an edit: that of the picture sent in, where nothing else is asked for and the model can.

A model that takes a size draws the picture's own, if that is one it makes. If not, it draws the one
nearest in shape; from a free choice, the picture's shape at the model's default area where the picture
has less than a quarter of that area or more than all of it: a model draws nothing useful at sizes far
from those it was made for. A model that takes no size draws at the picture's own.
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
    check_resized,
    plan_size,
    spelled,
    takes_size,
)
from engines.schema import MethodSchema, SizeFit, SizeRule

SMALLEST_SHARE: Final = 0.25
"""Of the model's default area."""


def plan_edit_size(requested: Size | None, picture: Size, rule: SizeRule, method: MethodSchema) -> SizePlan:
    """Decide how the size of an edit is made; all sizes are (width, height) in pixels.

    Raises:
        InvalidSize: the model does not make what was asked for, and nothing allows resampling.
    """
    if not takes_size(method):
        return _plan_at_own_size(requested, picture)
    if requested is not None:
        return plan_size(requested, rule, method)
    supported = rule.native or rule.fixed
    drawn = best_supported(picture, supported) if supported else nearest_free(picture, rule)
    if drawn == picture:
        return SizePlan(draw=drawn)
    resized = bool(supported) and rule.fit is SizeFit.RESIZE and max(picture) <= LARGEST_RESIZED_EDGE
    reason = "the nearest to the picture's own that the model makes" + ("; resized" if resized else "")
    return SizePlan(
        draw=drawn,
        resize_to=picture if resized else None,
        adjusted=(Adjusted("size", spelled(picture), spelled(drawn), reason),),
    )


def nearest_free(picture: Size, rule: SizeRule) -> Size:
    """The size of a picture's shape that a model of any size makes well."""
    scale = 1.0
    if rule.default_width is not None and rule.default_height is not None:
        share = picture[0] * picture[1] / (rule.default_width * rule.default_height)
        scale = 1.0 if SMALLEST_SHARE <= share <= 1 else math.sqrt(1 / share)
    return _on_multiple(picture[0] * scale, rule), _on_multiple(picture[1] * scale, rule)


def _on_multiple(edge: float, rule: SizeRule) -> int:
    step = rule.multiple
    lowest = max(1, math.ceil(rule.minimum / step)) * step
    highest = math.inf if rule.maximum is None else max(rule.maximum // step * step, lowest)
    return int(min(max(round(edge / step) * step, lowest), highest))


def _plan_at_own_size(requested: Size | None, picture: Size) -> SizePlan:
    if requested is None or requested == picture:
        return SizePlan()
    check_resized(requested)
    reason = "the model draws at the picture's own size; resized"
    return SizePlan(
        resize_to=requested, adjusted=(Adjusted("size", spelled(requested), spelled(picture), reason),)
    )
