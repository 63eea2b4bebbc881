"""What is imported ahead in the processes of engines, and only there."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from engines import preloading
from engines.marking import ENVIRONMENT, MARKER, is_marked, marked
from engines.preloading import LOADING, STARTING, Preloading

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, threading
for library in ("torch", "diffusers", "transformers"):
    sys.modules[library] = None  # cannot be imported
from engines import preloading
preloading.give_way()
print(*(name for name in preloading.STARTING if name in sys.modules))
print(*(thread.name for thread in threading.enumerate()))
"""

ON_GPU = """
import importlib, os
from engines import preloading
for module in preloading.LOADING:
    importlib.import_module(module)
import torch
os.environ["CUDA_VISIBLE_DEVICES"] = ""
print(torch._C._cuda_getDeviceCount())
"""


@pytest.mark.parametrize("module", [*STARTING, *LOADING])
def test_every_module_that_is_imported_ahead_exists(module: str) -> None:
    assert importlib.util.find_spec(module) is not None


def test_marked_process_imports_ahead_and_gives_way() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT},
    )
    assert done.stdout.splitlines() == [" ".join(STARTING), "MainThread"]


def test_mark_is_added_to_what_an_application_has() -> None:
    own = {"py_executable": "python", "env_vars": {"PYTHONPATH": "/here"}}
    assert marked(own) == {"py_executable": "python", "env_vars": {"PYTHONPATH": "/here", **ENVIRONMENT}}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_process_that_imported_ahead_sees_the_gpus_that_it_is_given_later() -> None:
    variables = {name: value for name, value in ENVIRONMENT.items() if name != MARKER}
    done = subprocess.run(
        [sys.executable, "-c", ON_GPU],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, **variables},
    )
    assert done.stdout.split() == ["0"]


def test_process_that_is_not_marked_gives_way_at_once() -> None:
    assert not is_marked(os.environ)
    preloading.give_way()


def test_import_under_way_is_ended_and_no_other_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, begun = threading.Event(), threading.Event()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(preloading, "gate", (begun, gate), raising=False)
    (tmp_path / "slow_one.py").write_text(
        "from engines import preloading\nbegun, gate = preloading.gate\nbegun.set()\ngate.wait()\n"
    )
    (tmp_path / "never_one.py").write_text("")
    ahead = Preloading(["slow_one", "never_one"])
    ahead.start()
    assert begun.wait(10)
    ending = threading.Thread(target=ahead.give_way)
    ending.start()
    gate.set()
    ending.join()
    assert "slow_one" in sys.modules
    assert "never_one" not in sys.modules


def test_module_that_cannot_be_imported_is_left_to_the_engine(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ahead = Preloading(["no_such_module"])
    ahead.start()
    ahead.finish()
    assert "no_such_module" in caplog.text
