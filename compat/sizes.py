"""OpenAI's ``size`` as the sizes a model makes.

Three kinds of model: those that make any size of a multiple; those that make, or were made for, a
list of sizes; those that take no size at all. A size outside a list is refused, or, where the
model's preset says so, drawn at the best listed size and resampled.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from compat.errors import InvalidSize
from compat.mapped import Adjusted, Ignored
from compat.parameters import HEIGHT, WIDTH
from engines.errors import InvalidParameter, MissingParameter
from engines.schema import MethodSchema, SizeFit, SizeRule
from engines.validation import nearest_valid

Size = tuple[int, int]
"""Width and height in pixels."""

AUTO: Final = "auto"
LARGEST_RESIZED_EDGE: Final = 4096
"""Resampling costs memory whatever the model; OpenAI's own longest edge is 3840."""

_EDGE: Final = "([1-9][0-9]{0,4})"
_PATTERN: Final = re.compile(f"{_EDGE}x{_EDGE}")
SIZE: Final = f"^({AUTO}|{_EDGE}x{_EDGE})$"
"""What `parse_size` reads, as a JSON Schema pattern."""


@dataclass(frozen=True)
class SizePlan:
    """What to draw and what to make of it; an empty plan leaves the size to the model.

    ``fit_inputs`` is the size that pictures sent in are resampled to before they are drawn from.
    """

    draw: Size | None = None
    resize_to: Size | None = None
    fit_inputs: Size | None = None
    adjusted: tuple[Adjusted, ...] = ()
    ignored: tuple[Ignored, ...] = ()


def spelled(size: Size) -> str:
    """``WxH``."""
    return f"{size[0]}x{size[1]}"


def parse_size(size: str | None) -> Size | None:
    """Read ``WxH``; ``None`` and ``auto`` leave the size to the model.

    Raises:
        InvalidSize
    """
    if size is None or size == AUTO:
        return None
    found = _PATTERN.fullmatch(size)
    if found is None:
        raise InvalidSize(size, "Expected WIDTHxHEIGHT, for example '1024x1024'.")
    return int(found[1]), int(found[2])


def requested_size(size: str | None, given: Mapping[str, JsonValue], rule: SizeRule) -> Size | None:
    """The size asked for by ``size``, or by a width and height among the model's own parameters.

    An edge that nobody names is the model's default one.

    Raises:
        InvalidSize: no size at all.
        InvalidParameter: the two ways of asking contradict each other.
        MissingParameter: one edge is given, and the model's default for the other is not known.
    """
    parsed = parse_size(size)
    width, height = _edge(given, WIDTH), _edge(given, HEIGHT)
    if width is None and height is None:
        return parsed
    if parsed is not None:
        if width not in (None, parsed[0]) or height not in (None, parsed[1]):
            raise InvalidParameter("size", f"{size!r} contradicts the {WIDTH} and {HEIGHT} given.")
        return parsed
    width = rule.default_width if width is None else width
    height = rule.default_height if height is None else height
    if width is None or height is None:
        raise MissingParameter(WIDTH if width is None else HEIGHT)
    return width, height


def plan_size(requested: Size | None, rule: SizeRule, method: MethodSchema) -> SizePlan:
    """Decide how a size is made.

    Raises:
        InvalidSize: the model does not make it, and nothing allows resampling.
    """
    if requested is None:
        return SizePlan()
    if not takes_size(method):
        return _plan_without_parameters(requested, rule)
    supported = rule.native or rule.fixed
    if not supported:
        _check_free(requested, rule)
        return SizePlan(draw=requested)
    if requested in supported:
        return SizePlan(draw=requested)
    if rule.fit is SizeFit.ERROR:
        raise InvalidSize(spelled(requested), f"Supported sizes are {_listed(supported)}.")
    drawn = best_supported(requested, supported)
    reason = f"the model makes {_listed(supported)}; drawn at {spelled(drawn)} and resized"
    return _resized(requested, drawn, reason)


def best_supported(wanted: Size, supported: Iterable[Size]) -> Size:
    """The supported size of the closest aspect ratio, then of the closest area."""
    return min(supported, key=lambda size: (_distance(_aspect(size), _aspect(wanted)), _area(size, wanted)))


def _plan_without_parameters(requested: Size, rule: SizeRule) -> SizePlan:
    known = rule.default_width is not None and rule.default_height is not None
    own = f"{rule.default_width}x{rule.default_height}" if known else "the model's own size"
    if requested == (rule.default_width, rule.default_height):
        return SizePlan()
    if rule.fit is SizeFit.ERROR:
        return SizePlan(ignored=(Ignored("size", f"the model takes no size; it draws {own}"),))
    check_resized(requested)
    reason = f"the model takes no size; drawn at {own} and resized"
    return SizePlan(resize_to=requested, adjusted=(Adjusted("size", spelled(requested), own, reason),))


def _resized(requested: Size, drawn: Size, reason: str) -> SizePlan:
    check_resized(requested)
    adjusted = Adjusted("size", spelled(requested), spelled(drawn), reason)
    return SizePlan(draw=drawn, resize_to=requested, adjusted=(adjusted,))


def check_resized(size: Size) -> None:
    """Refuse to resample to a size beyond all reason.

    Raises:
        InvalidSize
    """
    if max(size) > LARGEST_RESIZED_EDGE:
        raise InvalidSize(
            spelled(size), f"The longest edge must be less than or equal to {LARGEST_RESIZED_EDGE}."
        )


def _check_free(size: Size, rule: SizeRule) -> None:
    nearest = nearest_valid(rule, *size)
    if nearest == (size,):
        return
    if any(edge % rule.multiple for edge in size):
        fault = f"Width and height must both be divisible by {rule.multiple}."
    elif min(size) < rule.minimum:
        fault = f"The shortest edge must be greater than or equal to {rule.minimum}."
    else:
        fault = f"The longest edge must be less than or equal to {rule.maximum}."
    raise InvalidSize(spelled(size), f"{fault} The nearest valid: {' and '.join(map(spelled, nearest))}.")


def takes_size(method: MethodSchema) -> bool:
    """Whether a size can be asked of the pipeline at all."""
    return {WIDTH, HEIGHT} <= {spec.name for spec in method.visible}


def _edge(given: Mapping[str, JsonValue], name: str) -> int | None:
    value = given.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _listed(sizes: Iterable[Size]) -> str:
    return ", ".join(spelled(size) for size in sizes)


def _aspect(size: Size) -> float:
    return size[0] / size[1]


def _distance(one: float, other: float) -> float:
    # Rounded: 1280/720 and 1920/1080 are one ratio, whatever the last bit says.
    return round(abs(math.log(one / other)), 9)


def _area(size: Size, wanted: Size) -> float:
    return _distance(size[0] * size[1], wanted[0] * wanted[1])
