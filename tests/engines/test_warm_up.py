"""A picture drawn at the end of a load serves the first caller, and leaves no trace."""

from __future__ import annotations

import threading

import pytest
import torch
from pydantic import JsonValue

from engines.calls import EngineOptions
from engines.validation import check
from engines.warm_up import call_for, is_wanted, warm_up
from tests.engines.bench import Bench, Benches

SMALL: dict[str, JsonValue] = {"prompt": "a red fox", "height": 64, "width": 64, "num_inference_steps": 2}


def warmed(bench: Bench, stop: threading.Event | None = None) -> tuple[str | None, list[int]]:
    steps: list[int] = []
    note = warm_up(
        bench.model,
        bench.schema,
        EngineOptions(),
        stop=stop or threading.Event(),
        on_step=lambda made, _: steps.append(made),
    )
    return note, steps


@pytest.mark.parametrize("name", ["sd15", "sd15-inpainting"])
def test_it_is_drawn_at_the_models_own_size_and_changes_no_later_picture(name: str, benches: Benches) -> None:
    bench = benches(name)
    before = torch.get_rng_state()
    note, steps = warmed(bench)
    assert note is None
    assert len(steps) >= 2
    assert torch.equal(torch.get_rng_state(), before)


def test_the_picture_after_it_is_the_stock_pipelines(benches: Benches) -> None:
    bench = benches("sd15")
    stock = bench.stock(4, **SMALL)
    warmed(bench)
    assert bench.draw(SMALL, seed=4).images[0][0].tobytes() == stock.tobytes()


@pytest.mark.parametrize("name", ["kandinsky21", "kandinsky22", "kandinsky3", "kandinsky5", "sdxl", "flux"])
def test_what_it_asks_for_is_what_the_model_takes(name: str, benches: Benches) -> None:
    bench = benches(name)
    call = call_for(bench.schema)
    check(bench.schema.call, call.parameters)
    assert {value for key, value in call.parameters.items() if key.endswith("steps")} == {2}


def test_its_failure_is_words(benches: Benches, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = benches("sd15")

    def exhausted(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(bench.model.pipelines["__call__"].unet, "forward", exhausted)
    note, _ = warmed(bench)
    assert note is not None
    assert "ran out of memory" in note


def test_it_ends_when_a_caller_comes(benches: Benches) -> None:
    stop = threading.Event()
    stop.set()
    assert warmed(benches("sd15"), stop) == (None, [])


@pytest.mark.parametrize(
    ("told", "device", "wanted"),
    [
        (None, "cuda", True),
        (None, "cpu", False),
        (None, "mps", False),
        (True, "cpu", True),
        (False, "cuda", False),
    ],
)
def test_a_gpu_is_warmed_up_unless_told_otherwise(told: bool | None, device: str, wanted: bool) -> None:
    assert is_wanted(EngineOptions(warm_up=told), device) is wanted
