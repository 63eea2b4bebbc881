"""What a training picture shows: a scene, as plain data, and the distribution that it is drawn from.

The distribution is part of the model: it decides which words the model can learn. A denoiser of four million
weights that sees a few hundred thousand examples needs each word some thousand times, so the vocabulary is
short, a scene holds one main object, and colours and objects are far more frequent than in nature.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType

import numpy as np

TIMES = ("sunrise", "day", "sunset", "night")
TERRAINS = ("mountains", "hills", "desert", "sea", "lake", "forest")
WEATHERS = ("clear", "cloudy", "rain", "snow", "fog")
SEASONS = ("summer", "autumn", "winter")
SKIES = ("purple", "pink", "green", "golden")
COLOURS = ("white", "red", "blue", "yellow")
MOONS = ("full", "crescent")
TWINS: Mapping[str, tuple[str | bool, ...]] = MappingProxyType(
    {"house": COLOURS, "boat": COLOURS, "moon": MOONS, "cactus": (True, False)}
)
"""In what a scene and its twin may differ."""
TWIN_SHARES: Mapping[str | None, float] = MappingProxyType(
    {"house": 0.28, "boat": 0.28, "moon": 0.26, "cactus": 0.18}
)


@dataclass(frozen=True, slots=True)
class Scene:
    """The attributes of one picture; ``None`` and ``False`` mean that the thing is absent.

    ``sky`` is a colour in place of the hour's usual one, ``boat`` and ``house`` are the object's colour.
    """

    time: str
    terrain: str
    weather: str = "clear"
    season: str = "summer"
    sky: str | None = None
    sun: bool = False
    moon: str | None = None
    stars: bool = False
    boat: str | None = None
    house: str | None = None
    cactus: bool = False
    trees: int = 0
    pines: bool = False

    @property
    def water(self) -> bool:
        """Tells whether the ground is water."""
        return self.terrain in ("sea", "lake")

    def as_dict(self) -> dict[str, str | int | bool | None]:
        """Returns the attributes as JSON-ready data."""
        return asdict(self)


def _draw(rng: np.random.Generator, shares: Mapping[str | None, float]) -> str | None:
    keys = list(shares)
    weights = np.array(list(shares.values()))
    return keys[int(rng.choice(len(keys), p=weights / weights.sum()))]


def _draw_name(rng: np.random.Generator, shares: Mapping[str | None, float]) -> str:
    return str(_draw(rng, shares))


def _draw_object(rng: np.random.Generator, terrain: str) -> dict[str, str | int | bool | None]:
    """Draws the one main object that the terrain can carry."""
    colour = COLOURS[int(rng.integers(len(COLOURS)))]
    chance = rng.random()
    if terrain in ("sea", "lake"):
        return {"boat": colour} if chance < 0.62 else {}
    if terrain == "desert":
        return {"cactus": True} if chance < 0.55 else {}
    if chance < 0.52:
        return {"house": colour}
    if terrain in ("mountains", "hills") and chance < 0.78:
        return {"trees": int(rng.choice([1, 3]))}
    return {}


def sample_scene(rng: np.random.Generator) -> Scene:
    """Draws a scene whose attributes never contradict each other (no sun at night, no snow in the desert)."""
    time = _draw_name(rng, {"sunrise": 0.19, "day": 0.31, "sunset": 0.24, "night": 0.26})
    terrain = _draw_name(
        rng, {"mountains": 0.2, "hills": 0.17, "desert": 0.12, "sea": 0.2, "lake": 0.14, "forest": 0.17}
    )
    weather = _draw_name(rng, {"clear": 0.62, "cloudy": 0.11, "rain": 0.09, "snow": 0.1, "fog": 0.08})
    if terrain == "desert" and weather in ("snow", "rain"):
        weather = "clear"
    seasons: dict[str | None, float] = {"summer": 0.66, "autumn": 0.0, "winter": 0.0}
    if terrain not in ("desert", "sea"):  # a season shows on grass, trees and peaks alone
        seasons |= {"winter": 0.18, "autumn": 0.0 if terrain == "lake" else 0.2}
    season = "winter" if weather == "snow" else _draw_name(rng, seasons)
    bright = weather == "clear"
    night = time == "night"
    moon_shares = {"full": 0.4, "crescent": 0.32, None: 0.28}
    coloured = bright and rng.random() < 0.36
    return Scene(
        time=time,
        terrain=terrain,
        weather=weather,
        season=season,
        sky=SKIES[int(rng.integers(len(SKIES)))] if coloured else None,
        sun=not night and bright and bool(rng.random() < 0.72),
        moon=_draw(rng, moon_shares) if night and weather in ("clear", "snow", "cloudy") else None,
        stars=night and bright and bool(rng.random() < 0.6),
        pines=bool(rng.random() < 0.6),
        **_draw_object(rng, terrain),  # type: ignore[arg-type]  # one of four typed fields, chosen at run time
    )


def twin_of(scene: Scene, name: str, rng: np.random.Generator) -> Scene:
    """Returns the scene with one attribute changed, a key of ``TWINS``.

    Painted with equal generators, a scene and its twin differ in that alone.
    """
    others = [value for value in TWINS[name] if value != getattr(scene, name)]
    return replace(scene, **{name: others[int(rng.integers(len(others)))]})  # type: ignore[arg-type]  # by name


def sample_twins(rng: np.random.Generator) -> tuple[Scene, Scene]:
    """Draws a scene that has an object of ``TWINS``, and its twin."""
    name = _draw_name(rng, TWIN_SHARES)
    while True:
        scene = sample_scene(rng)
        if getattr(scene, name):
            return scene, twin_of(scene, name, rng)
