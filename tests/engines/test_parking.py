"""Weights that were set aside come back where they were, bit for bit."""

from __future__ import annotations

import logging

import pytest
import torch
from pydantic import JsonValue

from engines.calls import EngineOptions
from engines.offloading import Offload
from engines.parking import Parked, refusal
from tests.engines.bench import Benches

SMALL: dict[str, JsonValue] = {"prompt": "a red fox", "height": 64, "width": 64, "num_inference_steps": 2}


@pytest.mark.parametrize("name", ["kandinsky22", "flux"])
def test_the_picture_is_the_same_afterwards(name: str, benches: Benches) -> None:
    bench, parked = benches(name), Parked(benches(name).model, pin=False)
    # A mapped file's tensors are not aligned as a device's are, and sums on a CPU depend on that.
    parked.park()
    parked.restore(lambda *_: None)
    fresh = bench.draw(SMALL, seed=1).images[0][0]
    parked.park()
    told: list[tuple[int, int]] = []
    parked.restore(lambda moved, size: told.append((moved, size)))
    assert told[-1] == (parked.size, parked.size)
    assert bench.draw(SMALL, seed=1).images[0][0].tobytes() == fresh.tobytes()


def test_every_weight_is_moved(benches: Benches) -> None:
    bench = benches("sd15")
    pipeline = bench.model.pipelines["__call__"]
    weights = [*pipeline.unet.parameters(), *pipeline.vae.parameters(), *pipeline.text_encoder.parameters()]
    parked, before = Parked(bench.model, pin=False), {each.data_ptr() for each in weights}
    parked.park()
    assert before.isdisjoint(each.data_ptr() for each in weights)
    parked.restore(lambda *_: None)


def test_tensors_that_share_memory_share_it_again(benches: Benches) -> None:
    encoder = benches("flux").model.pipelines["__call__"].text_encoder_2
    whole = encoder.shared.weight
    encoder.register_buffer("corner", whole.data[1:3, ::2])
    try:
        parked = Parked(benches("flux").model, pin=False)
        parked.park()
        parked.restore(lambda *_: None)
        assert encoder.encoder.embed_tokens.weight is encoder.shared.weight
        assert encoder.corner.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
        assert torch.equal(encoder.corner, whole[1:3, ::2])
    finally:
        del encoder.corner


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU's driver pins memory")
def test_memory_that_cannot_be_pinned_is_replaced_and_told(
    benches: Benches, caplog: pytest.LogCaptureFixture
) -> None:
    parked = Parked(benches("sd15").model)
    with caplog.at_level(logging.WARNING):
        parked.park()
    parked.restore(lambda *_: None)
    assert "not pinned" in caplog.text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (EngineOptions(), "on cpu the weights lie in the host's memory anyway"),
        (EngineOptions(offload=Offload.MODEL), "with offloading"),
        (EngineOptions(quantize={"unet": "int8"}), "quantised"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(
    options: EngineOptions, words: str, benches: Benches, monkeypatch: pytest.MonkeyPatch
) -> None:
    if options != EngineOptions():
        monkeypatch.setattr("engines.parking.DEVICES", ("cpu",))
    assert words in (refusal(benches("sd15").model, options) or "")
