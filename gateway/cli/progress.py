"""Progress for a human: a spinner on a terminal, plain lines elsewhere. On standard error."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


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

    def say(self, text: str) -> None:
        """Print a line."""
        self._console.print(text)
