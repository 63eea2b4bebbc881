"""The light of a scene: the colours of its sky and what they do to everything under it."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from engines.demo.canvas import Colour, mix
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


class Daylight:
    """The light in a scene: the sky's colour ``high`` up and ``low`` down, the weather's ``grey``.

    ``horizon`` is the height of the sky's lower edge in unit coordinates.
    """

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self._light = mix((0, 0, 0), LIGHT[scene.time], float(rng.uniform(0.94, 1.05)) / 255)
        self.horizon = HORIZONS[scene.terrain] + float(rng.uniform(-0.04, 0.04))
        grey = GREYS[scene.time]
        self.grey = np.array([grey * 0.96, grey, grey * 1.06], np.float32)
        self.high, self.low = self._sky(scene, rng)

    def lit(self, colour: RGB | Colour, haze: float = 0.0, *, shelter: float = 0.0) -> Colour:
        """Returns a colour in the hour's light; haze blends in the sky, shelter keeps its own hue."""
        light = mix(self._light, (1.0, 1.0, 1.0), shelter)
        shown: Colour = np.asarray(colour, np.float32) * light
        return mix(shown, self.low, haze)

    def _sky(self, scene: Scene, rng: np.random.Generator) -> tuple[Colour, Colour]:
        high, low = (np.asarray(colour, np.float32) for colour in SKY_COLOURS[scene.time])
        if scene.sky:
            shade = np.float32(PALETTE_LIGHT[scene.time])
            high, low = (np.asarray(colour, np.float32) * shade for colour in PALETTES[scene.sky])
        shift = rng.uniform(-10, 10, 3).astype(np.float32)
        share = GREYING[scene.weather]
        dark = np.float32(0.74 if scene.weather == "rain" else 1.08)
        return mix(high + shift, self.grey * dark, share), mix(
            low + shift, self.grey * (dark + 0.2) / 1.1, share
        )

    def sky_at(self, y: float) -> Colour:
        """Returns the sky's colour at a height."""
        return mix(self.high, self.low, min(1.0, y / self.horizon))
