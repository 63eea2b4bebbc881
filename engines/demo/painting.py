"""Paints a scene: sky, land or water, objects, weather, in the manner of a flat poster.

Flat areas, clean edges and few textures are what a small autoencoder can keep and a small denoiser can learn.
"""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from engines.demo import furniture
from engines.demo.canvas import Canvas, Colour, Curve, mix
from engines.demo.furniture import SNOW
from engines.demo.scenes import Scene

RGB = tuple[int, int, int]

SKY_COLOURS: Mapping[str, tuple[RGB, RGB]] = MappingProxyType(
    {
        "day": ((52, 130, 222), (198, 230, 250)),
        "sunrise": ((132, 156, 222), (255, 212, 178)),
        "sunset": ((88, 44, 116), (255, 128, 42)),
        "night": ((8, 12, 42), (40, 58, 116)),
    }
)
PALETTES: Mapping[str, tuple[RGB, RGB]] = MappingProxyType(
    {
        "purple": ((92, 36, 152), (206, 146, 236)),
        "pink": ((226, 92, 160), (255, 206, 220)),
        "green": ((16, 122, 84), (164, 234, 172)),
        "golden": ((222, 148, 26), (255, 234, 136)),
    }
)
PALETTE_LIGHT: Mapping[str, float] = MappingProxyType(
    {"day": 1.0, "sunrise": 0.96, "sunset": 0.8, "night": 0.4}
)
LIGHT: Mapping[str, RGB] = MappingProxyType(
    {"day": (255, 255, 255), "sunrise": (250, 222, 210), "sunset": (212, 150, 132), "night": (88, 104, 158)}
)
GREYS: Mapping[str, int] = MappingProxyType({"day": 178, "sunrise": 166, "sunset": 116, "night": 52})
CLOUDS: Mapping[str, RGB] = MappingProxyType(
    {"day": (252, 253, 255), "sunrise": (255, 222, 214), "sunset": (240, 126, 104), "night": (66, 74, 112)}
)
SUNS: Mapping[str, RGB] = MappingProxyType(
    {"day": (255, 244, 180), "sunrise": (255, 238, 172), "sunset": (255, 206, 84)}
)
HORIZONS: Mapping[str, float] = MappingProxyType(
    {"mountains": 0.66, "hills": 0.54, "desert": 0.58, "sea": 0.56, "lake": 0.56, "forest": 0.6}
)
MOONLIGHT: RGB = (250, 246, 224)
GREYING: Mapping[str, float] = MappingProxyType(
    {"clear": 0.0, "cloudy": 0.4, "rain": 0.78, "fog": 0.66, "snow": 0.35}
)


def wave(rng: np.random.Generator, count: int, frequency: float) -> Curve:
    """Returns a smooth curve of ``count`` samples between about -1 and 1 with some ``frequency`` periods."""
    x = np.linspace(0, 1, count)
    terms = [
        np.sin(2 * np.pi * (frequency * rng.uniform(0.6, 1.4) * step * x + rng.random())) / step
        for step in (1, 2)
    ]
    return np.asarray(sum(terms), np.float64) / 1.5


