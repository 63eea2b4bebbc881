"""What a model's weights take on the device, told from its card."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from transformers import T5Config, T5EncoderModel

from engines import footprint
from engines.calls import EngineOptions
from engines.card import CheckpointFormat, Component, Family, ModelCard, Part
from engines.detection import detect
from engines.footprint import Footprint, advice, device_bytes
from engines.loading import load
from engines.offloading import Offload

library: Any = diffusers  # its functions have no types

GB = 10**9
CARD_24_GB = 24 * 2**30
T5, UNET, MOVQ = 8_721_797_632, 3_055_348_228, 270_585_000
"""Weights of Kandinsky 3's components."""


def kandinsky3(dtype: str = "float16", item: int = 2) -> ModelCard:
    def component(name: str, library: str, class_name: str, weights: int) -> Component:
        return Component(name=name, library=library, class_name=class_name, size=weights * item, dtype=dtype)

    return ModelCard(
        name="kandinsky-3",
        path="/models/kandinsky-3",
        family=Family.KANDINSKY_3,
        format=CheckpointFormat.DIFFUSERS_FOLDER,
        part=Part.WHOLE,
        components=(
            Component(name="scheduler", library="diffusers", class_name="DDPMScheduler"),
            component("text_encoder", "transformers", "T5EncoderModel", T5),
            component("unet", "diffusers", "Kandinsky3UNet", UNET),
            component("movq", "diffusers", "VQModel", MOVQ),
        ),
    )


def weights_of(found: Footprint) -> dict[str, float]:
    return {each.name: each.weights / GB for each in found.components}


def test_kandinsky_3_does_not_fit_24_gb_as_it_is() -> None:
    found = device_bytes(kandinsky3(), dtype="bfloat16")
    assert weights_of(found) == pytest.approx({"text_encoder": 17.4, "unet": 6.1, "movq": 0.54}, abs=0.05)
    assert found.peak == found.weights == pytest.approx(24.1 * GB, abs=0.05 * GB)


@pytest.mark.parametrize(
    ("offload", "quantize", "gigabytes"),
    [
        (Offload.MODEL, {}, 17.4),
        (Offload.NONE, {"text_encoder": "int8"}, 15.5),
        (Offload.NONE, {"text_encoder": "nf4"}, 14.5),
        (Offload.MODEL, {"text_encoder": "int8"}, 8.9),
        (Offload.NONE, {"text_encoder": "int8", "unet": "int8"}, 14.2),
        (Offload.GROUP, {}, 4.3),
        (Offload.SEQUENTIAL, {}, 0.35),
    ],
)
def test_ways_for_kandinsky_3_into_24_gb(
    offload: Offload, quantize: dict[str, str], gigabytes: float
) -> None:
    found = device_bytes(kandinsky3(), dtype="bfloat16", offload=offload, quantize=quantize)
    assert found.peak == pytest.approx(gigabytes * GB, abs=0.05 * GB)


def test_a_t5_in_float16_is_larger_for_a_quarter_of_it_stays_in_float32() -> None:
    found = device_bytes(kandinsky3(), dtype="float16", offload=Offload.MODEL)
    assert found.peak == pytest.approx(21.7 * GB, abs=0.1 * GB)


def test_the_files_own_type_does_not_count() -> None:
    stored = device_bytes(kandinsky3("float32", 4), dtype="bfloat16")
    assert stored == device_bytes(kandinsky3(), dtype="bfloat16")


def test_with_offloading_the_weights_are_counted_for_the_host() -> None:
    found = device_bytes(kandinsky3(), dtype="bfloat16", offload=Offload.MODEL)
    assert found.weights == pytest.approx(24.1 * GB, abs=0.05 * GB)


def test_a_card_that_is_too_small_is_told_the_way() -> None:
    words = advice(kandinsky3(), 23 * GB, dtype="bfloat16", offload=Offload.NONE, quantize={})
    assert words == (
        "its weights take 22.4 GiB of the device's memory, which has 21.4 GiB; "
        "with --offload model they take 16.2 GiB at once"
    )
    assert advice(kandinsky3(), CARD_24_GB, dtype="bfloat16", offload=Offload.MODEL, quantize={}) is None


def test_quantised_weights_are_not_advised_to_go_layer_by_layer() -> None:
    words = advice(
        kandinsky3(), GB, dtype="bfloat16", offload=Offload.NONE, quantize={"text_encoder": "int8"}
    )
    assert words is not None
    assert "--offload" not in words


@pytest.mark.parametrize("name", ["kandinsky21", "kandinsky22", "kandinsky3", "sd15"])
def test_unmoved_weights_are_counted_as_they_are_loaded(
    name: str, tiny_models: Callable[[str], Path]
) -> None:
    card = detect(tiny_models(name), name=name)
    model = load(card, EngineOptions(device="cpu", dtype="float32", threads=1), lambda _: None)
    components = model.pipelines["__call__"].components
    for each in device_bytes(card, dtype="float32").components:
        if each.name in components:
            parameters = components[each.name].parameters()
            assert each.weights == pytest.approx(sum(one.nbytes for one in parameters), rel=0.01)


@pytest.mark.parametrize("name", ["kandinsky22", "kandinsky3"])
def test_what_a_pipeline_excludes_from_offloading_stays(
    name: str, tiny_models: Callable[[str], Path]
) -> None:
    card = detect(tiny_models(name), name=name)
    model = load(card, EngineOptions(device="cpu", dtype="float32", threads=1), lambda _: None)
    found = device_bytes(card, dtype="float32", offload=Offload.MODEL)
    excluded = set(model.pipelines["__call__"]._exclude_from_cpu_offload)
    assert {each.name for each in found.components if each.stays} == excluded


def test_the_shares_are_those_of_the_real_configurations() -> None:
    encoder = T5Config(
        vocab_size=32128, d_model=4096, d_kv=256, d_ff=16384, num_layers=32, num_heads=16,
        is_encoder_decoder=False, feed_forward_proj="gated-silu",
    )  # fmt: skip
    with torch.device("meta"):
        models: list[Any] = [T5EncoderModel(encoder), library.Kandinsky3UNet()]
    for model in models:
        linear = sum(each.weight.numel() for each in model.modules() if isinstance(each, torch.nn.Linear))
        share = footprint._LINEAR[type(model).__name__]
        assert linear / count(model) == pytest.approx(share, abs=0.005)
    assert [count(model) for model in models] == [T5, UNET]
    wide = sum(each.numel() for name, each in models[0].named_parameters() if ".wo." in name)
    assert wide / T5 == pytest.approx(footprint._WIDE["T5EncoderModel"], abs=0.005)


def count(model: torch.nn.Module) -> int:
    return sum(each.numel() for each in model.parameters())
