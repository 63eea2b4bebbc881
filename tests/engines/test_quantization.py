"""Components stored in fewer bits: what is refused, and what it costs the picture."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from transformers import T5EncoderModel

from engines.calls import EngineOptions
from engines.card import Component, ModelCard
from engines.detection import demo_card
from engines.discovery import complete, discover
from engines.errors import GenerationStopped, NotLoadable
from engines.loading import LoadedModel, load
from engines.offloading import Offload, apply, gradient_free
from engines.quantization import (
    STORAGES,
    Quantization,
    check,
    installed,
    load_arguments,
    quantizable,
    rounded,
)
from tests.engines.bench import Bench

library: Any = diffusers  # its functions have no types

needs_torchao = pytest.mark.skipif(not installed("torchao"), reason="needs torchao, of the extra quantize")
needs_bitsandbytes = pytest.mark.skipif(
    not (torch.cuda.is_available() and installed("bitsandbytes")), reason="needs a CUDA device, bitsandbytes"
)
SUNSET: Any = {"prompt": "mountains at sunset", "num_inference_steps": 8}


def everything(package: str) -> bool:
    return bool(package)


def nothing(package: str) -> bool:
    return not package


@pytest.fixture(scope="module")
def card() -> ModelCard:
    return demo_card()


@pytest.fixture(scope="module")
def exact(card: ModelCard) -> Bench:
    model = loaded(card)
    return Bench(model, complete(discover(card), model.pipelines))


@pytest.mark.parametrize(
    ("wanted", "device", "words"),
    [
        ({"unet2": "int8"}, "cuda", "no such component; those that can be are text_encoder, unet"),
        (
            {"movq": "int8"},
            "cuda",
            "a VQModel is not to be rounded; those that can be are text_encoder, unet",
        ),
        ({"tokenizer": "int8"}, "cuda", "is not to be rounded"),
        ({"scheduler": "int8"}, "cuda", "Scheduler is not to be rounded"),
        ({"unet": "int4"}, "cuda", "no such kind; the kinds are int8, float8, nf4"),
        ({"unet": "nf4"}, "cpu", "nf4 works on cuda, and this model computes on cpu"),
        ({"unet": "int8"}, "mps", "int8 works on cuda and cpu, and this model computes on mps"),
    ],
)
def test_what_cannot_be_had_is_refused(
    wanted: dict[str, str], device: str, words: str, card: ModelCard
) -> None:
    with pytest.raises(NotLoadable) as refused:
        check(card, wanted, device=device, is_installed=everything)
    ((name, kind),) = wanted.items()
    assert refused.value.reason.startswith(f"--quantize {name}={kind}: ")
    assert words in refused.value.reason


@pytest.mark.parametrize("kind", Quantization)
def test_a_missing_package_is_named_with_the_command(kind: Quantization, card: ModelCard) -> None:
    with pytest.raises(NotLoadable) as refused:
        check(card, {"text_encoder": kind}, device="cuda", is_installed=nothing)
    assert f"the package {STORAGES[kind].package} is not installed" in refused.value.reason
    assert "pip install 'kandinsky-gateway[quantize]'" in refused.value.reason


@pytest.mark.parametrize("kind", Quantization)
def test_what_can_be_had_is_not_refused(kind: Quantization, card: ModelCard) -> None:
    check(card, {"text_encoder": kind, "unet": kind}, device="cuda:0", is_installed=everything)


@pytest.mark.parametrize(
    ("class_name", "can_be"),
    [
        ("T5EncoderModel", True),
        ("Kandinsky5Transformer3DModel", True),
        ("AutoencoderKL", False),
        ("AsymmetricAutoencoderKL", False),
        ("VQModel", False),
    ],
)
def test_an_autoencoder_stays_exact(class_name: str, can_be: bool) -> None:
    component = Component(name="it", library="any", class_name=class_name, size=8, dtype="float16")
    assert quantizable(component) is can_be


def test_four_bits_need_a_component_that_was_loaded_for_them() -> None:
    with pytest.raises(NotLoadable, match="only a diffusers folder can be loaded so; int8 works"):
        rounded("unet", torch.nn.Linear(2, 2), "nf4", device="cuda")


def test_each_library_is_given_its_own_configuration() -> None:
    pytest.importorskip("bitsandbytes", reason="needs bitsandbytes, of the extra quantize")
    for own in (T5EncoderModel, library.Kandinsky3UNet):
        arguments = load_arguments("nf4", own, device="cuda", dtype=torch.bfloat16)
        config = arguments["quantization_config"]
        assert type(config).__module__.startswith(own.__module__.partition(".")[0])


def loaded(card: ModelCard) -> LoadedModel:
    return load(card, EngineOptions(device="cpu", dtype="float32", threads=1), lambda _: None)


def quantized(card: ModelCard, *, device: str = "cpu", **kinds: str) -> LoadedModel:
    """The demo model, loaded anew, with some of its components in fewer bits."""
    model = loaded(card)
    pipeline = model.pipelines["__call__"]
    for name, kind in kinds.items():
        own = type(pipeline.components[name])
        arguments = load_arguments(kind, own, device=device, dtype=torch.float32)
        component = own.from_pretrained(f"{card.path}/{name}", dtype=torch.float32, **arguments)
        pipeline.register_modules(**{name: rounded(name, component.eval(), kind, device=device)})
    return LoadedModel(card, {"__call__": pipeline}, model.placement, 0.0)


def stored_bytes(module: torch.nn.Module) -> int:
    return sum(part.nbytes for parameter in module.parameters() for part in _parts(parameter))


def _parts(tensor: Any) -> Iterator[Any]:
    """A tensor, or those that one of torchao's is made of."""
    if type(tensor) in (torch.Tensor, torch.nn.Parameter):
        yield tensor
    else:
        yield from (getattr(tensor, name) for name in tensor.__tensor_flatten__()[0])


