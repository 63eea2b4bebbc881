"""Progress for a human: a spinner on a terminal, plain lines elsewhere. On standard error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

_SECONDS_BETWEEN: Final = 5.0
"""Between two lines about the same transfer, where there is no terminal."""


class Progress:
    """Shows what is going on."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Show that something goes on, and at its end how long it took."""
        started = time.monotonic()
        if self._console.is_terminal:
            with self._console.status(f"{text} …"):
                yield
        else:
            self.say(f"{text} …")
            yield
        self.say(f"{text}: done ({time.monotonic() - started:.1f} s)")

    @contextmanager
    def transfer(self, text: str) -> Iterator[Callable[[int, int], None]]:
        """Show how many bytes of how many have been moved: a bar on a terminal, else a line now and then."""
        started = time.monotonic()
        with self._bar(text) if self._console.is_terminal else self._lines(text) as advance:
            yield advance
        self.say(f"{text}: done ({time.monotonic() - started:.1f} s)")

    @contextmanager
    def _bar(self, text: str) -> Iterator[Callable[[int, int], None]]:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        bars = Bars(
            *columns, TransferSpeedColumn(), TimeRemainingColumn(), console=self._console, transient=True
        )
        with bars:
            task = bars.add_task(text, total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total)

    @contextmanager
    def _lines(self, text: str) -> Iterator[Callable[[int, int], None]]:
        self.say(f"{text} …")
        told = time.monotonic()

        def advance(done: int, total: int) -> None:
            nonlocal told
            if time.monotonic() - told >= _SECONDS_BETWEEN:
                told = time.monotonic()
                share = f"{done / total:.0%} of " if total else ""
                self.say(f"{text}: {share}{total / 10**9:.1f} GB")

        yield advance

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text)
