"""``python -m tests.tiny FOLDER [NAME ...]``: write tiny models below a folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.tiny.catalogue import NAMES, build


def main() -> None:
    """Build the named models, or all of them, each in a folder of its name."""
    parser = argparse.ArgumentParser(prog="python -m tests.tiny", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[*NAMES, []], help=", ".join(NAMES))
    arguments = parser.parse_args()
    for name in arguments.names or NAMES:
        print(build(name, arguments.folder / name))


if __name__ == "__main__":
    main()
