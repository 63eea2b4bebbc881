"""All hostile checkpoints by name, and a folder of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests import originals
from tests.hostile import archives, folders, headers, links, packs, pickles, releases
from tests.hostile.canary import Canary
from tests.hostile.case import Ground, Hostile

CASES: Final[Mapping[str, Hostile]] = {
    case.name: case
    for module in (pickles, archives, headers, packs, folders, links, releases)
    for case in module.cases()
}


@dataclass(frozen=True)
class Corpus:
    """Where they lie: ``models`` holds a folder for each, ``paths`` are what to open."""

    models: Path
    canary: Canary
    paths: dict[str, Path]
    _tiny: Callable[[str], Path]

    def path(self, name: str) -> Path:
        """The path of one, written on first use."""
        if name not in self.paths:
            folder = self.models / name
            folder.mkdir(parents=True)
            self.paths[name] = CASES[name].write(Ground(folder, self.canary, self._tiny, self._release))
        return self.paths[name]

    def write_all(self) -> None:
        """Write those that are not large."""
        for name, case in CASES.items():
            if not case.large:
                self.path(name)

    def _release(self, name: str) -> Path:
        folder = self.models.parent / "releases" / name
        if not folder.exists():
            originals.write(name, folder)
        return folder


def lay_out(root: Path, tiny: Callable[[str], Path]) -> Corpus:
    """An empty corpus below ``root``; ``tiny`` gives the folder of a tiny model."""
    canary = Canary(root / "canary")
    canary.plant()
    return Corpus(root / "models", canary, {}, tiny)
