"""A painter's canvas: flat shapes in unit coordinates, drawn large and averaged down to smooth edges."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Colour = npt.NDArray[np.float32]
Curve = npt.NDArray[np.float64]
Point = tuple[float, float]

OVERSAMPLING = 3


def mix(first: Sequence[float] | Colour, second: Sequence[float] | Colour, share: float) -> Colour:
    """Returns the colour that lies ``share`` of the way from the first (0) to the second (1)."""
    one, other = np.asarray(first, np.float32), np.asarray(second, np.float32)
    return one + (other - one) * np.float32(share)


def _fill(colour: Sequence[float] | Colour) -> tuple[int, int, int]:
    red, green, blue = (int(min(255.0, max(0.0, float(value)))) for value in colour)
    return red, green, blue


class Canvas:
    """Draws shapes given in unit coordinates (x to the right, y down, both 0 to 1) on a square picture.

    ``size`` is the side of the finished picture in pixels; colours are RGB from 0 to 255.
    """

    def __init__(self, size: int, background: npt.NDArray[np.float32]) -> None:
        self.size = size
        self.side = size * OVERSAMPLING
        picture = Image.fromarray(np.clip(background, 0, 255).astype(np.uint8))
        self._image = picture.resize((self.side, self.side), Image.Resampling.BILINEAR)
        self._pen = ImageDraw.Draw(self._image)

    def _scaled(self, points: Sequence[Point]) -> list[Point]:
        return [(x * self.side, y * self.side) for x, y in points]

    def polygon(self, points: Sequence[Point], colour: Sequence[float] | Colour) -> None:
        """Fills a polygon."""
        self._pen.polygon(self._scaled(points), fill=_fill(colour))

    def box(self, corners: Sequence[Point], colour: Sequence[float] | Colour, *, radius: float = 0.0) -> None:
        """Fills the rectangle between two opposite corners, with rounded corners where asked."""
        (left, top), (right, bottom) = self._scaled(corners)
        self._pen.rounded_rectangle((left, top, right, bottom), radius * self.side, fill=_fill(colour))

    def ellipse(self, centre: Point, radii: Point, colour: Sequence[float] | Colour) -> None:
        """Fills an ellipse with upright axes."""
        (left, top), (right, bottom) = self._scaled(
            [(centre[0] - radii[0], centre[1] - radii[1]), (centre[0] + radii[0], centre[1] + radii[1])]
        )
        self._pen.ellipse((left, top, right, bottom), fill=_fill(colour))

    def line(self, points: Sequence[Point], width: float, colour: Sequence[float] | Colour) -> None:
        """Draws a stroke of a given width."""
        self._pen.line(self._scaled(points), fill=_fill(colour), width=max(1, round(width * self.side)))

    def land(self, ridge: Curve, top: Colour, bottom: Colour) -> None:
        """Fills everything below a ridge (y for each x, any number of samples) with a vertical gradient."""
        mask = Image.new("L", (self.side, self.side))
        xs = np.linspace(0, 1, len(ridge))
        outline = [(float(x), float(y)) for x, y in zip(xs, ridge, strict=True)]
        ImageDraw.Draw(mask).polygon(self._scaled([(0.0, 1.1), *outline, (1.0, 1.1)]), fill=255)
        start = float(ridge.min())
        depth = np.clip((np.linspace(0, 1, self.side) - start) / max(1e-3, 1 - start), 0, 1)[:, None]
        column = np.clip(top + (bottom - top) * depth, 0, 255).astype(np.uint8)[:, None, :]
        self._image.paste(Image.fromarray(column).resize((self.side, self.side)), mask=mask)

    def mirror(self, horizon: float, strength: float) -> None:
        """Blends the upside-down picture above the horizon into what lies below it."""
        row = round(horizon * self.side)
        below = self._image.crop((0, row, self.side, self.side))
        above = self._image.crop((0, 2 * row - self.side, self.side, row)).transpose(
            Image.Transpose.FLIP_TOP_BOTTOM
        )
        self._image.paste(Image.blend(below, above, strength), (0, row))

    def veil(self, colour: Colour, opacity: Curve) -> None:
        """Covers the picture with a colour whose opacity (0 to 1) is given for each height."""
        ys = np.linspace(0, 1, self.side)
        column = (np.interp(ys, np.linspace(0, 1, len(opacity)), opacity) * 255).astype(np.uint8)[:, None]
        mask = Image.fromarray(column).resize((self.side, self.side))
        self._image.paste(Image.new("RGB", (self.side, self.side), _fill(colour)), mask=mask)

    def pixels(self) -> npt.NDArray[np.uint8]:
        """Returns the finished picture, ``size`` x ``size`` x 3."""
        return np.asarray(self._image.reduce(OVERSAMPLING), np.uint8)
