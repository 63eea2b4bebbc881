"""The clients that people use, each as released, in an environment of its own, against the real service."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.serve.conftest import DEADLINE_SECONDS, RunningService

SCRIPTS = Path(__file__).parent / "scripts"

Run = Callable[..., Any]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Files of a bright picture, and of a mask whose right half is to be painted."""
    folder = tmp_path_factory.mktemp("pictures")
    picture, mask = folder / "picture.png", folder / "mask.png"
    Image.new("RGB", (128, 128), "skyblue").save(picture)
    image = Image.new("RGBA", (128, 128), "black")
    image.paste((0, 0, 0, 0), (64, 0, 128, 128))
    image.save(mask)
    return picture, mask


@pytest.fixture
def run(service: RunningService) -> Run:
    """Runs a script with the service's base URL as its first argument; gives the JSON that it prints."""

    def run_script(program: str | Path, script: Path, *arguments: Path) -> Any:
        done = subprocess.run(
            [program, script, f"{service.url}/v1", *arguments],
            env=os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": ""},
            capture_output=True,
            text=True,
            timeout=2 * DEADLINE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.strip().splitlines()[-1])

    return run_script


def beside(packages: Path, script: str) -> Path:
    """A script of node's, copied to where its packages are found."""
    return Path(shutil.copy(SCRIPTS / script, packages / script))
