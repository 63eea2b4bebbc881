"""Checkpoints as people have them, through the real command line on real Ray Serve."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import originals
from tests.gateway.wire import picture
from tests.hub_server import hub_server
from tests.originals import references
from tests.serve.conftest import RunningService, until
from tests.serve.test_models import same_pixels, stock_picture

SMALL: dict[str, Any] = {"prompt": "a cat", "num_inference_steps": 2, "width": 128, "height": 128}


def drawn(service: RunningService, name: str) -> str:
    """The picture of seed 11, asked for until the model is awake."""
    path, body = f"/kandinsky-{name}/v1/generate", SMALL | {"seed": 11}
    answer = until(lambda: service.client.post(path, json=body), lambda answer: answer.status_code != 202)
    assert answer.status_code == 200, answer.text
    image: str = answer.json()["image"]
    return image


def test_original_weights_are_served_from_one_file(service: RunningService, tmp_path: Path) -> None:
    release = originals.write("kandinsky3", tmp_path / "release")
    folder = shutil.copytree(release.parent, tmp_path / "stablediffusion")
    main = Path(folder / "kandinsky3.pt").rename(folder / "kandinsky3-1.ckpt")
    service.deploy(main, "k31")

    expected = references.kandinsky3_folder(release.parent.parent, tmp_path / "expected", "base")
    parameters = SMALL | {"guidance_scale": 3.0}
    assert same_pixels(picture(drawn(service, "k31")), stock_picture(expected, parameters, seed=11))
    assert "kandinsky3-1.ckpt" in service.command("cache", "list").stdout
    service.command("undeploy", "k31")


def test_a_model_of_a_hub_is_fetched_and_served(
    service: RunningService, tiny_models: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tiny_models("kandinsky3")
    with hub_server() as hub:
        hub.repositories["org/tiny"] = folder
        variables = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0"}
        done = service.command("deploy", "org/tiny", "--threads", "1", variables=variables)

    assert "Fetching org/tiny: done" in done.stderr
    assert same_pixels(picture(drawn(service, "tiny")), stock_picture(folder, SMALL, seed=11))
    service.command("undeploy", "tiny")
