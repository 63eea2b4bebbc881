"""What can be asked about a scene, and the answers there are.

Two networks learn from these tables and share nothing else: the reader, which teaches the text encoder, is
given captions; the judge, which measures the model, is given pictures.
"""

from collections.abc import Mapping
from types import MappingProxyType

from engines.demo import scenes
from engines.demo.scenes import Scene

Value = str | bool | int | None

VISIBLE: Mapping[str, tuple[Value, ...]] = MappingProxyType(
    {
        "time": scenes.TIMES,
        "terrain": scenes.TERRAINS,
        "weather": scenes.WEATHERS,
        "season": scenes.SEASONS,
        "sky": (None, *scenes.SKIES),
        "moon": (None, *scenes.MOONS),
        "sun": (False, True),
        "stars": (False, True),
        "boat": (None, *scenes.COLOURS),
        "house": (None, *scenes.COLOURS),
        "cactus": (False, True),
    }
)
"""What a picture can be asked, with all answers."""

SAID: Mapping[str, tuple[Value, ...]] = MappingProxyType(
    {**VISIBLE, "trees": (0, 1, 3), "pines": (False, True)}
)
"""What a caption can be asked, with all answers."""


def truth(scene: Scene) -> dict[str, Value]:
    """Returns the right answer to every question about a scene."""
    attributes = scene.as_dict()
    return {name: attributes[name] for name in SAID}
