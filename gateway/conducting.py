"""The conductor of a real cluster, with what it looks at and what it keeps ready: in the process of the one
gateway, or as a deployment of its own where there are several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from gateway.conductor import Conductor, Demand, Occupant, Verdict
from gateway.coordination import Exchange
from gateway.needs import GIGABYTE
from gateway.rooms import Rooms
from gateway.settings import Settings
from gateway.spares import Spares


class Podium:
    """A conductor over the Ray cluster of this process. ``connect`` makes the client of a model's engine."""

    def __init__(self, connect: Callable[[str], Occupant]) -> None:
        self._conductor = Conductor(connect)
        self._spares: Spares | None = None

    def configure(self, settings: Settings) -> None:
        """Do as the settings say. Needs a running loop."""
        rooms = Rooms(gpu_share=settings.gpu_memory_share, host_memory_gb=settings.host_memory_gb)
        self._conductor.configure(
            rooms.survey,
            patience=settings.swap_patience_seconds,
            parking=settings.parking_gb * GIGABYTE,
        )
        if self._spares is not None:
            self._spares.close()
        self._spares = Spares(settings.spare_engines, resting=lambda: not self._conductor.waking)
        self._spares.start()

    async def exchange(self, gateway: str, demands: Mapping[str, Demand]) -> dict[str, Verdict]:
        """As `Conductor.exchange`; whatever wakes may have used a spare worker."""
        verdicts = await self._conductor.exchange(gateway, demands)
        if self._conductor.waking and self._spares is not None:
            self._spares.refill()
        return verdicts


def in_process(connect: Callable[[str], Occupant]) -> Callable[[Settings], Exchange]:
    """The way to a conductor in this very process, for settings that may change."""
    podium = Podium(connect)

    def exchange(settings: Settings) -> Exchange:
        podium.configure(settings)
        return podium.exchange

    return exchange


def by_handle(handle: Any) -> Callable[[Settings], Exchange]:
    """The way to a conductor behind a Serve handle, which has its settings from Serve."""
    method = handle.options(method_name="exchange")

    async def exchange(gateway: str, demands: Mapping[str, Demand]) -> dict[str, Verdict]:
        return cast(dict[str, Verdict], await method.remote(gateway, dict(demands)))

    return lambda _: exchange
