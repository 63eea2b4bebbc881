"""Says in words what a scene shows, leaving some things unsaid but never naming what is not there."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from engines.demo.scenes import Scene

Phrases = Mapping[str, tuple[str, ...]]

HOURS: Phrases = MappingProxyType(
    {
        "sunrise": ("at sunrise", "at dawn", "in the early morning", "at daybreak"),
        "day": ("in daylight", "during the day", "on a sunny day", "at noon", "by day"),
        "sunset": ("at sunset", "at dusk", "in the evening", "during sunset"),
        "night": ("at night", "by night", "under the night sky", "at midnight"),
    }
)
HOUR_ADJECTIVES: Phrases = MappingProxyType(
    {
        "sunrise": ("sunrise", "morning"),
        "day": ("daytime", "bright"),
        "sunset": ("sunset", "evening"),
        "night": ("night", "dark"),
    }
)
PLACES: Phrases = MappingProxyType(
    {
        "mountains": (
            "mountains",
            "a mountain range",
            "mountain peaks",
            "a mountain landscape",
            "high mountains",
        ),
        "hills": (
            "hills",
            "rolling hills",
            "green hills",
            "a meadow with hills",
            "a field",
            "countryside hills",
        ),
        "desert": ("a desert", "sand dunes", "desert dunes", "a sandy desert", "dunes", "the desert"),
        "sea": ("the sea", "the ocean", "a calm sea", "the open sea", "a seascape"),
        "lake": ("a lake", "a mountain lake", "a lake in the mountains", "a lake with mountains"),
        "forest": ("a forest", "a dense forest", "woods", "a forest of trees", "the woods"),
    }
)
STYLES = (
    "a painting of ", "a picture of ", "an image of ", "a photo of ", "a beautiful painting of ",
    "a landscape with ", "a view of ", "oil painting of ", "a scenic view of ", "a drawing of ",
    "watercolor of ", "", "", "", "",
)  # fmt: skip
ENDINGS = (", oil painting", ", highly detailed", ", 4k", ", digital art", ", beautiful", ", masterpiece")
ANYTHING = (
    "a beautiful landscape", "landscape", "a landscape painting", "beautiful nature", "nature", "scenery",
    "a nice view", "a painting",
)  # fmt: skip
SEASON_WORDS: Phrases = MappingProxyType(
    {"winter": ("snowy", "snow covered", "winter"), "autumn": ("autumn", "fall")}
)
WEATHER_ADJECTIVES: Phrases = MappingProxyType(
    {"fog": ("foggy", "misty"), "rain": ("rainy",), "cloudy": ("cloudy",)}
)
WEATHER_PHRASES: Phrases = MappingProxyType(
    {
        "rain": ("in the rain", "with rain", "on a rainy day"),
        "snow": ("with falling snow", "in the snow", "while it is snowing"),
        "fog": ("in the fog", "with mist", "in fog"),
        "cloudy": ("with clouds", "under a cloudy sky", "with a cloudy sky"),
        "clear": ("under a clear sky", "with a clear sky"),
    }
)
WEATHER_CLAUSES: Phrases = MappingProxyType({"rain": ("rain is falling",), "snow": ("snow is falling",)})
SAID = MappingProxyType({"rain": 0.9, "snow": 0.8, "fog": 0.9, "cloudy": 0.75, "clear": 0.12})


class Describer:
    """Chooses words for one scene; every choice comes from ``rng``."""

    def __init__(self, scene: Scene, rng: np.random.Generator) -> None:
        self.scene, self.rng = scene, rng

    def one_of(self, phrases: Sequence[str]) -> str:
        """Returns one of the phrases."""
        return phrases[int(self.rng.integers(len(phrases)))]

    def maybe(self, chance: float) -> bool:
        """Returns true with the given chance."""
        return bool(self.rng.random() < chance)

    def hour(self) -> str:
        """Returns a phrase for the time of day."""
        phrase = self.one_of(HOURS[self.scene.time])
        dull = self.scene.weather != "clear" or self.scene.sky is not None
        return "during the day" if phrase == "on a sunny day" and dull else phrase

    def adjective(self) -> str:
        """Returns a word for the season or the weather, or nothing."""
        scene = self.scene
        if scene.season in SEASON_WORDS and scene.terrain != "sea" and self.maybe(0.8):
            return self.one_of(SEASON_WORDS[scene.season])
        if scene.weather in WEATHER_ADJECTIVES and self.maybe(0.45):
            return self.one_of(WEATHER_ADJECTIVES[scene.weather])
        return ""

    def place(self, adjective: str) -> tuple[str, str]:
        """Returns the terrain with and without its article, the adjective in its place."""
        phrase = self.one_of(PLACES[self.scene.terrain])
        if phrase == "green hills" and self.scene.season != "summer":
            phrase = "hills"
        article, noun = "", phrase
        for candidate in ("a ", "the "):
            if phrase.startswith(candidate):
                article, noun = candidate, phrase.removeprefix(candidate)
        if adjective:
            article = "an " if article == "a " and adjective[0] in "aeiou" else article
            noun = f"{adjective} {noun}"
        return article + noun, noun

    def weather(self, adjective: str) -> str:
        """Returns a phrase for the weather, unless the adjective says it already."""
        kind = self.scene.weather
        if adjective in WEATHER_ADJECTIVES.get(kind, ()) or not self.maybe(SAID[kind]):
            return ""
        return self.one_of(WEATHER_PHRASES[kind] + WEATHER_CLAUSES.get(kind, ()))

    def in_the_sky(self) -> list[str]:
        """Returns what is named of the sun, the moon, the stars and the colour of the sky."""
        scene, named = self.scene, []
        if scene.sun and self.maybe(0.35):
            rising = {"sunrise": "a rising sun", "sunset": "a setting sun"}.get(scene.time, "a bright sun")
            named.append(self.one_of(["the sun", "the sun", rising]))
        if scene.moon and self.maybe(0.85):
            named.append(
                self.one_of(
                    [f"a {scene.moon} moon", f"the {scene.moon} moon", f"a {scene.moon} moon", "the moon"]
                )
            )
        if scene.stars and self.maybe(0.75):
            named.append(self.one_of(["stars", "a starry sky", "many stars", "stars in the sky"]))
        if scene.sky and self.maybe(0.95):
            named.append(f"a {scene.sky} sky")
        return [named[int(at)] for at in self.rng.permutation(len(named))]

    def on_the_ground(self) -> list[str]:
        """Returns the main object in words, with its colour more often than not."""
        scene = self.scene
        if scene.boat and self.maybe(0.95):
            coloured = [f"a {scene.boat} sailboat"] * 3 + [f"a sailboat with {scene.boat} sails"]
            return [self.one_of([*coloured, "a sailboat", "a sailing boat", "a boat"])]
        if scene.house and self.maybe(0.95):
            coloured = [f"a {scene.house} house"] * 3 + [f"a small {scene.house} house"]
            return [self.one_of([*coloured, "a house", "a small house", "a cabin"])]
        if scene.cactus and self.maybe(0.92):
            return [self.one_of(["a cactus", "a cactus", "a green cactus", "one cactus"])]
        if scene.trees and self.maybe(0.9):
            kind = "pine " if scene.pines and scene.season != "autumn" else ""
            if scene.trees == 1:
                return [self.one_of([f"a {kind}tree", f"one {kind}tree", f"a lonely {kind}tree"])]
            return [self.one_of([f"{kind}trees", f"some {kind}trees"])]
        return []


def _listed(things: Sequence[str]) -> str:
    return things[0] if len(things) == 1 else ", ".join(things[:-1]) + " and " + things[-1]


def _sentence(words: Describer, objects: list[str], sky: list[str]) -> str:
    adjective = words.adjective()
    place, noun = words.place(adjective)
    weather = words.weather(adjective)
    hour = words.hour() if words.maybe(0.85) else ""
    form = words.rng.random()
    if form < 0.14:
        parts = [part for part in (place, *objects, *sky, weather, hour) if part]
        return ", ".join(parts[int(at)] for at in words.rng.permutation(len(parts)))
    if form < 0.4 and objects:
        where = "on" if words.scene.water or words.scene.terrain == "hills" else "in"
        above = f"{words.one_of(['with', 'under'])} {_listed(sky)}" if sky else ""
        return " ".join([_listed(objects), where, place, hour, above, weather])
    if form < 0.5:
        having = f"with {_listed(objects + sky)}" if objects or sky else ""
        return " ".join([words.one_of(HOUR_ADJECTIVES[words.scene.time]), noun, having, weather])
    style = words.one_of(STYLES)
    if sky and not objects and words.maybe(0.5):
        return style + " ".join([place, hour, weather, "under", _listed(sky)])
    having = f"with {_listed(objects + sky)}" if objects or sky else ""
    parts = [having, f"{hour} {weather}"] if words.maybe(0.5) else [f"{weather} {hour}", having]
    return style + " ".join([place, *parts])


def describe(scene: Scene, rng: np.random.Generator) -> str:
    """Returns a caption of the scene in lower case."""
    words = Describer(scene, rng)
    if words.maybe(0.03):
        return words.one_of(ANYTHING)
    text = _sentence(words, words.on_the_ground(), words.in_the_sky())
    if words.maybe(0.04):
        text += words.one_of(ENDINGS)
    return " ".join(text.split())
