"""Paints the land or the water of a scene, and remembers where things can stand."""

import numpy as np

from engines.demo import furniture
from engines.demo.canvas import Canvas, Colour, Curve, mix
from engines.demo.daylight import SUNS, Daylight
from engines.demo.furniture import SNOW
from engines.demo.scenes import Scene


def wave(rng: np.random.Generator, count: int, frequency: float) -> Curve:
    """Returns a smooth curve of ``count`` samples between about -1 and 1 with some ``frequency`` periods."""
    x = np.linspace(0, 1, count)
    terms = [
        np.sin(2 * np.pi * (frequency * rng.uniform(0.6, 1.4) * step * x + rng.random())) / step
        for step in (1, 2)
    ]
    return np.asarray(sum(terms), np.float64) / 1.5


class Land:
    """The ground of one scene. ``glow_x`` is where the light is mirrored in water, if anywhere."""

    def __init__(
        self, scene: Scene, day: Daylight, rng: np.random.Generator, *, canvas: Canvas, glow_x: float | None
    ) -> None:
        self.scene, self.day, self.rng, self.canvas, self.glow_x = scene, day, rng, canvas, glow_x
        self.ground = np.full(64, day.horizon)

    def paint(self) -> None:
        """Paints the terrain and remembers the line on which things can stand."""
        terrain = self.scene.terrain
        {
            "mountains": self._mountain_land,
            "hills": self._hills,
            "desert": self._dunes,
            "forest": self._forest,
        }.get(terrain, self._water)()

    def _grass(self) -> Colour:
        season = self.scene.season
        return np.asarray(
            SNOW if season == "winter" else (196, 142, 54) if season == "autumn" else (96, 162, 64),
            np.float32,
        )

    def _field(
        self, level: float, tint: float, haze: float, *, frequency: float = 0.9, amplitude: float = 0.035
    ) -> None:
        self.ground = level + wave(self.rng, 64, frequency) * amplitude
        top = mix(self._grass(), (30, 60, 50), tint)
        self.canvas.land(
            self.ground, self.day.lit(top, haze), self.day.lit(mix(top, (20, 50, 40), 0.22), haze)
        )

    def _peaks(self, base: float, tall: float, haze: float) -> None:
        """Paints a row of peaks, each with a lit and a shaded side and, where it is cold, a cap of snow."""
        rng, canvas = self.rng, self.canvas
        count = int(rng.integers(3, 5))
        bright, dark = self.day.lit((136, 142, 170), haze), self.day.lit((88, 94, 124), haze)
        capped = self.scene.season == "winter" or rng.random() < 0.7
        side = 1 if rng.random() < 0.5 else -1
        for place in rng.permutation(count):
            x = (place + float(rng.uniform(0.25, 0.75))) / count
            high, half = tall * float(rng.uniform(0.65, 1.1)), tall * float(rng.uniform(0.75, 1.0))
            top, ridge = (x, base - high), x + side * half * 0.12
            canvas.polygon([(x - half, base), top, (ridge, base)], bright if side > 0 else dark)
            canvas.polygon([(x + half, base), top, (ridge, base)], dark if side > 0 else bright)
            if capped:
                depth = 0.62 if self.scene.season == "winter" else 0.36
                self._cap(top, half * depth, high * depth, haze)

    def _cap(self, top: tuple[float, float], half: float, high: float, haze: float) -> None:
        x, y = top
        edge = [
            (x + half * at, y + high * deep)
            for at, deep in ((1, 1), (0.5, 0.72), (0.15, 1.02), (-0.4, 0.74), (-1, 1))
        ]
        self.canvas.polygon([top, *edge], self.day.lit(SNOW, haze * 0.6, shelter=0.15))

    def _mountain_land(self) -> None:
        self._peaks(self.day.horizon + 0.11, 0.44, 0.34)
        if self.rng.random() < 0.6:
            self._peaks(self.day.horizon + 0.11, 0.26, 0.12)
        self._field(self.day.horizon + 0.06, 0.0, 0.04, amplitude=0.02)

    def _hills(self) -> None:
        for step in range(3):
            far = 1 - step / 2
            self._field(
                self.day.horizon + 0.13 * step,
                0.2 - 0.2 * far,
                0.3 * far + 0.02,
                amplitude=0.05 - 0.008 * step,
            )

    def _dunes(self) -> None:
        sand = np.array((236, 190, 118), np.float32)
        for step in range(3):
            far = 1 - step / 2
            crest = -np.abs(wave(self.rng, 64, 0.9 + 0.3 * step)) * 0.08
            self.ground = self.day.horizon + 0.04 + 0.13 * step + crest
            top = mix(sand, (206, 138, 78), 0.3 * step)
            self.canvas.land(
                self.ground,
                self.day.lit(top, 0.2 * far),
                self.day.lit(mix(top, (170, 104, 60), 0.4), 0.2 * far),
            )

    def _forest(self) -> None:
        rng = self.rng
        self._field(self.day.horizon, 0.15, 0.3, amplitude=0.015)
        for row, (haze, height, count) in enumerate(((0.36, 0.28, 11), (0.17, 0.36, 8), (0.03, 0.44, 6))):
            foot = self.day.horizon + 0.06 + 0.09 * row
            for x in np.linspace(-0.02, 1.02, count):
                self.tree(
                    float(x + rng.normal(0, 0.015)), foot, height * float(rng.uniform(0.85, 1.12)), haze
                )
        self._field(self.day.horizon + 0.22, 0.0, 0.02, amplitude=0.012)

    def _water(self) -> None:
        rng, horizon = self.rng, self.day.horizon
        if self.scene.terrain == "lake":
            self._peaks(horizon, 0.34, 0.2)
        near = self.day.lit(mix((26, 108, 170), self.day.low, 0.2))
        far = mix(near, self.day.low, 0.55)
        ridge = np.full(2, horizon)
        self.canvas.land(ridge, far, near * np.float32(0.66))
        if self.scene.terrain == "lake":
            self.canvas.mirror(horizon, 0.42)
        for _ in range(int(rng.integers(8, 14))):
            depth = float(rng.uniform(0.06, 1)) ** 1.2
            x, y, half = float(rng.uniform(0, 1)), horizon + (1 - horizon) * depth, 0.05 + 0.1 * depth
            shade = mix(mix(far, near * np.float32(0.66), depth), self.day.low, 0.3)
            self.canvas.box([(x - half, y), (x + half, y + 0.012 + 0.008 * depth)], shade, radius=0.008)
        if self.glow_x is not None:
            colour = mix(SUNS[self.scene.time] if self.scene.sun else (214, 220, 236), self.day.low, 0.15)
            for step in range(6):
                y = horizon + 0.02 + step * 0.07
                half = (0.05 + 0.025 * step) * float(rng.uniform(0.7, 1.15))
                self.canvas.box(
                    [(self.glow_x - half, y), (self.glow_x + half, y + 0.024)], colour, radius=0.012
                )

    def tree(self, x: float, y: float, height: float, haze: float = 0.0) -> None:
        """Paints a pine or a round tree, as the scene says; autumn trees are always round."""
        scene = self.scene
        bark = self.day.lit((98, 66, 44), haze)
        if scene.pines and scene.season != "autumn":
            snow = self.day.lit(SNOW, haze) if scene.season == "winter" else None
            furniture.pine(
                self.canvas, x, y, height=height, green=self.day.lit((36, 92, 58), haze), bark=bark, snow=snow
            )
        else:
            leaves = self.day.lit(furniture.leaf_colour(self.rng, scene.season), haze)
            furniture.leafy_tree(self.canvas, x, y, height=height, leaves=leaves, bark=bark)

    def level(self, x: float) -> float:
        """Returns the height of the nearest ridge at ``x``."""
        return float(np.interp(x, np.linspace(0, 1, len(self.ground)), self.ground))
