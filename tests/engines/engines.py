"""A real engine in this process, and a hand on what its denoiser does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from diffusers import UNet2DConditionModel
from pydantic import JsonValue

from engines.calls import EngineCall, EngineOptions, EngineResult, LoadPhase, LoadProgress
from engines.card import ModelCard
from engines.replica import Engine, EngineArgs

STEPS = 3


def engine_of(card: ModelCard, **options: Any) -> Engine:
    """An engine that has not begun to load."""
    return Engine(EngineArgs(card=card, options=EngineOptions(device="cpu", threads=1, **options)))


def call(prompt: str = "a red fox", **more: Any) -> EngineCall:
    """A small drawing of `STEPS` steps."""
    parameters: dict[str, JsonValue] = {"prompt": prompt, "height": 64, "width": 64}
    parameters["num_inference_steps"] = STEPS
    return EngineCall(request_id="r", method="__call__", parameters=parameters, seed=1, **more)


async def warmed(engine: Engine) -> list[LoadProgress]:
    """Load, and give all reports."""
    return [progress async for progress in engine.warm()]


async def ready(card: ModelCard, **options: Any) -> Engine:
    """A loaded engine."""
    engine = engine_of(card, **options)
    assert (await warmed(engine))[-1].phase is LoadPhase.READY
    return engine


def picture(result: EngineResult) -> bytes:
    """The file of the first picture."""
    return result.images[0].data


class Denoiser:
    """The forward pass of every UNet: counts its calls, and does ``before`` each of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.before: Callable[[int], None] = lambda _: None
        own = UNet2DConditionModel.forward

        def forward(module: UNet2DConditionModel, *args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            self.before(self.calls)
            return own(module, *args, **kwargs)

        monkeypatch.setattr(UNet2DConditionModel, "forward", forward)


class Hold:
    """A denoiser that waits in one of its calls, until it may go on."""

    def __init__(self, denoiser: Denoiser, *, at: int) -> None:
        self.entered = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._go = threading.Event()
        self._at = at
        denoiser.before = self._wait

    def let_go(self) -> None:
        self._go.set()

    def _wait(self, number: int) -> None:
        if number == self._at:
            self._loop.call_soon_threadsafe(self.entered.set)
            assert self._go.wait(60)
