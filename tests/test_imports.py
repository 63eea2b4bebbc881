"""Imports run one way and stay light: what a process does not need it does not load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODEL_LIBRARIES = {"torch", "diffusers", "transformers"}
PURE = (
    "engines.calls",
    "engines.card",
    "engines.conversion.cache",
    "engines.conversion.keys",
    "engines.detection",
    "engines.errors",
    "engines.formats",
    "engines.hub",
    "engines.marking",
    "engines.opening",
    "engines.preloading",
    "engines.scaling",
    "engines.schema",
    "engines.standing",
    "engines.validation",
)


def loaded_by(module: str) -> set[str]:
    """The top-level packages in memory after an import in a fresh process."""
    program = f"import {module}, sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("module", PURE)
def test_a_pure_module_loads_no_model_library(module: str) -> None:
    assert not loaded_by(module) & (MODEL_LIBRARIES | {"ray"})


@pytest.mark.parametrize("module", ["gateway.app", "gateway.service", "gateway.ingress"])
def test_the_gateway_loads_no_model_library(module: str) -> None:
    assert not loaded_by(module) & MODEL_LIBRARIES


@pytest.mark.parametrize("module", ["gateway", "compat", "gateway.control", "gateway.cli.deploy"])
def test_what_the_command_line_uses_loads_neither_ray_nor_a_model_library(module: str) -> None:
    assert not loaded_by(module) & (MODEL_LIBRARIES | {"ray"})


def test_the_command_line_starts_without_anything_of_weight() -> None:
    assert not loaded_by("gateway.cli.main") & (MODEL_LIBRARIES | {"ray", "pydantic", "fastapi", "psutil"})


@pytest.mark.parametrize(
    ("package", "line"),
    [
        ("engines", "import gateway"),
        ("engines", "from compat.images import ImageRequest"),
        ("compat", "from gateway.registry import Registry"),
        ("compat", "import ray"),
        ("gateway", "import torch"),
    ],
)
def test_the_linter_refuses_an_import_against_the_grain(package: str, line: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--output-format=concise", "-"]
    name = f"--stdin-filename={package}/example.py"
    done = subprocess.run([*command, name], input=line, capture_output=True, text=True, check=False, cwd=ROOT)
    assert "TID251" in done.stdout
