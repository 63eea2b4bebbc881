"""Goes through every door with models, and prints as JSON what an audit hook has seen happen.

Usage: ``python -m tests.hostile CACHE FOLDER < PATHS``: paths of models one a line, a folder to search, and
where the engines may write.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from engines.calls import EngineOptions, LoadProgress
from engines.conversion.reading import open_tensors
from engines.detection import DEMO_PATH, detect, find_models
from engines.errors import LoadFailed, NotLoadable
from engines.loading import load
from tests.hostile.canary import MARK, VARIABLE

_RUNS: Final = frozenset(
    {
        "os.system",
        "os.exec",
        "os.fork",
        "os.posix_spawn",
        "os.spawn",
        "os.putenv",
        "socket.connect",
        "subprocess.Popen",
    }
)
_CHANGES: Final = frozenset(
    {"os.mkdir", "os.remove", "os.rename", "os.link", "os.symlink", "os.chmod", "os.truncate"}
)
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_LIBRARIES: Final = (sys.prefix, sys.base_prefix, str(Path(__file__).parents[2]), "<")


_NAMED: Final = frozenset({"import", "exec", "compile"})
_WATCHED: Final = frozenset({"open"}) | _RUNS | _CHANGES | _NAMED
"""Few of what Python reports: there are millions."""


class Watch:
    """Notes what Python reports: programs and code that run, modules of a checkpoint, files written."""

    def __init__(self, cache: Path) -> None:
        self.seen: list[str] = []
        self._cache = str(cache)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in _WATCHED:
            return
        first = arguments[0] if arguments else ""
        if event in _CHANGES or (event == "open" and (arguments[2] or 0) & _WRITING):
            self._note_path(event, first)
        elif event in _RUNS or (event in _NAMED and _is_foreign(event, first)):
            self.seen.append(f"{event} {str(arguments)[:200]}")

    def _note_path(self, event: str, path: object) -> None:
        if isinstance(path, str | bytes | os.PathLike):
            name = os.path.abspath(os.fsdecode(path))
            if not name.startswith((self._cache, os.devnull)):
                self.seen.append(f"{event} {name}")


def _is_foreign(event: str, subject: Any) -> bool:
    """Whether code that is run, compiled or imported is a checkpoint's."""
    if event == "exec":
        return not str(subject.co_filename).startswith(_LIBRARIES)
    if event == "import":
        return str(subject).startswith((MARK, "evil"))
    return any(word in str(subject) for word in (MARK, VARIABLE))


def go_through(path: Path, cache: Path) -> None:
    """All doors with one model, each of which may refuse."""
    card = detect(path)
    if path.is_file():
        with suppress(NotLoadable):
            open_tensors(path)
    if card.loadable:
        with suppress(LoadFailed):
            load(card, EngineOptions(device="cpu", threads=1, cache_folder=str(cache)), _ignore)


def _ignore(progress: LoadProgress) -> None:
    """A report nobody looks at."""


def main() -> None:
    """Go through the doors once with a good model, so that everything is imported; then with the others."""
    cache, folder = map(Path, sys.argv[1:])
    paths = [Path(line) for line in sys.stdin.read().splitlines()]
    go_through(DEMO_PATH, cache)
    watch = Watch(cache)
    sys.addaudithook(watch)
    for path in paths:
        go_through(path, cache)
    found = len(find_models(folder))
    print(json.dumps({"seen": watch.seen, "found": found}))


if __name__ == "__main__":
    main()
