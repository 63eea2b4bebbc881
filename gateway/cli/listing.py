"""``list``: the models on disk and what can be done with them, and those of other servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from engines.card import ModelCard
from engines.collecting import uncollected
from engines.conversion.cache import Cache, cache_root
from engines.conversion.keys import CONVERTED, converted_folder
from engines.detection import demo_card, find_models
from engines.errors import NotLoadable
from gateway.cli.tables import print_table, size_text
from gateway.control import Control
from gateway.problems import Problem
from gateway.remotes import RemoteEntry
from gateway.state import Deployed

FOLDER_VARIABLE: Final = "MODELS_DIR"
DEFAULT_FOLDER: Final = "/data/models"


def run(control: Control, environment: Mapping[str, str]) -> None:
    """Print the table; a service that does not run only leaves its column empty."""
    folder = environment.get(FOLDER_VARIABLE) or DEFAULT_FOLDER
    with uncollected():
        cards = find_models(folder)
    deployed = _deployed(control)
    names = _names(deployed)
    cache = Cache(cache_root(environment))
    rows = [_row(card, names, cache) for card in (*cards, demo_card())]
    rows += [_remote_row(entry) for entry in deployed.remotes]
    print_table(("NAME", "FAMILY", "FORMAT", "SIZE", "LOADABLE", "CONVERTED", "DEPLOYED", "PATH"), rows)
    if not cards:
        print(f"\nNo model was found in {folder}; {FOLDER_VARIABLE} names another folder.")


def _deployed(control: Control) -> Deployed:
    try:
        return control.running()[1]
    except Problem:
        return Deployed()


def _names(deployed: Deployed) -> dict[str, str]:
    """Names of the deployed models by their paths."""
    names: dict[str, str] = {}
    for entry in deployed.models:
        before = names.get(entry.card.path)
        names[entry.card.path] = f"{before}, {entry.name}" if before else entry.name
    return names


def _row(card: ModelCard, deployed: Mapping[str, str], cache: Cache) -> tuple[str, ...]:
    loadable = "yes" if card.loadable else f"no: {card.reason}"
    name = deployed.get(card.path)
    shown = "no" if name is None else f"as {name}"
    known = card.name, card.family.value, card.format.value, size_text(card.size)
    return *known, loadable, _converted(card, cache), shown, card.path


def _converted(card: ModelCard, cache: Cache) -> str:
    """Whether the first load has been made already, for models that are converted at theirs."""
    if not card.loadable or card.format not in CONVERTED:
        return ""
    try:
        return "yes" if converted_folder(card, cache) else "no"
    except NotLoadable:
        return "no"


def _remote_row(entry: RemoteEntry) -> tuple[str, ...]:
    return entry.name, "remote", "", "", "", "", f"as {entry.name}", entry.where
