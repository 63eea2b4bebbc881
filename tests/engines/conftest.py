"""What several tests of the engines draw with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from diffusers.utils import logging as diffusers_logging

from engines.calls import EngineOptions
from engines.detection import detect
from engines.discovery import complete, discover
from engines.loading import load
from tests.engines.bench import Bench, Benches
from tests.engines.checkpoint_files import Written, varied, writer


@pytest.fixture(scope="session")
def benches(tiny_models: Callable[[str], Path]) -> Benches:
    """Give the loaded tiny model of this name."""
    diffusers_logging.disable_progress_bar()
    opened: dict[str, Bench] = {}

    def open_once(name: str) -> Bench:
        if name not in opened:
            card = detect(tiny_models(name), name=name)
            model = load(card, EngineOptions(device="cpu", dtype="float32", threads=1), lambda _: None)
            opened[name] = Bench(model, complete(discover(card), model.pipelines))
        return opened[name]

    return open_once


@pytest.fixture(scope="session")
def varied_models(
    tiny_models: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Give the folder of a tiny model no two of whose tensors are alike."""
    return varied(tiny_models, tmp_path_factory.mktemp("varied"))


@pytest.fixture
def written(varied_models: Callable[[str], Path], tmp_path: Path) -> Written:
    """Write a single file of a varied model into ``models/`` of the test's folder."""
    return writer(varied_models, tmp_path / "models")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
