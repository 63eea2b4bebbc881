"""A stopped call computes nothing more than what it is computing, and leaves no trace."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from pydantic import JsonValue

from engines.calls import EngineOptions
from engines.errors import GenerationStopped
from engines.interrupting import decoders
from tests.engines.bench import Bench, Benches

SMALL: dict[str, JsonValue] = {"prompt": "a red fox", "height": 64, "width": 64, "num_inference_steps": 2}
WITH_PRIOR: dict[str, JsonValue] = {**SMALL, "prior_num_inference_steps": 2}
CALLS: dict[str, dict[str, JsonValue]] = {
    "kandinsky21": WITH_PRIOR,
    "kandinsky22": WITH_PRIOR,
    "kandinsky3": SMALL,
    # It always draws a megapixel.
    "kandinsky5": {"prompt": "a red fox", "num_inference_steps": 1},
    "sd15": SMALL,
    "sd3": SMALL,
    "sdxl": SMALL,
    "flux": SMALL,
}


class Computed:
    """Counts how often components have computed; the ``until``-th time sets the flag."""

    def __init__(self, until: int = 0) -> None:
        self.count = 0
        self.stop = threading.Event()
        self._until = until

    def __call__(self, *_: Any) -> None:
        self.count += 1
        if self.count == self._until:
            self.stop.set()


@contextmanager
def counting(bench: Bench, computed: Computed) -> Iterator[None]:
    pipeline = bench.model.pipelines["__call__"]
    modules = [each for each in pipeline.components.values() if isinstance(each, torch.nn.Module)]
    handles = [each.register_forward_hook(computed) for each in (*modules, *decoders(pipeline))]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def drawn(bench: Bench, computed: Computed | None = None, **more: Any) -> list[bytes]:
    computed = computed or Computed()
    parameters = CALLS[bench.model.card.name] | more.pop("parameters", {})
    with counting(bench, computed):
        generated = bench.draw(parameters, seed=3, stop=computed.stop, **more)
    return [image.tobytes() for image, _ in generated.images]


@pytest.mark.parametrize("name", CALLS)
def test_nothing_computes_after_a_stop_at_any_place_and_the_next_picture_is_as_ever(
    name: str, benches: Benches
) -> None:
    bench, whole = benches(name), Computed()
    fresh = drawn(bench, whole)
    assert whole.count >= 3, "an encoder, a denoiser and a decoder have computed"
    # In the encoder, at each step, in both stages, and before the decoder.
    for place in range(1, whole.count):
        computed = Computed(until=place)
        with pytest.raises(GenerationStopped):
            drawn(bench, computed, parameters={"prompt": "somebody else's"})
        assert computed.count == place
    assert drawn(bench) == fresh


def test_a_stop_in_one_picture_begins_no_other(benches: Benches) -> None:
    bench, one = benches("kandinsky3"), Computed()
    fresh = drawn(bench, one)
    with pytest.raises(GenerationStopped) as stopped:
        drawn(bench, Computed(until=one.count), count=3)
    assert stopped.value.step == 2
    assert drawn(bench) == fresh


def test_a_batch_is_stopped_as_one(benches: Benches) -> None:
    bench, options = benches("kandinsky3"), EngineOptions(batch_size=2)
    fresh = drawn(bench, options=options, count=2)
    with pytest.raises(GenerationStopped):
        drawn(bench, Computed(until=2), options=options, count=2)
    assert drawn(bench, options=options, count=2) == fresh


def test_a_stop_ends_a_stream_before_its_next_picture_of_the_way(benches: Benches) -> None:
    bench, shown = benches("kandinsky3"), []
    with pytest.raises(GenerationStopped):
        drawn(
            bench,
            Computed(until=3),
            parameters={"num_inference_steps": 4},
            previews=3,
            on_preview=lambda index, _: shown.append(index),
        )
    assert len(shown) <= 1
