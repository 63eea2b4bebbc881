"""The things that stand in a landscape: houses, boats, cacti and trees, as bold flat shapes.

Everything is drawn large on purpose. The autoencoder keeps one latent per 8 x 8 pixels, and whatever is
smaller than about four latents across is gone before the denoiser ever sees it.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from engines.demo.canvas import Canvas, Colour, mix

PAINT: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {"white": (246, 244, 238), "red": (214, 44, 40), "blue": (40, 92, 214), "yellow": (248, 206, 52)}
)
SNOW = (238, 243, 252)
AUTUMN_LEAVES = ((226, 118, 34), (206, 72, 34), (236, 172, 46))


def shade(paint: tuple[int, int, int]) -> Colour:
    """Returns the dark tone of a paint, for the roof of a house and the hull of a boat.

    An object is of one colour all over: with brown roofs and hulls every object was red to the denoiser.
    """
    return mix(paint, (44, 40, 52), 0.5)


def house(
    canvas: Canvas, x: float, y: float, *, width: float, paint: Colour, roof: Colour, window: Colour
) -> None:
    """Draws a house whose floor is centred at ``(x, y)``."""
    height, half = width * 0.62, width / 2
    canvas.box([(x - half, y - height), (x + half, y)], paint)
    canvas.polygon(
        [(x - half * 1.25, y - height), (x + half * 1.25, y - height), (x, y - height - width * 0.46)], roof
    )
    canvas.box([(x - width * 0.11, y - height * 0.58), (x + width * 0.11, y)], mix(roof, (40, 28, 24), 0.35))
    for side in (-1, 1):
        middle = x + side * width * 0.31
        corners = [(middle - width * 0.1, y - height * 0.78), (middle + width * 0.1, y - height * 0.4)]
        canvas.box(corners, window)


def boat(canvas: Canvas, x: float, y: float, *, height: float, side: int, sail: Colour, hull: Colour) -> None:
    """Draws a sailboat that floats at ``(x, y)`` and heads to ``side`` (-1 left, 1 right)."""
    mast = mix(hull, (30, 20, 16), 0.4)
    canvas.polygon(
        [
            (x - height * 0.5, y - height * 0.15),
            (x + height * 0.5, y - height * 0.15),
            (x + height * 0.34, y + height * 0.08),
            (x - height * 0.34, y + height * 0.08),
        ],
        hull,
    )
    canvas.box([(x - height * 0.022, y - height), (x + height * 0.022, y - height * 0.13)], mast)
    near, far = x + side * height * 0.04, x - side * height * 0.04
    foot = y - height * 0.21
    canvas.polygon([(near, y - height * 0.98), (near, foot), (x + side * height * 0.48, foot)], sail)
    canvas.polygon(
        [(far, y - height * 0.86), (far, foot), (x - side * height * 0.36, foot)], mix(sail, (0, 0, 0), 0.12)
    )


def cactus(canvas: Canvas, x: float, y: float, *, height: float, green: Colour) -> None:
    """Draws a cactus with two arms, rooted at ``(x, y)``."""
    half = height * 0.1
    canvas.box([(x - half, y - height), (x + half, y)], green, radius=half)
    for side, level in ((-1, 0.42), (1, 0.56)):
        reach = x + side * half * 3.1
        canvas.box([(min(x, reach), y - height * level), (max(x, reach), y - height * (level - 0.15))], green)
        tip = sorted((reach, reach - side * half * 1.5))
        top = y - height * (level + 0.24)
        canvas.box([(tip[0], top), (tip[1], y - height * (level - 0.15))], green, radius=half * 0.7)


def pine(
    canvas: Canvas, x: float, y: float, *, height: float, green: Colour, bark: Colour, snow: Colour | None
) -> None:
    """Draws a pine of three tiers, rooted at ``(x, y)``; ``snow`` is the colour of its snow, if any."""
    canvas.box([(x - height * 0.05, y - height * 0.14), (x + height * 0.05, y)], bark)
    for tier in range(3):
        foot = y - height * (0.11 + 0.26 * tier)
        half = height * (0.29 - 0.065 * tier)
        top = foot - height * 0.42
        canvas.polygon(
            [(x - half, foot), (x + half, foot), (x, top)], mix(green, (255, 255, 255), 0.04 * tier)
        )
        if snow is not None:
            cap = foot - height * 0.19
            canvas.polygon([(x - half * 0.55, cap), (x + half * 0.55, cap), (x, top)], snow)


def leafy_tree(canvas: Canvas, x: float, y: float, *, height: float, leaves: Colour, bark: Colour) -> None:
    """Draws a round tree, rooted at ``(x, y)``."""
    canvas.box([(x - height * 0.055, y - height * 0.5), (x + height * 0.055, y)], bark)
    for shift, level, radius, shade in (
        (-0.16, 0.55, 0.21, 0.14),
        (0.16, 0.55, 0.21, 0.07),
        (0.0, 0.73, 0.27, 0.0),
    ):
        centre = (x + shift * height, y - level * height)
        canvas.ellipse(centre, (radius * height, radius * height), mix(leaves, (0, 0, 0), shade))


def leaf_colour(rng: np.random.Generator, season: str) -> tuple[int, int, int]:
    """Returns a colour of leaves for the season."""
    if season == "autumn":
        return AUTUMN_LEAVES[int(rng.integers(len(AUTUMN_LEAVES)))]
    return (206, 218, 234) if season == "winter" else (70, 142, 58)