class Painter:
    """Paints one scene; every choice that the scene leaves open comes from ``rng``."""

    def __init__(self, scene: Scene, rng: np.random.Generator, size: int) -> None:
        self.scene, self.rng, self.size = scene, rng, size
        self.light = mix((0, 0, 0), LIGHT[scene.time], float(rng.uniform(0.94, 1.05)) / 255)
        self.horizon = HORIZONS[scene.terrain] + float(rng.uniform(-0.04, 0.04))
        grey = GREYS[scene.time]
        self.grey = np.array([grey * 0.96, grey, grey * 1.06], np.float32)
        self.high, self.low = self._sky()
        self.glow_x: float | None = None
        self.canvas = Canvas(size, self._background())
        self.ground = np.full(64, self.horizon)

    def lit(self, colour: RGB | Colour, haze: float = 0.0, *, shelter: float = 0.0) -> Colour:
        """Returns a colour in the hour's light; haze blends in the sky, shelter keeps its own hue."""
        light = mix(self.light, (1.0, 1.0, 1.0), shelter)
        shown: Colour = np.asarray(colour, np.float32) * light
        return mix(shown, self.low, haze)

    def _sky(self) -> tuple[Colour, Colour]:
        scene = self.scene
        high, low = (np.asarray(colour, np.float32) for colour in SKY_COLOURS[scene.time])
        if scene.sky:
            shade = np.float32(PALETTE_LIGHT[scene.time])
            high, low = (np.asarray(colour, np.float32) * shade for colour in PALETTES[scene.sky])
        shift = self.rng.uniform(-10, 10, 3).astype(np.float32)
        share = GREYING[scene.weather]
        dark = np.float32(0.74 if scene.weather == "rain" else 1.08)
        return mix(high + shift, self.grey * dark, share), mix(
            low + shift, self.grey * (dark + 0.2) / 1.1, share
        )

    def _background(self) -> npt.NDArray[np.float32]:
        """Returns the sky's gradient with the glow of the sun or the moon."""
        scene, rng, size = self.scene, self.rng, self.size
        height = (np.arange(size, dtype=np.float32) / size)[:, None, None]
        slope = np.clip(height / self.horizon, 0, 1) ** rng.uniform(0.8, 1.3)
        picture = np.broadcast_to(self.high + (self.low - self.high) * slope, (size, size, 3)).astype(
            np.float32
        )
        self.body = (float(rng.uniform(0.2, 0.8)), self._height_of_light())
        if scene.sun or scene.moon:
            self.glow_x = self.body[0]
            colour = np.asarray(SUNS[scene.time] if scene.sun else MOONLIGHT, np.float32)
            across = (np.arange(size, dtype=np.float32) / size)[None, :, None]
            distance = np.hypot(across - self.body[0], height - self.body[1])
            picture += np.exp(-distance / 0.13) * (0.6 if scene.sun else 0.28) * (colour - picture)
        return picture

    def _height_of_light(self) -> float:
        if self.scene.time in ("day", "night"):
            return float(self.rng.uniform(0.15, 0.26))
        if self.scene.terrain in ("mountains", "lake", "forest"):
            return float(self.rng.uniform(0.16, 0.26))
        return self.horizon - float(self.rng.uniform(0.08, 0.2))

    def paint_sky(self) -> None:
        """Paints stars, the sun or the moon, and clouds."""
        scene, rng, canvas = self.scene, self.rng, self.canvas
        if scene.stars:
            self._stars()
        if scene.sun:
            radius = float(rng.uniform(0.075, 0.1))
            canvas.ellipse(self.body, (radius, radius), SUNS[scene.time])
        if scene.moon:
            self._moon()
        counts = {"clear": (0, 3), "cloudy": (5, 8), "rain": (5, 8), "snow": (1, 4), "fog": (0, 1)}
        colour = np.asarray(CLOUDS[scene.time], np.float32)
        if scene.weather == "rain":
            colour = self.grey * np.float32(0.66)
        elif scene.sky:
            colour = mix(self.low, (255, 255, 255), 0.35 if scene.time != "night" else 0.05)
        for _ in range(int(rng.integers(*counts[scene.weather]))):
            self._cloud(float(rng.uniform(0, 1)), float(rng.uniform(0.06, self.horizon - 0.2)), colour)

    def _stars(self) -> None:
        for _ in range(int(self.rng.integers(16, 26))):
            x, y = float(self.rng.uniform(0.02, 0.98)), float(self.rng.uniform(0.03, self.horizon - 0.12))
            reach = float(self.rng.uniform(0.018, 0.034))
            waist = reach * 0.34
            outline = [(x, y - reach), (x + waist, y - waist), (x + reach, y), (x + waist, y + waist)]
            outline += [(x, y + reach), (x - waist, y + waist), (x - reach, y), (x - waist, y - waist)]
            self.canvas.polygon(outline, (255, 252, 226))

    def _moon(self) -> None:
        radius = float(self.rng.uniform(0.085, 0.11))
        self.canvas.ellipse(self.body, (radius, radius), MOONLIGHT)
        if self.scene.moon == "crescent":
            shift = radius * 0.62 * (1 if self.rng.random() < 0.5 else -1)
            share = min(1.0, self.body[1] / self.horizon)
            behind = mix(mix(self.high, self.low, share), MOONLIGHT, 0.1)
            self.canvas.ellipse(
                (self.body[0] + shift, self.body[1] - radius * 0.22), (radius, radius), behind
            )

    def _cloud(self, x: float, y: float, colour: Colour) -> None:
        share = min(1.0, y / self.horizon)
        shade = mix(mix(self.high, self.low, share), colour, 0.82)
        width = float(self.rng.uniform(0.1, 0.17))
        self.canvas.box([(x - width, y - 0.018), (x + width, y + 0.022)], shade, radius=0.02)
        for shift, lift, radius in ((-0.4, 0.012, 0.034), (0.12, 0.026, 0.048), (0.52, 0.01, 0.03)):
            self.canvas.ellipse((x + shift * width, y - lift), (radius * 1.25, radius), shade)

    def paint_land(self) -> None:
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
        self.canvas.land(self.ground, self.lit(top, haze), self.lit(mix(top, (20, 50, 40), 0.22), haze))

    def _peaks(self, base: float, tall: float, haze: float) -> None:
        """Paints a row of peaks, each with a lit and a shaded side and, where it is cold, a cap of snow."""
        rng, canvas = self.rng, self.canvas
        count = int(rng.integers(3, 5))
        bright, dark = self.lit((136, 142, 170), haze), self.lit((88, 94, 124), haze)
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
        self.canvas.polygon([top, *edge], self.lit(SNOW, haze * 0.6, shelter=0.15))

    def _mountain_land(self) -> None:
        self._peaks(self.horizon + 0.11, 0.44, 0.34)
        if self.rng.random() < 0.6:
            self._peaks(self.horizon + 0.11, 0.26, 0.12)
        self._field(self.horizon + 0.06, 0.0, 0.04, amplitude=0.02)

    def _hills(self) -> None:
        for step in range(3):
            far = 1 - step / 2
            self._field(
                self.horizon + 0.13 * step, 0.2 - 0.2 * far, 0.3 * far + 0.02, amplitude=0.05 - 0.008 * step
            )

    def _dunes(self) -> None:
        sand = np.array((236, 190, 118), np.float32)
        for step in range(3):
            far = 1 - step / 2
            crest = -np.abs(wave(self.rng, 64, 0.9 + 0.3 * step)) * 0.08
            self.ground = self.horizon + 0.04 + 0.13 * step + crest
            top = mix(sand, (206, 138, 78), 0.3 * step)
            self.canvas.land(
                self.ground, self.lit(top, 0.2 * far), self.lit(mix(top, (170, 104, 60), 0.4), 0.2 * far)
            )

    def _forest(self) -> None:
        rng = self.rng
        self._field(self.horizon, 0.15, 0.3, amplitude=0.015)
        for row, (haze, height, count) in enumerate(((0.36, 0.28, 11), (0.17, 0.36, 8), (0.03, 0.44, 6))):
            foot = self.horizon + 0.06 + 0.09 * row
            for x in np.linspace(-0.02, 1.02, count):
                self.tree(
                    float(x + rng.normal(0, 0.015)), foot, height * float(rng.uniform(0.85, 1.12)), haze
                )
        self._field(self.horizon + 0.22, 0.0, 0.02, amplitude=0.012)

    def _water(self) -> None:
        rng, horizon = self.rng, self.horizon
        if self.scene.terrain == "lake":
            self._peaks(horizon, 0.34, 0.2)
        near = self.lit(mix((26, 108, 170), self.low, 0.2))
        far = mix(near, self.low, 0.55)
        ridge = np.full(2, horizon)
        self.canvas.land(ridge, far, near * np.float32(0.66))
        if self.scene.terrain == "lake":
            self.canvas.mirror(horizon, 0.42)
        for _ in range(int(rng.integers(8, 14))):
            depth = float(rng.uniform(0.06, 1)) ** 1.2
            x, y, half = float(rng.uniform(0, 1)), horizon + (1 - horizon) * depth, 0.05 + 0.1 * depth
            shade = mix(mix(far, near * np.float32(0.66), depth), self.low, 0.3)
            self.canvas.box([(x - half, y), (x + half, y + 0.012 + 0.008 * depth)], shade, radius=0.008)
        if self.glow_x is not None:
            colour = mix(SUNS[self.scene.time] if self.scene.sun else (214, 220, 236), self.low, 0.15)
            for step in range(6):
                y = horizon + 0.02 + step * 0.07
                half = (0.05 + 0.025 * step) * float(rng.uniform(0.7, 1.15))
                self.canvas.box(
                    [(self.glow_x - half, y), (self.glow_x + half, y + 0.024)], colour, radius=0.012
                )

    def tree(self, x: float, y: float, height: float, haze: float = 0.0) -> None:
        """Paints a pine or a round tree, as the scene says; autumn trees are always round."""
        scene = self.scene
        bark = self.lit((98, 66, 44), haze)
        if scene.pines and scene.season != "autumn":
            snow = self.lit(SNOW, haze) if scene.season == "winter" else None
            furniture.pine(
                self.canvas, x, y, height=height, green=self.lit((36, 92, 58), haze), bark=bark, snow=snow
            )
        else:
            leaves = self.lit(furniture.leaf_colour(self.rng, scene.season), haze)
            furniture.leafy_tree(self.canvas, x, y, height=height, leaves=leaves, bark=bark)

    def _level(self, x: float) -> float:
        return float(np.interp(x, np.linspace(0, 1, len(self.ground)), self.ground))

    def paint_objects(self) -> None:
        """Paints what stands on the land or floats on the water."""
        scene, rng = self.scene, self.rng
        x = float(rng.uniform(0.26, 0.74))
        if scene.house:
            floor = min(0.93, self._level(x) + float(rng.uniform(0.1, 0.16)))
            roof = (
                SNOW if scene.season == "winter" else (74, 78, 96) if scene.house == "red" else (142, 66, 48)
            )
            dusk = scene.time in ("night", "sunset")
            furniture.house(
                self.canvas,
                x,
                floor,
                width=float(rng.uniform(0.32, 0.38)),
                paint=self.lit(furniture.PAINT[scene.house], shelter=0.5),
                roof=self.lit(roof, shelter=0.15),
                window=np.array((255, 218, 112), np.float32) if dusk else self.lit((110, 150, 190)),
            )
        if scene.boat:
            height, water = float(rng.uniform(0.38, 0.46)), self.horizon + float(rng.uniform(0.14, 0.24))
            sail, side = self.lit(furniture.PAINT[scene.boat], shelter=0.55), 1 if rng.random() < 0.5 else -1
            furniture.boat(
                self.canvas,
                x,
                water,
                height=height,
                side=side,
                sail=sail,
                hull=self.lit((126, 70, 42), shelter=0.1),
            )
        if scene.cactus:
            height = float(rng.uniform(0.36, 0.44))
            green = self.lit((44, 132, 72), shelter=0.1)
            furniture.cactus(self.canvas, x, min(0.95, self._level(x) + 0.14), height=height, green=green)
        places = rng.permutation([0.16, 0.38, 0.62, 0.84])[: scene.trees]
        for place in places if scene.trees > 1 else [x] * scene.trees:
            at = float(place + rng.normal(0, 0.02))
            height = float(rng.uniform(0.4, 0.48)) if scene.trees == 1 else float(rng.uniform(0.28, 0.36))
            self.tree(at, min(0.97, self._level(at) + float(rng.uniform(0.08, 0.16))), height)

    def paint_weather(self) -> None:
        """Paints rain, falling snow or fog over everything."""
        rng, canvas, weather = self.rng, self.canvas, self.scene.weather
        if weather == "rain":
            shade = self.grey * np.float32(1.2) + np.float32(22)
            for _ in range(30):
                x, y, length = (
                    float(rng.uniform(0, 1.1)),
                    float(rng.uniform(-0.1, 1)),
                    float(rng.uniform(0.08, 0.13)),
                )
                canvas.line([(x, y), (x - length * 0.3, y + length)], 0.012, shade)
        elif weather == "snow":
            shade = mix((252, 252, 255), self.lit((252, 252, 255)), 0.4)
            for _ in range(34):
                radius = float(rng.uniform(0.011, 0.019))
                canvas.ellipse((float(rng.uniform(0, 1)), float(rng.uniform(0, 1))), (radius, radius), shade)
        elif weather == "fog":
            heights = np.linspace(0, 1, 64)
            density = np.exp(-(((heights - self.horizon - 0.04) / 0.2) ** 2)) * 0.52 + 0.24
            canvas.veil(self.grey * np.float32(1.14), density)


def paint(scene: Scene, rng: np.random.Generator, *, size: int) -> npt.NDArray[np.uint8]:
    """Returns a picture of the scene, ``size`` x ``size`` x 3; equal arguments give an equal one."""
    painter = Painter(scene, rng, size)
    painter.paint_sky()
    painter.paint_land()
    painter.paint_objects()
    painter.paint_weather()
    return painter.canvas.pixels()
