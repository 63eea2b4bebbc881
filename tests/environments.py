"""Environments of other programs that tests run: made once, kept where other caches are."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

INSTALL_SECONDS = 300.0
# Where no registry answers, that is found out soon.
_PIP = ("--quiet", "--retries=1", "--timeout=20")
_NPM = (
    "--no-audit",
    "--no-fund",
    "--ignore-scripts",
    "--silent",
    "--fetch-retries=0",
    "--fetch-timeout=60000",
)


def python_environment(name: str, *requirements: str) -> Path:
    """The ``bin`` folder of a virtual environment with these packages.

    The test is skipped, with the reason, where they cannot be installed.
    """
    folder = _place(name, requirements)
    with _made_once(folder) as missing:
        if missing:
            _run(name, sys.executable, "-m", "venv", str(folder))
            _run(name, str(folder / "bin" / "python"), "-m", "pip", "install", *_PIP, *requirements)
    return folder / "bin"


def node_environment(name: str, *packages: str) -> Path:
    """A folder whose ``node_modules`` holds these packages, for scripts that lie in it.

    The test is skipped, with the reason, where they cannot be installed.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip(f"{name} needs node and npm")
    folder = _place(name, packages)
    with _made_once(folder) as missing:
        if missing:
            folder.mkdir(parents=True)
            _run(name, "npm", "install", "--prefix", str(folder), *_NPM, *packages)
    return folder


def _place(name: str, wanted: tuple[str, ...]) -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    key = hashlib.blake2b(repr((sys.version_info[:2], wanted)).encode(), digest_size=6).hexdigest()
    return cache / "kandinsky-gateway-tests" / f"{name}-{key}"


@contextmanager
def _made_once(folder: Path) -> Iterator[bool]:
    """Gives whether the folder is still to be made; half made ones are cleared first."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    done = folder / "installed"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = not done.exists()
        if missing:
            shutil.rmtree(folder, ignore_errors=True)
        yield missing
        done.touch()


def _run(name: str, *command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"{name} cannot be installed: {error.stderr.strip()[-300:]}")
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"{name} cannot be installed: {error}")
