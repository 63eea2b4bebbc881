"""``python -m tests.originals NAME FOLDER``: write a release's files, at tiny size, into a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.originals.catalogue import NAMES, write


def main() -> None:
    """Write the named release and print what to load."""
    parser = argparse.ArgumentParser(prog="python -m tests.originals", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    print(write(arguments.name, arguments.folder))


if __name__ == "__main__":
    main()
