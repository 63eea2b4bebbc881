"""Print what an environment lacks of this project's requirements, one a line; nothing if it is complete.

Runs in that environment, with what it has: the standard library, and ``packaging`` or pip's copy of it.
"""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parent.parent / "pyproject.toml"


def main() -> None:
    """Compare pyproject.toml with what is installed."""
    for requirement in tomllib.loads(PROJECT.read_text())["project"]["dependencies"]:
        if not is_met(requirement):
            print(requirement)


def is_met(text: str) -> bool:
    """Whether a requirement's distribution is installed in a version that it allows, its extras too."""
    name = re.split(r"[^A-Za-z0-9._-]", text, maxsplit=1)[0]
    try:
        installed = version(name)
    except PackageNotFoundError:
        return False
    requirement = _parse(text)
    if requirement is None:
        return True
    if not requirement.specifier.contains(installed, prereleases=True):
        return False
    return all(is_met(needed) for extra in requirement.extras for needed in _needed_for(name, extra))


def _needed_for(name: str, extra: str) -> list[str]:
    """The requirements that an extra adds to a distribution's own."""
    added = []
    for text in requires(name) or ():
        marker = _parse(text).marker
        if marker and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""}):
            added.append(text.partition(";")[0].strip())
    return added


def _parse(text: str) -> Any:
    """The requirement, or ``None`` where nothing can read it: then the name alone must do."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        try:
            # The same class, vendored.
            from pip._vendor.packaging.requirements import Requirement  # type: ignore[assignment]
        except ImportError:
            return None
    return Requirement(text)


if __name__ == "__main__":
    main()
