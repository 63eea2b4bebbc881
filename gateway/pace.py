"""How long requests take: a running mean, in which what was measured last counts most."""

from __future__ import annotations

from typing import Final

USUAL_SECONDS: Final = 5.0
"""How long a request is supposed to take before one has been measured."""
_WEIGHT: Final = 0.3
"""Of the newest measurement."""


def moved(mean: float, newest: float) -> float:
    """The mean in seconds, with one more measurement in it."""
    return mean + _WEIGHT * (newest - mean)
