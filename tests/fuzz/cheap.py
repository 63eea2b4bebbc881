"""A gateway whose engines draw for real, and little: what is fuzzed is the way there and back."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Final

from engines.calls import EngineCall, EngineEvent, EngineResult
from gateway.registry import ModelEntry
from gateway.service import GatewayConfig, Service
from tests.gateway.in_process import InProcessEngine

MOST_STEPS: Final = 2
LARGEST_EDGE: Final = 64


class CheapEngine(InProcessEngine):
    """An engine that gets calls of few steps, one picture and a small size, whatever was asked for."""

    def __init__(self, entry: ModelEntry) -> None:
        super().__init__(entry.card)
        self._schema = entry.schema_

    async def generate(self, call: EngineCall) -> EngineResult:
        return await super().generate(self._cheap(call))

    async def stream(self, call: EngineCall) -> AsyncGenerator[EngineEvent]:
        async for event in super().stream(self._cheap(call)):
            yield event

    def _cheap(self, call: EngineCall) -> EngineCall:
        method = self._schema.method(call.method)
        assert method is not None
        most = {"num_inference_steps": MOST_STEPS, "width": LARGEST_EDGE, "height": LARGEST_EDGE}
        asked = {name: call.parameters.get(name) for name in most if method.find(name) is not None}
        small = {
            name: min(value, most[name]) if isinstance(value, int) else most[name]
            for name, value in asked.items()
        }
        return replace(
            call,
            parameters={**call.parameters, **small},
            count=1,
            resize_to=call.resize_to and (LARGEST_EDGE, LARGEST_EDGE),
            fit_inputs=call.fit_inputs and (LARGEST_EDGE, LARGEST_EDGE),
        )


def service(configuration: GatewayConfig) -> Service:
    """A configured service; needs a running event loop."""
    engines = {entry.name: CheapEngine(entry) for entry in configuration.models}
    made = Service(engines.__getitem__)
    made.configure(configuration)
    for name, engine in engines.items():
        engine.gone = functools.partial(made.served(name).presence_changed, False)
    return made
