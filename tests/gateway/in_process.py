"""The gateway in this process, around real engines that run here too: no Ray, real pictures."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from engines.calls import EngineCall, EngineEvent, EngineOptions, EngineResult, LoadProgress
from engines.card import ModelCard
from engines.discovery import discover
from engines.replica import Engine, EngineArgs
from gateway.registry import ModelEntry
from gateway.service import GatewayConfig, Service
from gateway.settings import Settings

OPTIONS = EngineOptions(device="cpu", threads=1)


class InProcessEngine:
    """`engines.replica.Engine` without Serve around it."""

    def __init__(self, card: ModelCard) -> None:
        self._card = card
        self._engine: Engine | None = None

    def running(self) -> bool:
        return self._engine is not None

    async def warm(self) -> AsyncIterator[LoadProgress]:
        if self._engine is None:
            self._engine = Engine(EngineArgs(card=self._card, options=OPTIONS))
        async for progress in self._engine.warm():
            yield progress

    async def generate(self, call: EngineCall) -> EngineResult:
        assert self._engine is not None
        return await self._engine.generate(call)

    async def stream(self, call: EngineCall) -> AsyncGenerator[EngineEvent]:
        assert self._engine is not None
        async with aclosing(self._engine.stream(call)) as events:
            async for event in events:
                yield event


def config(*cards: ModelCard, settings: Settings | None = None, **aliases: tuple[str, ...]) -> GatewayConfig:
    """A gateway's configuration for these models, described from their classes."""
    entries = tuple(
        ModelEntry(
            card=card, schema_=discover(card), options=OPTIONS, aliases=aliases.get(card.name, ()), created=1
        )
        for card in cards
    )
    return GatewayConfig(models=entries, settings=settings or Settings())


def service(configuration: GatewayConfig) -> Service:
    """A configured service; needs a running event loop."""
    cards = {entry.name: entry.card for entry in configuration.models}
    made = Service(lambda name: InProcessEngine(cards[name]))
    made.configure(configuration)
    return made


def no_engine(name: str) -> InProcessEngine:
    """For a service without models of its own."""
    raise AssertionError(f"{name} was to have no engine")
