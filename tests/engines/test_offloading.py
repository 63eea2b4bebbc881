"""Weights that wait elsewhere make the same pictures, for every pipeline that shares them."""

from __future__ import annotations

import base64
import io
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.hooks import AlignDevicesHook, CpuOffload
from PIL import Image
from pydantic import JsonValue

from engines.calls import EngineOptions
from engines.detection import detect
from engines.discovery import complete, discover
from engines.errors import GenerationStopped, NotLoadable
from engines.loading import load
from engines.offloading import Offload, apply, check, claim, gradient_free
from tests.engines.bench import Bench

pytestmark = [
    # Kandinsky 2.2's combined pipeline hands its own default on to a decoder that deprecates it.
    pytest.mark.filterwarnings("ignore:`callback_steps` is deprecated:FutureWarning"),
    # diffusers' Euler scheduler gives torch tensors to NumPy 2 in the way of NumPy 1.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

MODES = [Offload.MODEL, Offload.SEQUENTIAL, Offload.GROUP]
# accelerate 1.15 cannot compute layer by layer on the CPU itself ("new() received an invalid combination").
DRAWING = [Offload.MODEL, Offload.GROUP]
SMALL: dict[str, JsonValue] = {"prompt": "a red fox", "num_inference_steps": 2}
SIZED: dict[str, JsonValue] = {**SMALL, "height": 64, "width": 64}

Offloaded = Callable[..., Bench]


@pytest.fixture
def offloaded(tiny_models: Callable[[str], Path]) -> Offloaded:
    """Give a tiny model of its own, its weights in the host's memory and its hooks installed."""

    def open_once(name: str, mode: Offload, device: str = "cpu") -> Bench:
        card = detect(tiny_models(name), name=name)
        model = load(card, EngineOptions(device="cpu", dtype="float32", threads=1), lambda _: None)
        for component in modules(model.pipelines["__call__"]):
            # A CPU rounds by how weights lie in memory: mapped from a file, or copied as hooks do.
            component._apply(torch.clone)
        apply(model.pipelines, model.pipelines["__call__"].components, mode, device=device)
        return Bench(model, complete(discover(card), model.pipelines))

    return open_once


def modules(pipeline: Any) -> list[Any]:
    return [each for each in pipeline.components.values() if isinstance(each, torch.nn.Module)]


def png(color: str) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), color).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


CALLS: dict[str, dict[str, JsonValue]] = {
    "__call__": SIZED,
    "image_to_image": {**SMALL, "image": png("teal"), "strength": 0.5},
    "inpaint": {**SMALL, "image": png("teal"), "mask_image": png("white")},
}


def pixels(bench: Bench, method: str = "__call__") -> bytes:
    found = bench.schema.method("__call__")
    with_prior = found is not None and found.find("prior_num_inference_steps") is not None
    own = {"prior_num_inference_steps": 2} if with_prior else {}
    ((image, _),) = bench.draw({**CALLS[method], **own}, seed=5, method=method).images
    return image.tobytes()


@pytest.mark.parametrize("mode", DRAWING)
@pytest.mark.parametrize("name", ["kandinsky22", "kandinsky3", "sd15"])
def test_the_picture_is_the_same(mode: Offload, name: str, offloaded: Offloaded) -> None:
    assert pixels(offloaded(name, mode)) == pixels(offloaded(name, Offload.NONE))


@pytest.mark.parametrize("mode", DRAWING)
def test_every_pipeline_draws_in_any_order(mode: Offload, offloaded: Offloaded) -> None:
    bench, plain = offloaded("kandinsky3", mode), offloaded("kandinsky3", Offload.NONE)
    for method in ("inpaint", "__call__", "image_to_image", "__call__"):
        assert pixels(bench, method) == pixels(plain, method), method


@pytest.mark.parametrize("mode", DRAWING)
def test_after_a_stop_the_next_picture_is_the_same(mode: Offload, offloaded: Offloaded) -> None:
    bench = offloaded("kandinsky3", mode)
    stop = threading.Event()
    with pytest.raises(GenerationStopped):
        bench.draw(CALLS["image_to_image"], method="image_to_image", stop=stop, on_step=lambda *_: stop.set())
    assert pixels(bench) == pixels(offloaded("kandinsky3", Offload.NONE))


