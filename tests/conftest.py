"""The tiny models of the tests that need real ones, built once a session; and which tests run in parallel."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# No test reaches a hub. Before anything imports huggingface_hub, which reads it once.
os.environ["HF_HUB_OFFLINE"] = "1"
# Several threads on busy cores make a tiny model ten times slower; before anything imports torch.
os.environ["OMP_NUM_THREADS"] = "1"

ON_RAY = ("tests/serve/", "tests/gateway/test_cluster.py")
"""The tests that start clusters: in one process, one after the other, and first: they take the longest."""


class Scheduling(LoadScopeScheduling):
    """A file's tests in one process, for they share its fixtures; all that start clusters in one, too."""

    def _split_scope(self, nodeid: str) -> str:
        return "ray" if nodeid.startswith(ON_RAY) else nodeid.split("::", 1)[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    config.option.loadscopereorder = False
    return Scheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not item.nodeid.startswith(ON_RAY))


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give the folder of a tiny model of `tests.tiny.NAMES`, building it on first use.

    The folder is shared by the session: a test that changes a file copies it first.
    """
    from tests.tiny import build

    root = tmp_path_factory.mktemp("tiny")

    def folder(name: str) -> Path:
        path = root / name
        return path if path.exists() else build(name, path)

    return folder
