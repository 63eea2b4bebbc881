"""schemathesis against the gateway's own OpenAPI documents: no fault of the server's own, and no answer
that they do not tell of."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import anyio
import pytest

from engines.calls import EncodedImage, ImageFormat
from engines.detection import detect
from gateway.app import create_app
from gateway.service import Service
from gateway.settings import Settings
from tests.fuzz import cheap, hooks
from tests.gateway import in_process
from tests.gateway.listening import listening

pytestmark = pytest.mark.anyio

HERE: Final = Path(__file__).parent
KEY: Final = "a-key-of-this-test"
MOST_SECONDS: Final = 600
STEADY: Final = (
    "--seed=20260101",
    "--no-color",
    "--no-shrink",
    "--continue-on-failure",
    "--generation-database=none",
    "--request-timeout=60",
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def service(tiny_models: Callable[[str], Path]) -> AsyncIterator[Service]:
    """A gateway with a model that draws, edits and paints within masks."""
    card = detect(tiny_models("sd15")).model_copy(update={"name": "tiny"})
    settings = Settings.model_validate({"api_keys": [KEY]})
    made = cheap.service(in_process.config(card, settings=settings, tiny=("dall-e-3", "*")))
    yield made
    made.close()
    await made._keeping.settled()


async def options(service: Service, folder: Path) -> list[str]:
    """The options of both runs: the same cases every time, and what there is on this server."""
    image = EncodedImage(data=hooks.PNG, format=ImageFormat.PNG, width=64, height=64, seed=1)
    picture = await service.storage.publish(image, seconds=3600)
    config = folder / "schemathesis.toml"
    config.write_text((HERE / "schemathesis.toml").read_text().replace("PICTURE", picture))
    return [f"--config-file={config}", "run", f"--header=Authorization:Bearer {KEY}", *STEADY]


@pytest.mark.parametrize(
    ("path", "phases", "fewest"),
    [
        ("/openapi.json", "examples,coverage,fuzzing,stateful", 1000),
        # The same routes with the model's own bodies: enough that its examples are right.
        ("/openapi.json?model=tiny", "examples", 20),
    ],
)
async def test_every_answer_is_one_that_the_document_tells_of(
    service: Service, path: str, phases: str, fewest: int, tmp_path: Path
) -> None:
    own = [*await options(service, tmp_path), f"--phases={phases}"]
    command = [sys.executable, "-m", "schemathesis.cli", *own]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent)}
    with anyio.fail_after(MOST_SECONDS):
        async with listening(create_app(service)) as url:
            done = await anyio.run_process([*command, url + path], check=False, cwd=tmp_path, env=environment)
    said = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == 0, said
    assert "Failures:" not in said
    assert int(re.findall(r"(\d+) passed", said)[-1]) > fewest, said
