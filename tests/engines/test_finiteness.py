"""A picture whose numbers overflowed is told as broken; a black one that was wished for is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from pydantic import JsonValue

from engines.errors import BrokenPicture
from engines.finiteness import ONE_COLOUR, Finiteness
from tests.engines.bench import Benches

SMALL: dict[str, JsonValue] = {"prompt": "a red fox", "height": 64, "width": 64, "num_inference_steps": 2}


@contextmanager
def bias(layer: Any, value: float) -> Iterator[None]:
    """Let a layer give one value, whatever it gets."""
    own = {name: parameter.data for name, parameter in layer.named_parameters()}
    layer.weight.data = torch.zeros_like(layer.weight)
    layer.bias.data = torch.full_like(layer.bias, value)
    try:
        yield
    finally:
        for name, data in own.items():
            getattr(layer, name).data = data


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_latents_that_are_no_numbers_are_a_broken_picture(value: float, benches: Benches) -> None:
    bench = benches("kandinsky3")
    fresh = bench.draw(SMALL, seed=1).images[0][0]
    with bias(bench.model.pipelines["__call__"].unet.conv_out, value), pytest.raises(BrokenPicture) as broken:
        bench.draw(SMALL, seed=1)
    assert (broken.value.model, broken.value.where) == ("kandinsky3", "latents after step 2")
    assert bench.draw(SMALL, seed=1).images[0][0].tobytes() == fresh.tobytes()


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")
@pytest.mark.parametrize(("name", "autoencoder"), [("sd15", "vae"), ("kandinsky3", "movq")])
def test_pixels_that_are_no_numbers_are_a_broken_picture(
    name: str, autoencoder: str, benches: Benches
) -> None:
    bench = benches(name)
    decoder = getattr(bench.model.pipelines["__call__"], autoencoder).decoder
    with bias(decoder.conv_out, float("nan")), pytest.raises(BrokenPicture, match="pixels"):
        bench.draw(SMALL, seed=1)


def test_a_broken_prior_ends_the_drawing_before_the_decoder_begins(benches: Benches) -> None:
    bench = benches("kandinsky22")
    parameters = {**SMALL, "prior_num_inference_steps": 2}
    steps: list[int] = []
    prior = bench.model.pipelines["__call__"].prior_prior
    with bias(prior.proj_to_clip_embeddings, float("nan")), pytest.raises(BrokenPicture):
        bench.draw(parameters, seed=1, on_step=lambda made, _: steps.append(made))
    assert steps == [1]


def test_a_black_picture_with_sound_numbers_is_handed_out(benches: Benches) -> None:
    bench = benches("sd15")
    with bias(bench.model.pipelines["__call__"].vae.decoder.conv_out, -1.0):
        generated = bench.draw(SMALL, seed=1)
    assert generated.images[0][0].getextrema() == ((0, 0),) * 3
    assert generated.notes == ()


@pytest.mark.parametrize(
    ("picture", "notes"),
    [
        (Image.new("RGB", (8, 8)), (ONE_COLOUR,)),
        (Image.new("L", (8, 8), 200), (ONE_COLOUR,)),
        (Image.linear_gradient("L"), ()),
    ],
)
def test_where_only_the_colour_is_seen_a_remark_is_made(picture: Image.Image, notes: tuple[str, ...]) -> None:
    unseen = Finiteness("tiny", SimpleNamespace(components={}), dtype="float16")
    with unseen.watching():
        pass
    assert unseen.notes([picture]) == notes


@pytest.mark.parametrize(("dtype", "tells"), [("float16", True), ("bfloat16", False)])
def test_the_advice_names_another_dtype_where_the_dtype_overflows(dtype: str, tells: bool) -> None:
    words = str(BrokenPicture("tiny", "latents after step 2", dtype))
    assert ("--dtype bfloat16 or float32" in words) == tells
    assert "another scheduler" in words
