"""What one model wants of the cluster: room for what it needs, as learned, and for whom."""

from __future__ import annotations

import math
import time
from typing import Final

from gateway.conductor import Demand
from gateway.lifecycle import Lifecycle
from gateway.needs import EVERYTHING, memory_of
from gateway.registry import ModelEntry
from gateway.status import State
from gateway.waiting import WaitingLine

EXPECTED_SECONDS: Final = 10.0
"""How long a model that was woken for a caller who was told to come back is kept for him."""
CROWDED_SECONDS: Final = 60.0
"""How long a model that ran out of memory beside others wants its room for itself."""
GROWTH: Final = 1.02
"""A need that was measured is written down again when it has grown by so much."""


class Wants:
    """The needs of one model, measured where they were, and what may not be taken from it."""

    def __init__(self, measured_bytes: float | None) -> None:
        self.measured_bytes = measured_bytes
        self._idle_since = time.monotonic()
        self._expected_until = 0.0
        self._crowded_until = 0.0
        self._gpus: float | None = None

    def demand(
        self,
        entry: ModelEntry,
        life: Lifecycle,
        line: WaitingLine,
        *,
        places: tuple[str, ...],
        wanted: bool,
        told_to_sleep: bool,
    ) -> Demand | None:
        """All of it for the conductor; ``None`` while the model sleeps and nobody waits.

        ``places`` are the nodes of its running replicas; ``wanted`` and ``told_to_sleep`` as in `Demand`.
        """
        waits = [each for each in (life.waking_seconds, line.waiting_seconds) if each is not None]
        if not waits and not places and not told_to_sleep:
            return None
        now = time.monotonic()
        memory = memory_of(entry.card, entry.options, self.measured_bytes)
        return Demand(
            options=entry.options,
            memory_bytes=EVERYTHING if now < self._crowded_until else memory,
            load_seconds=life.load_seconds,
            waiting_seconds=max(waits) if waits else None,
            waking=life.waking_number,
            places=places,
            gpus=self._gpus,
            parked=life.state is State.PARKED,
            busy=line.working > 0 or now < self._expected_until,
            looking=life.looking,
            wanted=wanted,
            told_to_sleep=told_to_sleep,
            held_seconds=life.ready_seconds,
            idle_seconds=0.0 if line.working else now - self._idle_since,
        )

    def expect(self) -> None:
        """Somebody was told to come back: he finds the model awake, others that wait notwithstanding."""
        self._expected_until = math.inf

    def rest(self) -> None:
        """Nobody is expected any more, and from now on the model is idle."""
        self._expected_until = 0.0
        self._idle_since = time.monotonic()

    @property
    def expected(self) -> bool:
        """Whether somebody was told to come back, and has not come yet."""
        return time.monotonic() < self._expected_until

    def ready(self, memory_bytes: float | None, gpus: float | None) -> None:
        """The model was loaded, needs so much, and has reserved so many GPUs."""
        self._idle_since = time.monotonic()
        if self._expected_until:
            self._expected_until = time.monotonic() + EXPECTED_SECONDS
        if memory_bytes is not None:
            self.measured_bytes = memory_bytes
        if gpus is not None:
            self._gpus = gpus

    def learn(self, memory_bytes: float | None) -> bool:
        """Take note of what the model needed while it drew; says whether that is news."""
        if memory_bytes is None:
            return False
        news = self.measured_bytes is None or memory_bytes > GROWTH * self.measured_bytes
        if news:
            self.measured_bytes = memory_bytes
        return news

    def crowded(self) -> None:
        """Memory ran out beside others: for a while the model wants its room for itself."""
        self._crowded_until = time.monotonic() + CROWDED_SECONDS
