"""What the gateway can do with a model's engine, wherever that runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from typing import Protocol

from engines.calls import EngineCall, EngineEvent, EngineResult, LoadProgress


class Engine(Protocol):
    """What the gateway can do with a model's engine."""

    def running(self) -> bool:
        """Whether a replica runs, known without a call."""

    def places(self) -> Sequence[str]:
        """The nodes of the running replicas."""

    def warm(self, *, look: bool = False) -> AsyncIterator[LoadProgress]:
        """Wake the engine and follow its load; with ``look``, weights that are set aside stay there."""

    def generate(self, call: EngineCall) -> Awaitable[EngineResult]:
        """Draw."""

    def stream(self, call: EngineCall) -> AsyncGenerator[EngineEvent]:
        """Draw, and tell of the way."""

    def release(self, *, only_if_idle: bool) -> Awaitable[bool]:
        """Send the engine to sleep once its work has ended; says whether it goes."""

    def park(self) -> Awaitable[bool]:
        """Move its weights to the host's memory; says whether it did."""
