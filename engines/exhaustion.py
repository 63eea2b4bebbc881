"""What may fit where memory has run out: arithmetic over what was measured before, pure.

What a pipeline computes with grows with the pixels that it draws at once, so one picture that was measured
tells of others. For large pictures through attention without a fused kernel it grows faster, and the estimate
is low: it is said to be one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

MARGIN: Final = 0.9
"""Of the free memory that a proposal may use: the rest is lost between blocks."""
CELL: Final = 64
"""Pixels that divide the edges of a proposal, which every family can draw."""


@dataclass(frozen=True)
class Extent:
    """What one pipeline call draws: ``count`` pictures of ``width`` x ``height`` pixels at once."""

    width: int
    height: int
    count: int = 1

    @property
    def pixels(self) -> int:
        """Of all pictures together."""
        return self.width * self.height * self.count

    def __str__(self) -> str:
        size = f"{self.width}x{self.height}"
        return size if self.count == 1 else f"{size}, {self.count} at once,"


@dataclass(frozen=True)
class Measured:
    """Bytes that drawing ``pixels`` at once took beside the weights."""

    pixels: int
    bytes: int


@dataclass(frozen=True)
class Shortage:
    """Memory that was not there: what was asked for, and what may fit instead.

    Bytes are of the device, beside the weights: ``needed_bytes`` is an estimate, ``None`` where nothing was
    measured; ``free_bytes`` is ``None`` where the device does not tell.
    """

    asked: Extent
    needed_bytes: int | None = None
    free_bytes: int | None = None
    fitting: Extent | None = None

    def __str__(self) -> str:
        if self.free_bytes is None:
            return f"{self.asked} needs more than there is; {self._advice}"
        needs = "more" if self.needed_bytes is None else f"about {_gib(self.needed_bytes)} GiB"
        free = _gib(self.free_bytes)
        return f"{self.asked} needs {needs} beside the weights, and {free} GiB are free; {self._advice}"

    @property
    def _advice(self) -> str:
        if self.fitting is None:
            return "smaller or fewer images may fit"
        if self.fitting.count > 1:
            return f"try {self.fitting.count} images at once"
        same = (self.fitting.width, self.fitting.height) == (self.asked.width, self.asked.height)
        return "try one image at once" if same else f"try {self.fitting}"


def shortage(
    asked: Extent, *, free: int | None, reached: int = 0, measured: Measured | None = None
) -> Shortage:
    """What was missing for ``asked``, with ``free`` bytes now that the failed call is cleared away.

    ``reached`` are the bytes that the call had before it failed, ``measured`` is the largest that succeeded.
    """
    if free is None:
        return Shortage(asked)
    if measured is None or measured.bytes <= 0:
        return Shortage(asked, reached if reached > free else None, free)
    each = measured.bytes / measured.pixels
    estimate = max(reached, round(each * asked.pixels))
    most = MARGIN * free / each
    if estimate <= free:
        # It failed where it should have fitted: the memory lies in pieces, or somebody else took it.
        return Shortage(asked, None, free, _fitting(asked, min(most, asked.pixels / 2)))
    return Shortage(asked, estimate, free, _fitting(asked, most))


def _fitting(asked: Extent, most: float) -> Extent | None:
    """The largest of fewer pictures, else of smaller ones, of at most ``most`` pixels."""
    single = asked.width * asked.height
    fewer = min(int(most // single), asked.count - 1)
    if fewer >= 1:
        return Extent(asked.width, asked.height, fewer)
    factor = math.sqrt(most / single)
    width, height = (int(edge * factor) // CELL * CELL for edge in (asked.width, asked.height))
    return Extent(width, height) if 0 < width * height < single else None


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f}"
