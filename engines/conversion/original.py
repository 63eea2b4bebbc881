"""Original weights written as diffusers' components."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from engines.card import ModelCard
from engines.conversion.converting import Tally
from engines.conversion.files import write_json
from engines.conversion.recipes import Sources, components_of, schedulers_of
from engines.conversion.writing import WEIGHTS, write_safetensors
from engines.formats import originals
from engines.formats.layouts import Assembled
from engines.formats.originals import in_place

_SCHEDULER_FILE: Final = "scheduler_config.json"


def convert_original(card: ModelCard, folder: Path, tally: Tally) -> None:
    """Write every component that a release's files are converted to into a folder.

    A component is complete when its config.json is there; such ones are left alone.

    Raises:
        NotLoadable: a file is not what it seems.
    """
    sources = Sources(card)
    makers, schedulers = components_of(card), schedulers_of(card)
    for part in originals.layout_of_card(card).components:
        target = folder / part.name
        if part.name in schedulers:
            write_json(target / _SCHEDULER_FILE, _config(part, schedulers[part.name]))
        elif part.made_from and not (target / "config.json").is_file():
            tally.component = part.name
            made = makers[part.name](sources)
            if in_place(card, part.name) is None:
                weights = target / WEIGHTS[_library(part)]
                write_safetensors(weights, made.tensors, metadata={"format": "pt"}, report=tally.add)
            write_json(target / "config.json", _config(part, made.config))


def _library(part: Assembled) -> str:
    """Whose names of files a component has: the class of a pipeline's own module is one of transformers'."""
    return "diffusers" if part.library == "diffusers" else "transformers"


def _config(part: Assembled, values: dict[str, Any]) -> dict[str, Any]:
    if _library(part) == "transformers" and not part.class_name.endswith("Scheduler"):
        return {**values, "transformers_version": version("transformers")}
    return {**values, "_class_name": part.class_name, "_diffusers_version": version("diffusers")}
