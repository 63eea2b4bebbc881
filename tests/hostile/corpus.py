"""All hostile checkpoints by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tests.hostile import archives, folders, headers, packs, pickles, releases
from tests.hostile.case import Hostile

CASES: Final[Mapping[str, Hostile]] = {
    case.name: case
    for module in (pickles, archives, headers, packs, folders, releases)
    for case in module.cases()
}
