"""Paints the sky: its gradient, the sun or the moon, stars and clouds."""

import numpy as np
import numpy.typing as npt

from engines.demo.canvas import Canvas, Colour, mix
from engines.demo.daylight import CLOUDS, MOONLIGHT, SUNS, Daylight
from engines.demo.scenes import Scene


class Sky:
    """The sky of one scene. ``glow_x`` is where the sun or the moon stands, ``None`` where neither does."""

    def __init__(self, scene: Scene, day: Daylight, rng: np.random.Generator) -> None:
        self.scene, self.day, self.rng = scene, day, rng
        self.body = (0.5, 0.2)
        self.glow_x: float | None = None

    def backdrop(self, size: int) -> npt.NDArray[np.float32]:
        """Returns the sky's gradient with the glow of the sun or the moon."""
        scene, rng = self.scene, self.rng
        height = (np.arange(size, dtype=np.float32) / size)[:, None, None]
        slope = np.clip(height / self.day.horizon, 0, 1) ** rng.uniform(0.8, 1.3)
        picture = np.broadcast_to(
            self.day.high + (self.day.low - self.day.high) * slope, (size, size, 3)
        ).astype(np.float32)
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
        return self.day.horizon - float(self.rng.uniform(0.08, 0.2))

    def paint(self, canvas: Canvas) -> None:
        """Paints stars, the sun or the moon, and clouds."""
        scene, rng = self.scene, self.rng
        if scene.stars:
            self._stars(canvas)
        if scene.sun:
            radius = float(rng.uniform(0.075, 0.1))
            canvas.ellipse(self.body, (radius, radius), SUNS[scene.time])
        if scene.moon:
            self._moon(canvas)
        counts = {"clear": (0, 3), "cloudy": (5, 8), "rain": (5, 8), "snow": (1, 4), "fog": (0, 1)}
        colour = np.asarray(CLOUDS[scene.time], np.float32)
        if scene.weather == "rain":
            colour = self.day.grey * np.float32(0.66)
        elif scene.sky:
            colour = mix(self.day.low, (255, 255, 255), 0.35 if scene.time != "night" else 0.05)
        for _ in range(int(rng.integers(*counts[scene.weather]))):
            x, y = float(rng.uniform(0, 1)), float(rng.uniform(0.06, self.day.horizon - 0.2))
            hides = scene.moon and abs(x - self.body[0]) < 0.3 and abs(y - self.body[1]) < 0.16
            if not hides:  # a moon half behind a cloud has no phase
                self._cloud(canvas, x, y, colour)

    def _stars(self, canvas: Canvas) -> None:
        for _ in range(int(self.rng.integers(16, 26))):
            x, y = float(self.rng.uniform(0.02, 0.98)), float(self.rng.uniform(0.03, self.day.horizon - 0.12))
            reach = float(self.rng.uniform(0.018, 0.034))
            waist = reach * 0.34
            outline = [(x, y - reach), (x + waist, y - waist), (x + reach, y), (x + waist, y + waist)]
            outline += [(x, y + reach), (x - waist, y + waist), (x - reach, y), (x - waist, y - waist)]
            canvas.polygon(outline, (255, 252, 226))

    def _moon(self, canvas: Canvas) -> None:
        radius = float(self.rng.uniform(0.085, 0.11))
        side = 1 if self.rng.random() < 0.5 else -1  # drawn for a full moon too, so that twins stay in step
        canvas.ellipse(self.body, (radius, radius), MOONLIGHT)
        if self.scene.moon == "crescent":
            shift = radius * 0.62 * side
            behind = mix(self.day.sky_at(self.body[1]), MOONLIGHT, 0.1)
            canvas.ellipse((self.body[0] + shift, self.body[1] - radius * 0.22), (radius, radius), behind)

    def _cloud(self, canvas: Canvas, x: float, y: float, colour: Colour) -> None:
        shade = mix(self.day.sky_at(y), colour, 0.82)
        width = float(self.rng.uniform(0.1, 0.17))
        canvas.box([(x - width, y - 0.018), (x + width, y + 0.022)], shade, radius=0.02)
        for shift, lift, radius in ((-0.4, 0.012, 0.034), (0.12, 0.026, 0.048), (0.52, 0.01, 0.03)):
            canvas.ellipse((x + shift * width, y - lift), (radius * 1.25, radius), shade)
