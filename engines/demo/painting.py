"""Paints a scene: sky, land or water, objects, weather, in the manner of a flat poster.

Flat areas, clean edges and few textures are what a small autoencoder can keep and a small denoiser can learn.
"""

import numpy as np
import numpy.typing as npt

from engines.demo import furniture
from engines.demo.canvas import Canvas, mix
from engines.demo.daylight import Daylight
from engines.demo.furniture import SNOW
from engines.demo.land import Land
from engines.demo.scenes import Scene
from engines.demo.sky import Sky


class Painter:
    """Paints one scene; every choice that the scene leaves open comes from ``rng``."""

    def __init__(self, scene: Scene, rng: np.random.Generator, size: int) -> None:
        self.scene, self.rng = scene, rng
        self.day = Daylight(scene, rng)
        self.sky = Sky(scene, self.day, rng)
        self.canvas = Canvas(size, self.sky.backdrop(size))
        self.land = Land(scene, self.day, rng, canvas=self.canvas, glow_x=self.sky.glow_x)

    def paint_objects(self) -> None:
        """Paints what stands on the land or floats on the water."""
        scene, rng = self.scene, self.rng
        x = float(rng.uniform(0.26, 0.74))
        if scene.house:
            floor = min(0.93, self.land.level(x) + float(rng.uniform(0.1, 0.16)))
            paint = furniture.PAINT[scene.house]
            roof = SNOW if scene.season == "winter" else furniture.shade(paint)
            dusk = scene.time in ("night", "sunset")
            furniture.house(
                self.canvas,
                x,
                floor,
                width=float(rng.uniform(0.32, 0.38)),
                paint=self.day.lit(paint, shelter=0.6),
                roof=self.day.lit(roof, shelter=0.4),
                window=np.array((255, 218, 112), np.float32) if dusk else self.day.lit((110, 150, 190)),
            )
        if scene.boat:
            height, water = float(rng.uniform(0.38, 0.46)), self.day.horizon + float(rng.uniform(0.14, 0.24))
            side = 1 if rng.random() < 0.5 else -1
            paint = furniture.PAINT[scene.boat]
            furniture.boat(
                self.canvas,
                x,
                water,
                height=height,
                side=side,
                sail=self.day.lit(paint, shelter=0.6),
                hull=self.day.lit(furniture.shade(paint), shelter=0.4),
            )
        if scene.cactus:
            height = float(rng.uniform(0.36, 0.44))
            green = self.day.lit((44, 132, 72), shelter=0.1)
            furniture.cactus(self.canvas, x, min(0.95, self.land.level(x) + 0.14), height=height, green=green)
        places = rng.permutation([0.16, 0.38, 0.62, 0.84])[: scene.trees]
        for place in places if scene.trees > 1 else [x] * scene.trees:
            at = float(place + rng.normal(0, 0.02))
            height = float(rng.uniform(0.4, 0.48)) if scene.trees == 1 else float(rng.uniform(0.28, 0.36))
            self.land.tree(at, min(0.97, self.land.level(at) + float(rng.uniform(0.08, 0.16))), height)

    def paint_weather(self) -> None:
        """Paints rain, falling snow or fog over everything."""
        rng, canvas, weather = self.rng, self.canvas, self.scene.weather
        if weather == "rain":
            shade = self.day.grey * np.float32(1.2) + np.float32(22)
            for _ in range(30):
                x, y, length = (
                    float(rng.uniform(0, 1.1)),
                    float(rng.uniform(-0.1, 1)),
                    float(rng.uniform(0.08, 0.13)),
                )
                canvas.line([(x, y), (x - length * 0.3, y + length)], 0.012, shade)
        elif weather == "snow":
            shade = mix((252, 252, 255), self.day.lit((252, 252, 255)), 0.4)
            for _ in range(34):
                radius = float(rng.uniform(0.011, 0.019))
                canvas.ellipse((float(rng.uniform(0, 1)), float(rng.uniform(0, 1))), (radius, radius), shade)
        elif weather == "fog":
            heights = np.linspace(0, 1, 64)
            density = np.exp(-(((heights - self.day.horizon - 0.04) / 0.2) ** 2)) * 0.52 + 0.24
            canvas.veil(self.day.grey * np.float32(1.14), density)


def paint(scene: Scene, rng: np.random.Generator, *, size: int) -> npt.NDArray[np.uint8]:
    """Returns a picture of the scene, ``size`` x ``size`` x 3; equal arguments give an equal one."""
    painter = Painter(scene, rng, size)
    painter.sky.paint(painter.canvas)
    painter.land.paint()
    painter.paint_objects()
    painter.paint_weather()
    return painter.canvas.pixels()
