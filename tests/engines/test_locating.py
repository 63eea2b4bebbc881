"""A hub's model on the node that loads it: as it is there, gone on with, or fetched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from engines.card import HubOrigin, ModelCard
from engines.detection import detect
from tests.hub_server import Hub, hub_server

Models = Callable[[str], Path]
PROGRAM = """
import sys
from engines.card import ModelCard
from engines.locating import located
reports = []
card = located(ModelCard.model_validate_json(sys.stdin.read()), reports.append, pickles=True)
print(card.model_dump_json())
"""


def located(card: ModelCard, hub: Hub, home: Path) -> ModelCard:
    """The card as a process with this ``HF_HOME`` sees it; huggingface_hub reads its settings once."""
    variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=card.model_dump_json(),
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        check=True,
    )
    return ModelCard.model_validate_json(done.stdout)


def deployed(hub: Hub, folder: Path, home: Path) -> ModelCard:
    """The card of a model that was deployed on another node, in whose cache it lay."""
    hub.repositories["org/tiny"] = folder
    commit = hub.commit("org/tiny")
    path = home / "hub" / "models--org--tiny" / "snapshots" / commit
    origin = HubOrigin(repository="org/tiny", revision=commit)
    return detect(folder).model_copy(update={"path": str(path), "hub": origin})


def test_what_is_not_there_is_fetched_and_then_used_without_the_hub(
    tiny_models: Models, tmp_path: Path
) -> None:
    with hub_server() as hub:
        card = deployed(hub, tiny_models("kandinsky22"), tmp_path / "elsewhere")
        here = located(card, hub, tmp_path / "here")
        asked = len(hub.requests)
        again = located(here, hub, tmp_path / "another")

    assert here.path.startswith(str(tmp_path / "here"))
    assert detect(here.path).loadable
    assert again.path == here.path, "the engine's own settings do not matter for what is there"
    assert len(hub.requests) == asked


def test_a_snapshot_that_was_fetched_in_part_is_completed(tiny_models: Models, tmp_path: Path) -> None:
    with hub_server() as hub:
        card = deployed(hub, tiny_models("kandinsky22"), tmp_path / "here")
        (Path(card.path) / "unet").mkdir(parents=True)
        here = located(card, hub, tmp_path / "here")

    assert here.path == card.path
    assert detect(here.path).loadable


def test_a_prior_that_was_named_stays_the_one(tiny_models: Models, tmp_path: Path) -> None:
    prior = tiny_models("kandinsky22-prior")
    folder = Path(shutil.copytree(tiny_models("kandinsky22-decoder"), tmp_path / "decoder"))
    (folder / "README.md").write_text("---\nprior:\n- org/prior\n---\n")
    with hub_server() as hub:
        hub.repositories["org/prior"] = prior
        card = deployed(hub, folder, tmp_path / "elsewhere")
        here = located(card.model_copy(update={"prior_path": str(prior)}), hub, tmp_path / "here")

    assert here.prior_path == str(prior)
    assert not any("org/prior" in request.path for request in hub.requests)
