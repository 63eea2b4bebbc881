"""Tells the conductor what this gateway's models want, and the models what they may do.

Whenever something changes, and from time to time while anything is awake or wanted: what has been
waited for too long becomes so without an event.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from engines.errors import EngineError
from gateway.conductor import Demand, Verdict
from gateway.served import ServedModel

_logger = logging.getLogger(__name__)

WAITING_SECONDS: Final = 0.25
AWAKE_SECONDS: Final = 2.0
"""Between two exchanges, while somebody waits for a model and while models are merely awake."""

Exchange = Callable[[str, Mapping[str, Demand]], Awaitable[dict[str, Verdict]]]


class Coordination:
    """The exchange of one gateway with the one conductor; `start` needs a running loop."""

    def __init__(
        self, models: Callable[[], Mapping[str, ServedModel]], exchange: Exchange, *, identity: str
    ) -> None:
        self._models = models
        self._exchange = exchange
        self._identity = identity
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def changed(self) -> None:
        """Take note that a model may want something else now."""
        self._news.set()

    def close(self) -> None:
        """End: nothing is woken any more."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        spoken = False
        while True:
            self._news.clear()
            demands = self._demands()
            if demands or spoken:
                await self._speak(demands)
            spoken = bool(demands)
            await self._rest(demands)

    def _demands(self) -> dict[str, Demand]:
        found: dict[str, Demand] = {}
        for name, model in self._models().items():
            try:
                model.keep_warm()
                demand = model.demand
            except Exception:  # what is wrong with one model must not keep the others asleep
                _logger.exception("%s cannot say what it wants", name)
                continue
            if demand is not None:
                found[name] = demand
        return found

    async def _rest(self, demands: Mapping[str, Demand]) -> None:
        waited_for = any(demand.waking or demand.waiting_seconds is not None for demand in demands.values())
        watched = demands or any(model.entry.options.keep_warm for model in self._models().values())
        seconds = WAITING_SECONDS if waited_for else AWAKE_SECONDS if watched else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._news.wait()

    async def _speak(self, demands: Mapping[str, Demand]) -> None:
        try:
            verdicts = await self._exchange(self._identity, demands)
        except (EngineError, RayError, RayServeException) as error:
            # A conductor that is being replaced: what waits goes on waiting, and asks again.
            _logger.warning("the conductor does not answer: %s", type(error).__name__)
            return
        except Exception:  # the outer edge of a task without which nothing would ever wake again
            _logger.exception("the conductor failed")
            return
        models = self._models()
        for name, verdict in verdicts.items():
            if name in models:
                models[name].obey(verdict, waking=demands[name].waking)
