"""What shows that something of a checkpoint ran: a file, a variable of the environment, a module imported."""

from __future__ import annotations

import builtins
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

MARK: Final = "hostile_sprung"
"""Part of every file, variable and module that a payload touches."""
VARIABLE: Final = MARK.upper()
MODULE: Final = f"{MARK}_planted"
CODE: Final = f"import os\nos.environ[{VARIABLE!r}] = 'code'\nclass Evil: pass\n"
"""What lies in the Python files beside a model."""


class Payload:
    """An object whose pickle calls ``function``."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._called = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._called


class Canary:
    """Payloads that leave traces in ``folder``, and the traces that are there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.planted = folder / "planted"

    def plant(self) -> None:
        """Put a module where an import finds it."""
        self.planted.mkdir(parents=True, exist_ok=True)
        (self.planted / f"{MODULE}.py").write_text(CODE)
        sys.path.insert(0, str(self.planted))

    def remove(self) -> None:
        """Take the module away again."""
        sys.path.remove(str(self.planted))

    def payload(self, kind: str) -> Payload:
        """One of `PAYLOADS`."""
        file = self.folder / f"{MARK}_{kind}"
        code = f"__import__('os').environ.__setitem__({VARIABLE!r}, {kind!r})"
        made: dict[str, Payload] = {
            "system": Payload(os.system, f"touch {file}"),
            "popen": Payload(subprocess.Popen, ["touch", str(file)]),
            "eval": Payload(builtins.eval, code),
            "exec": Payload(builtins.exec, code),
            "write": Payload(Path.write_text, file, "sprung"),
            "import": Payload(importlib.import_module, MODULE),
        }
        return made[kind]

    def traces(self) -> list[str]:
        """What has run, by its trace; nothing where all is well."""
        found = [file.name for file in self.folder.iterdir() if file.name.startswith(MARK)]
        found += [VARIABLE] if VARIABLE in os.environ else []
        return found + [name for name in sys.modules if name.startswith(MARK)]


PAYLOADS: Final = ("system", "popen", "eval", "exec", "write", "import")
