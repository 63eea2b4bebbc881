"""A call that has a time is ended by the engine itself, and costs the next one nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engines.calls import EngineCall, EngineOptions
from engines.detection import demo_card
from engines.errors import DeadlineExceeded
from engines.replica import Engine, EngineArgs

pytestmark = pytest.mark.anyio

CALL = EngineCall(
    request_id="r",
    method="__call__",
    parameters={"prompt": "the sea", "num_inference_steps": 2, "width": 64, "height": 64},
    seed=1,
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_the_time_of_a_call_ends_it_before_it_begins_or_at_a_step() -> None:
    engine = Engine(EngineArgs(card=demo_card(), options=EngineOptions(device="cpu", threads=1)))
    whole = await engine.generate(replace(CALL, deadline_seconds=60))
    with pytest.raises(DeadlineExceeded) as unbegun:
        await engine.generate(replace(CALL, deadline_seconds=0.0))
    assert (unbegun.value.doing, unbegun.value.step) == ("waiting for its turn", None)
    endless = replace(CALL, parameters={**CALL.parameters, "num_inference_steps": 1000}, deadline_seconds=2)
    with pytest.raises(DeadlineExceeded) as late:
        await engine.generate(endless)
    assert late.value.doing == "drawing"
    assert 0 < (late.value.step or 0) < 1000
    assert (await engine.generate(CALL)).images == whole.images
