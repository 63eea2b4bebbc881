"""What a run on a GPU has shown: figures, and whether what must hold did; printed as one table."""

from __future__ import annotations

import sys
import traceback
from types import TracebackType
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

WIDTH: Final = 118


class Findings:
    """Collects lines; at the end of its block they are printed, and the process fails if a check did.

    An exception in the block is a check that failed: what was found before it is printed all the same.
    """

    def __init__(self, title: str) -> None:
        self._table = Table("what", "seen", "", title=title, title_justify="left", box=SIMPLE_HEAD)
        self._failed = 0

    def __enter__(self) -> Findings:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            traceback.print_exc()
            self.check(f"{type(error).__name__} raised", str(error)[:80], False)
        Console(width=WIDTH).print(self._table)
        sys.stdout.flush()
        if self._failed:
            raise SystemExit(f"{self._failed} of what must hold did not")

    def figure(self, what: str, seen: str) -> None:
        """Note a figure that is only told."""
        self._add(what, seen, "")

    def check(self, what: str, seen: str, holds: bool) -> None:
        """Note a figure that has to be so."""
        self._failed += not holds
        self._add(what, seen, "ok" if holds else "FAILED")

    def _add(self, *row: str) -> None:
        """Told at once as well: a run that is cut short has shown something too."""
        print(*row, sep="  ", file=sys.stderr, flush=True)
        self._table.add_row(*row)


def gib(size: float | None) -> str:
    """Bytes in words."""
    return "unknown" if size is None else f"{size / 2**30:.2f} GiB"