def difference(one: Bench, other: Bench) -> float:
    """The mean difference of two models' pictures from one seed, of 255."""
    ((a, _),) = one.draw(SUNSET, seed=3).images
    ((b, _),) = other.draw(SUNSET, seed=3).images
    return float(np.abs(np.asarray(a).astype(int) - np.asarray(b)).mean())


@needs_torchao
@pytest.mark.parametrize(
    ("kind", "name", "at_most"),
    [("int8", "text_encoder", 0.2), ("int8", "unet", 0.5), ("float8", "text_encoder", 1.0)],
)
def test_a_rounded_component_is_smaller_and_draws_nearly_the_same(
    kind: str, name: str, at_most: float, exact: Bench
) -> None:
    model = quantized(exact.model.card, **{name: kind})
    before, after = (each.pipelines["__call__"].components[name] for each in (exact.model, model))
    assert stored_bytes(after) < 0.8 * stored_bytes(before)
    assert difference(Bench(model, exact.schema), exact) < at_most


@needs_torchao
@pytest.mark.parametrize("mode", [Offload.MODEL, Offload.GROUP])
def test_rounded_weights_can_wait_in_the_hosts_memory(mode: Offload, exact: Bench) -> None:
    resting = Bench(quantized(exact.model.card, text_encoder="int8"), exact.schema)
    moved = Bench(quantized(exact.model.card, text_encoder="int8"), exact.schema)
    apply(moved.model.pipelines, moved.model.pipelines["__call__"].components, mode, device="cpu")
    stop = threading.Event()
    with pytest.raises(GenerationStopped):
        moved.draw(SUNSET, stop=stop, on_step=lambda *_: stop.set())
    assert difference(moved, resting) == 0


@needs_torchao
def test_rounded_weights_change_devices_in_the_mode_that_pipelines_are_called_in(exact: Bench) -> None:
    pipeline = quantized(exact.model.card, text_encoder="int8").pipelines["__call__"]
    # What `gradient_free` is for: when this raises no more, inference mode will do.
    with torch.inference_mode(), pytest.raises(RuntimeError, match="set the storage"):
        pipeline.text_encoder.to("meta")
    pipeline = quantized(exact.model.card, text_encoder="int8").pipelines["__call__"]
    apply({"__call__": pipeline}, {}, Offload.MODEL, device="cpu")
    with gradient_free(pipeline):
        pipeline.text_encoder.to("meta")
    assert {each.device.type for each in pipeline.text_encoder.parameters()} == {"meta"}


@needs_bitsandbytes
def test_four_bits_draw_a_similar_picture_on_a_gpu(exact: Bench) -> None:
    model = quantized(exact.model.card, device="cuda", text_encoder="nf4")
    model.pipelines["__call__"].to("cuda")
    assert difference(Bench(model, exact.schema), exact) < 20