@pytest.mark.parametrize("name", ["kandinsky21", "kandinsky22", "kandinsky3", "sd15"])
def test_layers_that_pipelines_share_are_hooked_once(name: str, offloaded: Offloaded) -> None:
    pipeline = offloaded(name, Offload.SEQUENTIAL).model.pipelines["__call__"]
    hooks = [vars(layer).get("_hf_hook") for each in modules(pipeline) for layer in each.modules()]
    assert {type(hook) for hook in hooks} <= {AlignDevicesHook, type(None)}
    assert next(pipeline.unet.parameters()).device.type == "meta"


def test_pipelines_that_share_components_hook_them_once(offloaded: Offloaded) -> None:
    bench = offloaded("kandinsky3", Offload.MODEL)
    for method in ("image_to_image", "__call__"):
        pixels(bench, method)
        # A second hook on the same module would be a SequentialHook of both.
        assert type(bench.model.pipelines["__call__"].unet._hf_hook) is CpuOffload


def test_a_claimed_component_leaves_in_the_order_of_the_pipeline_that_claims(offloaded: Offloaded) -> None:
    pipelines = offloaded("kandinsky3", Offload.MODEL).model.pipelines

    def before_the_unet() -> object:
        return pipelines["__call__"].unet._hf_hook.prev_module_hook.model

    claim(pipelines["__call__"])
    assert before_the_unet() is pipelines["__call__"].text_encoder
    claim(pipelines["image_to_image"])
    assert before_the_unet() is pipelines["image_to_image"].movq


def test_without_offloading_nothing_is_hooked(offloaded: Offloaded) -> None:
    pipeline = offloaded("kandinsky3", Offload.NONE).model.pipelines["__call__"]
    claim(pipeline)
    assert not any(hasattr(each, "_hf_hook") for each in pipeline.components.values())
    with gradient_free(pipeline):
        assert torch.is_inference_mode_enabled()


@pytest.mark.parametrize("mode", MODES)
def test_weights_are_not_moved_in_inference_mode(mode: Offload, offloaded: Offloaded) -> None:
    pipeline = offloaded("kandinsky3", mode).model.pipelines["__call__"]
    with gradient_free(pipeline):
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("kandinsky3", "movq stays on cpu: diffusers does not move a VQModel in groups"),
        ("kandinsky22", "prior_prior stays on cpu: its pipeline reads weights of it directly"),
        ("sd15", "vae stays on cpu: a AutoencoderKL is called in halves"),
    ],
)
def test_a_component_that_is_not_grouped_says_why_once(
    name: str, words: str, offloaded: Offloaded, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "engines.offloading"):
        offloaded(name, Offload.GROUP)
    assert [record.getMessage() for record in caplog.records].count(words) == 1


@pytest.mark.parametrize("device", ["cpu", "mps"])
@pytest.mark.parametrize("mode", MODES)
def test_a_device_without_a_memory_of_its_own_is_refused(mode: Offload, device: str) -> None:
    with pytest.raises(NotLoadable, match=f"--offload {mode} makes room in the memory of a CUDA device"):
        check("fox", mode, device=device)


def test_quantised_weights_are_not_moved_layer_by_layer() -> None:
    with pytest.raises(NotLoadable, match=r"quantised weights \(text_encoder\): use --offload model"):
        check("fox", Offload.SEQUENTIAL, device="cuda", quantized=["text_encoder"])


def test_what_can_be_done_is_not_refused() -> None:
    check("fox", Offload.NONE, device="cpu", quantized=["unet"])
    check("fox", Offload.MODEL, device="cuda:1", quantized=["unet"])
    check("fox", Offload.SEQUENTIAL, device="cuda")


def test_a_pipeline_that_tells_no_order_is_refused(
    offloaded: Offloaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipelines = offloaded("kandinsky3", Offload.NONE).model.pipelines
    monkeypatch.setattr(type(pipelines["__call__"]), "model_cpu_offload_seq", None)
    with pytest.raises(NotLoadable, match="use --offload sequential"):
        apply(pipelines, {}, Offload.MODEL, device="cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ["kandinsky22", "kandinsky3"])
def test_on_a_gpu_less_memory_is_taken(mode: Offload, name: str, offloaded: Offloaded) -> None:
    def drawn(mode: Offload) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], int]:
        bench = offloaded(name, mode, "cuda")
        if mode is Offload.NONE:
            bench.model.pipelines["__call__"].to("cuda")
        resting = torch.cuda.memory_allocated()
        ((image, _),) = bench.draw(SIZED, seed=5).images
        return np.asarray(image), resting

    plain, all_weights = drawn(Offload.NONE)
    torch.cuda.empty_cache()
    image, weights = drawn(mode)
    assert np.abs(plain.astype(int) - image).max() <= 1
    assert weights < all_weights
