"""The tries of one call: how often it is sent to an engine when engines die or leave under it, and that all
of them draw the same picture."""

from __future__ import annotations

import logging
import secrets
from dataclasses import replace
from typing import Final

from engines.calls import LARGEST_SEED, EngineCall
from engines.errors import EngineError, EngineLeaving, EngineLost, HostMemoryExhausted

_logger = logging.getLogger(__name__)

TRIES: Final = 3
"""How often a call is sent to an engine that dies, or leaves, under it."""
MOST_FILLS: Final = 2
"""A call under which a machine's memory was full so often is what fills it."""
MOST_LOSSES: Final = 3
"""Work that nobody waits for, and that so often was given up after `TRIES`, is what ends its engines."""
LOSSES: Final = (EngineLost, EngineLeaving, HostMemoryExhausted)
"""What another engine may cure."""


class Trials:
    """The tries of one call to a model."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._begun = 0
        self._fills = 0

    @property
    def last(self) -> bool:
        """Whether the try under way is the last."""
        return self._begun == TRIES

    def begin(self) -> None:
        """Count a try."""
        self._begun += 1

    def lost(self, error: EngineError, *, final: bool = False) -> None:
        """Take note that the try ended with one of `LOSSES`; ``final`` where there must not be another.

        Raises:
            EngineLost, EngineLeaving, HostMemoryExhausted: it is not to be tried again.
        """
        _logger.warning("%s (try %d of %d)", error, self._begun, TRIES)
        self._fills += isinstance(error, HostMemoryExhausted)
        if self._fills == MOST_FILLS:
            raise error
        if final or self.last:
            # Memory that was full once may have been full of something else.
            raise EngineLost(self._model) if isinstance(error, HostMemoryExhausted) else error


def seeded(call: EngineCall) -> EngineCall:
    """The call with a seed: a random one where none was asked for."""
    if call.seed is not None:
        return call
    return replace(call, seed=secrets.randbelow(LARGEST_SEED - call.count))
