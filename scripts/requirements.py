"""Print what an environment lacks of this project's requirements, one a line; nothing if it is complete.

Runs in that environment, with what it has: the standard library, and pip's copy of ``packaging``.
"""

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parent.parent / "pyproject.toml"


def main() -> None:
    """Compare pyproject.toml with what is installed."""
    for requirement in tomllib.loads(PROJECT.read_text())["project"]["dependencies"]:
        if not is_met(requirement):
            print(requirement)


def is_met(text: str) -> bool:
    """Whether a requirement's distribution is installed in a version that it allows."""
    requirement = _parse(text)
    try:
        return bool(requirement.specifier.contains(version(requirement.name), prereleases=True))
    except PackageNotFoundError:
        return False


def _parse(text: str) -> Any:
    try:
        from packaging.requirements import Requirement
    except ImportError:
        from pip._vendor.packaging.requirements import Requirement  # type: ignore[assignment]  # the same class, vendored
    return Requirement(text)


if __name__ == "__main__":
    main()
