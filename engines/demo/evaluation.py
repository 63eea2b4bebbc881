"""What the demo model is asked in its evaluation, and checks of the answers that look at pixels alone.

The prompts' wording ("poster of", "quiet") is outside the captions, so no prompt was ever seen in training.
The checks are plain statements on colours, each for one attribute, that share nothing with the trained judge.
"""

import colorsys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from engines.demo.attributes import Value

Picture = npt.NDArray[np.uint8]

HOURS = {"sunrise": "at sunrise", "day": "at noon", "sunset": "at sunset", "night": "at night"}
PLACES = {
    "mountains": "high mountains",
    "hills": "rolling hills",
    "desert": "a sandy desert",
    "sea": "the open sea",
    "lake": "a mountain lake",
    "forest": "a dense forest",
}
OPENINGS = ("a poster of {}", "a quiet {}", "{}, flat poster", "poster: {}")


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt and the attributes that its pictures must show."""

    prompt: str
    wanted: Mapping[str, Value]


def questions() -> tuple[Question, ...]:
    """Returns the 64 prompts: terrain and hour, objects and colours, sky, weather and season."""
    asked: list[tuple[str, dict[str, Value]]] = [
        (f"{place} {hour}", {"terrain": terrain, "time": time})
        for terrain, place in PLACES.items()
        for time, hour in HOURS.items()
    ]
    for colour in ("white", "red", "blue", "yellow"):
        for where, time in (("on the open sea at noon", "day"), ("on a calm sea at sunset", "sunset")):
            asked.append((f"{colour} sailboat {where}", {"boat": colour, "terrain": "sea", "time": time}))
        asked.append((f"lake in the mountains with a {colour} sailboat", {"boat": colour, "terrain": "lake"}))
        for where, terrain in (("green hills", "hills"), ("high mountains", "mountains")):
            text = f"{colour} house in {where} during the day"
            asked.append((text, {"house": colour, "terrain": terrain, "time": "day"}))
        asked.append(
            (f"{colour} house in a forest at night", {"house": colour, "terrain": "forest", "time": "night"})
        )
    asked += [
        ("sandy desert with a cactus at noon", {"cactus": True, "terrain": "desert", "time": "day"}),
        ("desert dunes with a cactus at sunset", {"cactus": True, "terrain": "desert", "time": "sunset"}),
        ("hills with a purple sky", {"sky": "purple", "terrain": "hills"}),
        ("open sea under a pink sky", {"sky": "pink", "terrain": "sea"}),
        ("desert with a green sky", {"sky": "green", "terrain": "desert"}),
        ("mountain range under a golden sky", {"sky": "golden", "terrain": "mountains"}),
        ("high mountains at night with a full moon", {"moon": "full", "time": "night"}),
        ("calm sea at night with a crescent moon", {"moon": "crescent", "time": "night"}),
        ("rolling hills at night with many stars", {"stars": True, "time": "night"}),
        ("sandy desert at midnight under a starry sky", {"stars": True, "time": "night"}),
        ("snowy rolling hills in daylight", {"season": "winter", "terrain": "hills"}),
        ("autumn forest during the day", {"season": "autumn", "terrain": "forest"}),
        ("foggy dense forest", {"weather": "fog", "terrain": "forest"}),
        ("rolling hills in the rain", {"weather": "rain", "terrain": "hills"}),
        ("high mountains while it is snowing", {"weather": "snow", "terrain": "mountains"}),
        ("open sea under a cloudy sky", {"weather": "cloudy", "terrain": "sea"}),
    ]
    return tuple(
        Question(_phrase(form, text), MappingProxyType(wanted))
        for form, (text, wanted) in zip(cycle(OPENINGS), asked, strict=False)
    )


def _phrase(form: str, text: str) -> str:
    return form.format(text.removeprefix("a ").removeprefix("the ") if form.startswith("a quiet") else text)


def _mean(picture: Picture, top: float, bottom: float) -> npt.NDArray[np.float64]:
    height = len(picture)
    rows = picture[int(top * height) : int(bottom * height)]
    return np.asarray(rows.reshape(-1, 3).mean(0), np.float64)


def _luma(colour: npt.NDArray[np.float64]) -> float:
    return float(colour @ np.array([0.299, 0.587, 0.114]))


def _hue(colour: npt.NDArray[np.float64]) -> float:
    return colorsys.rgb_to_hsv(*(float(value) / 255 for value in colour))[0] * 360


def _share(picture: Picture, test: Callable[[npt.NDArray[np.int_]], npt.NDArray[np.bool_]]) -> float:
    return float(test(picture.astype(np.int_)).mean())


def _is_night(picture: Picture) -> bool:
    return _luma(_mean(picture, 0, 0.4)) < 75


def _is_day(picture: Picture) -> bool:
    sky = _mean(picture, 0, 0.3)
    return _luma(sky) > 100 and sky[2] > sky[0] + 25


def _is_sunset(picture: Picture) -> bool:
    low = _mean(picture, 0.3, 0.5)
    return 60 < _luma(low) < 190 and (_hue(low) < 50 or _hue(low) > 320)


def _is_desert(picture: Picture) -> bool:
    ground = _mean(picture, 0.8, 1)
    return bool(ground[0] > ground[1] > ground[2]) and _hue(ground) < 48


def _is_green(picture: Picture) -> bool:
    ground = _mean(picture, 0.85, 1)
    return 60 < _hue(ground) < 170


def _is_white_ground(picture: Picture) -> bool:
    ground = _mean(picture, 0.85, 1)
    return bool(ground.min() > 165)


def _has_red(picture: Picture) -> bool:
    return _share(picture[30:], lambda p: (p[..., 0] > 120) & (p[..., 1] < 95) & (p[..., 2] < 95)) > 0.012


def _has_blue(picture: Picture) -> bool:
    return (
        _share(picture[30:], lambda p: (p[..., 2] > 120) & (p[..., 0] < 90) & (p[..., 2] > p[..., 1] + 55))
        > 0.012
    )


def _has_yellow(picture: Picture) -> bool:
    return _share(picture[30:], lambda p: (p[..., 0] > 185) & (p[..., 1] > 140) & (p[..., 2] < 115)) > 0.012


def _has_white(picture: Picture) -> bool:
    return _share(picture[44:], lambda p: p.min(-1) > 205) > 0.012


def _has_moon(picture: Picture) -> bool:
    return 0.006 < _share(picture[:64], lambda p: p.min(-1) > 185) < 0.12


def _has_stars(picture: Picture) -> bool:
    """Counts rows of the sky that hold at least two bright spots: the mark of stars, not of a moon."""
    bright = picture[:60].mean(-1) > np.median(picture[:60].mean(-1)) + 45
    starts = (np.diff(bright.astype(np.int8), axis=1) == 1).sum(1)
    return bool((starts >= 2).sum() >= 8)


CHECKS: Mapping[str, Callable[[Picture], bool]] = MappingProxyType(
    {
        "time=night": _is_night,
        "time=day": _is_day,
        "time=sunset": _is_sunset,
        "terrain=desert, time=day": _is_desert,
        "terrain=hills, time=day": _is_green,
        "season=winter, terrain=hills": _is_white_ground,
        "boat=red, time=day": _has_red,
        "boat=yellow, time=day": _has_yellow,
        "boat=white, time=day": _has_white,
        "house=red, time=day": _has_red,
        "house=blue, time=day": _has_blue,
        "house=yellow, time=day": _has_yellow,
        "moon=full": _has_moon,
        "moon=crescent": _has_moon,
        "stars=True": _has_stars,
    }
)
"""Checks by the attributes that a prompt must name for the check to apply."""


def check(question: Question, picture: Picture) -> dict[str, bool]:
    """Returns the outcome of every check that applies to a picture (128, 128, 3) drawn for the question."""
    named = {f"{name}={value}" for name, value in question.wanted.items()}
    return {label: test(picture) for label, test in CHECKS.items() if named >= set(label.split(", "))}
