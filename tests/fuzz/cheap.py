"""A gateway whose engines draw for real, and little: what is fuzzed is the way there and back."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any, Final

from engines.calls import EngineCall, EngineEvent, EngineResult
from gateway.service import GatewayConfig, Service
from tests.gateway.in_process import InProcessEngine

MOST_STEPS: Final = 1
LARGEST_EDGE: Final = 64


class CheapEngine(InProcessEngine):
    """An engine that gets calls of one step, one picture and a small size, whatever was asked for."""

    async def generate(self, call: EngineCall) -> EngineResult:
        return await super().generate(_cheap(call))

    async def stream(self, call: EngineCall) -> AsyncGenerator[EngineEvent]:
        async for event in super().stream(_cheap(call)):
            yield event


def service(configuration: GatewayConfig) -> Service:
    """A configured service; needs a running event loop."""
    cards = {entry.name: entry.card for entry in configuration.models}
    made = Service(lambda name: CheapEngine(cards[name]))
    made.configure(configuration)
    return made


def _cheap(call: EngineCall) -> EngineCall:
    parameters: dict[str, Any] = {"num_inference_steps": MOST_STEPS}
    for edge in ("width", "height"):
        if call.parameters.get(edge) is not None:
            parameters[edge] = LARGEST_EDGE
    resized = call.resize_to and (LARGEST_EDGE, LARGEST_EDGE)
    fitted = call.fit_inputs and (LARGEST_EDGE, LARGEST_EDGE)
    return replace(
        call, parameters={**call.parameters, **parameters}, count=1, resize_to=resized, fit_inputs=fitted
    )
