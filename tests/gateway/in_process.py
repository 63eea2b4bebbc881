"""The gateway in this process, around real engines that run here too: no Ray, real pictures."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager

from engines.calls import EngineCall, EngineEvent, EngineOptions, EngineResult, LoadProgress
from engines.card import ModelCard
from engines.discovery import discover
from engines.replica import Engine, EngineArgs
from gateway.conductor import Conductor
from gateway.placement import Room
from gateway.registry import ModelEntry
from gateway.service import GatewayConfig, Service
from gateway.settings import Settings

OPTIONS = EngineOptions(device="cpu", threads=1)


class InProcessEngine:
    """`engines.replica.Engine` without Serve around it."""

    def __init__(self, card: ModelCard) -> None:
        self._card = card
        self._engine: Engine | None = None
        self.loads = 0
        """How often it was loaded."""
        self.gone: Callable[[], None] = lambda: None
        """Called when the engine has left, as Serve tells its gateways."""
        self.here: Callable[[], None] = lambda: None
        """Called when there is one."""

    def running(self) -> bool:
        return self._engine is not None

    def places(self) -> tuple[str, ...]:
        return ("here",) if self.running() else ()

    async def warm(self, *, look: bool = False) -> AsyncIterator[LoadProgress]:
        if self._engine is None:
            self._engine = Engine(EngineArgs(card=self._card, options=OPTIONS))
            self.loads += 1
            self.here()
        async for progress in self._engine.warm(look=look):
            yield progress

    async def generate(self, call: EngineCall) -> EngineResult:
        assert self._engine is not None
        return await self._engine.generate(call)

    async def stream(self, call: EngineCall) -> AsyncGenerator[EngineEvent]:
        assert self._engine is not None
        async with aclosing(self._engine.stream(call)) as events:
            async for event in events:
                yield event

    async def release(self, *, only_if_idle: bool) -> bool:
        """As Serve does it: an engine that leaves is gone once its work has ended."""
        if self._engine is None:
            return True
        leaves = await self._engine.release(only_if_idle=only_if_idle)
        if leaves:
            self._leaving = asyncio.create_task(self._leave(self._engine))
        return leaves

    async def _leave(self, engine: Engine) -> None:
        while engine._is_busy:
            await asyncio.sleep(0.01)
        self._engine = None
        self.gone()

    async def park(self) -> bool:
        return self._engine is not None and await self._engine.park()


def config(
    *cards: ModelCard,
    settings: Settings | None = None,
    options: EngineOptions = OPTIONS,
    **aliases: tuple[str, ...],
) -> GatewayConfig:
    """A gateway's configuration for these models, described from their classes."""
    entries = tuple(
        ModelEntry(
            card=card, schema_=discover(card), options=options, aliases=aliases.get(card.name, ()), created=1
        )
        for card in cards
    )
    return GatewayConfig(models=entries, settings=settings or Settings())


def service(configuration: GatewayConfig, rooms: Sequence[Room] = ()) -> Service:
    """A configured service in these rooms (none: there is room for all); needs a running event loop."""
    return services(1, configuration, rooms)[0]


def services(count: int, configuration: GatewayConfig, rooms: Sequence[Room] = ()) -> list[Service]:
    """As `service`, several that share the engines and the conductor."""
    cards = {entry.name: entry.card for entry in configuration.models}
    engines = {name: InProcessEngine(card) for name, card in cards.items()}
    conductor = Conductor(engines.__getitem__)
    if rooms:
        conductor.configure(_surveyed(rooms), patience=configuration.settings.swap_patience_seconds)
    made = [Service(engines.__getitem__, exchange=lambda _: conductor.exchange) for _ in range(count)]
    for name, engine in engines.items():
        engine.gone = functools.partial(_tell, made, name, False)
        engine.here = functools.partial(_tell, made, name, True)
    for each in made:
        each.configure(configuration)
    return made


@asynccontextmanager
async def closing(*services: Service) -> AsyncIterator[None]:
    """Close these at the end, whatever happens."""
    try:
        yield
    finally:
        for each in services:
            each.close()
            await each._keeping.settled()


def _tell(services: Sequence[Service], model: str, running: bool) -> None:
    for each in services:
        each.served(model).presence_changed(running)


def _surveyed(rooms: Sequence[Room]) -> Callable[[], Awaitable[Sequence[Room]]]:
    async def survey() -> Sequence[Room]:
        return rooms

    return survey


def no_engine(name: str) -> InProcessEngine:
    """For a service without models of its own."""
    raise AssertionError(f"{name} was to have no engine")
