"""Fixtures for tests that need a real model: tiny ones, built once a session."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

# No test reaches a hub. Before anything imports huggingface_hub, which reads it once.
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the folder of a tiny model of `tests.tiny.NAMES`, building it on first use.

    The folder is shared by the session: a test that changes a file copies it first.
    """
    # Several threads on busy cores make a tiny model ten times slower.
    import torch

    from tests.tiny import build

    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("tiny")

    def folder(name: str) -> Path:
        path = root / name
        return path if path.exists() else build(name, path)

    return folder
