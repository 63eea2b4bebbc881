"""``gateway.json``: what a model's author states about it, beside its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import ValidationError

from engines.card import Preset
from engines.errors import NotLoadable
from engines.formats import content

FILE: Final = "gateway.json"


def read(folder: Path) -> Preset:
    """The preset of a model's folder; an empty one where the folder has none.

    Raises:
        NotLoadable: the file is damaged or a field is wrong; the reason names the field.
    """
    path = folder / FILE
    if not path.exists():
        return Preset()
    content.read_object(path)
    return parse(path.read_bytes())


def parse(data: bytes) -> Preset:
    """The preset in a piece of JSON.

    Raises:
        NotLoadable: it is damaged or a field is wrong; the reason names the field.
    """
    try:
        preset = Preset.model_validate_json(data, strict=True)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in fault["loc"]) or "the whole file"
        raise NotLoadable(FILE, f"{FILE}: {field}: {fault['msg']}") from error
    for width, height in preset.sizes:
        if width < 1 or height < 1:
            raise NotLoadable(FILE, f"{FILE}: sizes: [{width}, {height}] is no size in pixels")
    for word, factor in preset.quality.items():
        if not 0 < factor <= 100:
            raise NotLoadable(FILE, f"{FILE}: quality.{word}: {factor} is not between 0 and 100")
    return preset
