"""Which nodes have spare workers, and what counts as one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from engines.marking import ENVIRONMENT
from gateway.ray_node import PRELOAD_VARIABLE
from gateway.spares import IDLE, nodes_for_engines, preloads, spares_of

HEAD = {"NodeID": "head", "Alive": True, "Resources": {"CPU": 2.0}}
WITH_GPU = {"NodeID": "gpu", "Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0}}
DEAD = {"NodeID": "dead", "Alive": False, "Resources": {"GPU": 8.0}}


def test_spares_wait_where_the_gpus_are() -> None:
    assert nodes_for_engines([HEAD, WITH_GPU, DEAD]) == ["gpu"]


def test_without_a_gpu_spares_wait_everywhere() -> None:
    assert nodes_for_engines([HEAD, DEAD]) == ["head"]


@pytest.mark.parametrize(
    ("modules", "expected"),
    [("engines.preloading", True), ("other,engines.preloading", True), ("other", False)],
)
def test_spares_make_sense_where_ray_preloads(modules: str, expected: bool) -> None:
    assert preloads({PRELOAD_VARIABLE: modules}) == expected
    assert not preloads({})


@pytest.mark.parametrize(
    ("title", "environment", "count"),
    [
        (IDLE, dict(ENVIRONMENT), 1),
        (sys.executable, dict(ENVIRONMENT), 1),
        ("ray::ServeReplica:model-demo:Engine", dict(ENVIRONMENT), 0),
        (IDLE, {}, 0),
    ],
)
def test_marked_worker_without_work_is_a_spare(title: str, environment: dict[str, str], count: int) -> None:
    with process(title, environment):
        assert spares_of(psutil.Process()) == count


@contextmanager
def process(title: str, environment: dict[str, str]) -> Iterator[None]:
    """A child that is called so, until the end of the block."""
    command = [title, "-c", "print(flush=True); input()"]
    with subprocess.Popen(
        command,
        executable=sys.executable,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        try:
            yield
        finally:
            child.communicate(b"\n")
