"""The package is data and mappings: importing it loads no server and no model library."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import importlib, pkgutil, sys
import compat
for module in pkgutil.iter_modules(compat.__path__, "compat."):
    importlib.import_module(module.name)
import engines.native
print(*{"torch", "diffusers", "transformers", "ray", "fastapi", "starlette", "PIL"} & set(sys.modules))
"""


def test_importing_it_loads_no_server_and_no_model_library() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
