"""Requests drawn by real, tiny pipelines."""

from __future__ import annotations

import base64
import io
import threading
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops
from pydantic import JsonValue

from engines.calls import EngineOptions
from engines.card import Family
from engines.errors import GenerationFailed, GenerationStopped, InvalidParameter, InvalidRequest
from engines.generation import count_tokens, images_per_call
from engines.schema import DefaultSource, MethodSchema
from tests.engines.bench import Bench, Benches

pytestmark = [
    # Kandinsky 2.2's combined pipeline hands its own default on to a decoder that deprecates it.
    pytest.mark.filterwarnings("ignore:`callback_steps` is deprecated:FutureWarning"),
    # diffusers' Euler scheduler gives torch tensors to NumPy 2 in the way of NumPy 1.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

SMALL: dict[str, JsonValue] = {"prompt": "a red fox", "height": 128, "width": 64, "num_inference_steps": 2}
FAMILIES: dict[str, dict[str, JsonValue]] = {
    "kandinsky21": {**SMALL, "prior_num_inference_steps": 2, "negative_prompt": "rain"},
    "kandinsky22": {**SMALL, "prior_num_inference_steps": 2, "negative_prompt": "rain"},
    "kandinsky3": {**SMALL, "guidance_scale": 4.5},
    # It always draws a megapixel.
    "kandinsky5": {"prompt": "a red fox", "num_inference_steps": 1},
    "sd15": SMALL,
    "sdxl": {**SMALL, "negative_prompt": "rain"},
    "flux": SMALL,
}


@pytest.fixture(scope="module")
def kandinsky3(benches: Benches) -> Bench:
    return benches("kandinsky3")


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and ImageChops.difference(one, other).getbbox() is None


def base64_of(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize("name", FAMILIES)
def test_the_picture_is_the_stock_pipelines_pixel_for_pixel(name: str, benches: Benches) -> None:
    bench = benches(name)
    generated = bench.draw(FAMILIES[name], seed=11)
    ((image, seed),) = generated.images
    assert seed == 11
    assert same(image, bench.stock(11, **FAMILIES[name]))


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "kandinsky5"])
def test_image_i_is_the_one_that_its_seed_makes_alone(name: str, benches: Benches) -> None:
    bench = benches(name)
    first, second = bench.draw(FAMILIES[name], seed=11, count=2).images
    assert (first[1], second[1]) == (11, 12)
    assert not same(first[0], second[0])
    assert same(second[0], bench.stock(12, **FAMILIES[name]))


def test_prompts_are_drawn_one_after_another_with_running_seeds(kandinsky3: Bench) -> None:
    both = kandinsky3.draw({**SMALL, "prompt": ["a red fox", "snow"]}, seed=1, count=2)
    assert [seed for _, seed in both.images] == [1, 2, 3, 4]
    assert both.parameters["seeds"] == [1, 2, 3, 4]
    assert same(both.images[2][0], kandinsky3.stock(3, **{**SMALL, "prompt": "snow"}))


def test_without_a_seed_every_call_draws_another_and_tells_it(kandinsky3: Bench) -> None:
    first, second = kandinsky3.draw(SMALL), kandinsky3.draw(SMALL)
    assert first.images[0][1] != second.images[0][1]
    again = kandinsky3.draw(SMALL, seed=first.images[0][1])
    assert same(again.images[0][0], first.images[0][0])


@pytest.mark.parametrize("name", ["kandinsky21", "kandinsky22", "kandinsky3", "sd15", "flux"])
def test_a_batch_draws_the_same_pictures_in_fewer_calls(name: str, benches: Benches) -> None:
    parameters = {key: value for key, value in FAMILIES[name].items() if key != "negative_prompt"}
    alone = benches(name).draw(parameters, seed=5, count=3)
    together = benches(name).draw(parameters, seed=5, count=3, options=EngineOptions(batch_size=2))
    assert together.steps == alone.steps * 2 // 3
    assert [seed for _, seed in together.images] == [5, 6, 7]
    for (one, _), (other, _) in zip(alone.images, together.images, strict=True):
        # Not bit for bit: sums of floats depend on the batch.
        assert np.abs(np.asarray(one).astype(int) - np.asarray(other)).max() <= 2


@pytest.mark.parametrize("name", ["kandinsky21", "kandinsky22"])
@pytest.mark.parametrize("unsafe", [{"negative_prompt": "rain"}, {"guidance_scale": 1.0}])
def test_kandinsky_2_is_not_batched_where_it_would_fail(
    name: str, unsafe: dict[str, JsonValue], benches: Benches
) -> None:
    parameters = {**SMALL, "prior_num_inference_steps": 2, **unsafe}
    together = benches(name).draw(parameters, seed=5, count=2, options=EngineOptions(batch_size=2))
    assert together.steps == 2 * (2 + 2)


def test_a_pipeline_without_the_parameter_is_not_batched() -> None:
    method = MethodSchema(name="__call__", pipeline_class="AnyPipeline", parameters=())
    assert images_per_call(Family.DIFFUSERS, method, {}, batch_size=4) == 1


def test_steps_are_reported_over_all_images(kandinsky3: Bench) -> None:
    reports: list[tuple[int, int]] = []
    generated = kandinsky3.draw(SMALL, count=2, on_step=lambda made, total: reports.append((made, total)))
    assert reports == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert generated.steps == 4
    assert generated.inference_seconds > 0


def test_a_stop_ends_the_run_before_the_next_image(kandinsky3: Bench) -> None:
    stop = threading.Event()
    with pytest.raises(GenerationStopped) as stopped:
        kandinsky3.draw(SMALL, count=3, stop=stop, on_step=lambda made, _: stop.set() if made == 3 else None)
    assert stopped.value.model == "kandinsky3"
    assert stopped.value.step == 3


@pytest.mark.parametrize("name", [name for name in FAMILIES if name != "kandinsky5"])
def test_after_a_stop_the_next_picture_is_the_stock_one(name: str, benches: Benches) -> None:
    bench = benches(name)
    stop = threading.Event()
    with pytest.raises(GenerationStopped):
        bench.draw({**FAMILIES[name], "prompt": "else"}, stop=stop, on_step=lambda *_: stop.set())
    generated = bench.draw(FAMILIES[name], seed=2)
    assert same(generated.images[0][0], bench.stock(2, **FAMILIES[name]))


def test_the_values_told_are_those_in_effect(kandinsky3: Bench) -> None:
    told = kandinsky3.draw({**SMALL, "width": 100}, seed=3).parameters
    assert (told["width"], told["height"]) == (128, 128)  # rounded up by the pipeline
    assert told["guidance_scale"] == 3.0
    assert told["negative_prompt"] is None
    assert told["seeds"] == [3]
    assert "generator" not in told


def test_a_picture_is_told_by_its_size(kandinsky3: Bench) -> None:
    picture = base64_of(Image.new("RGB", (128, 64), "red"))
    parameters: dict[str, JsonValue] = {"prompt": "a fox", "image": picture, "num_inference_steps": 10}
    generated = kandinsky3.draw(parameters, method="image_to_image", seed=1)
    assert generated.parameters["image"] == {"width": 128, "height": 64}
    assert generated.images[0][0].size == (128, 64)
    assert generated.steps == 3  # a strength of 0.3


def test_a_strength_of_less_than_one_step_is_the_callers_fault(kandinsky3: Bench) -> None:
    picture = Image.new("RGB", (64, 64), "steelblue")
    weak: dict[str, Any] = {
        "prompt": "a fox",
        "num_inference_steps": 2,
        "strength": 0.3,
        "image": base64_of(picture),
    }
    with pytest.raises(InvalidParameter, match=r"at least 0\.5"):
        kandinsky3.draw(weak, method="image_to_image", seed=1)


def test_image_to_image_is_the_stock_pipelines_too(kandinsky3: Bench) -> None:
    picture = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    arguments: dict[str, Any] = {"prompt": "a fox", "num_inference_steps": 4, "strength": 0.5}
    drawn = kandinsky3.draw({**arguments, "image": base64_of(picture)}, method="image_to_image", seed=1)
    stock = kandinsky3.model.pipelines["image_to_image"](
        **arguments, image=picture, generator=torch.Generator("cpu").manual_seed(1)
    )
    assert same(drawn.images[0][0], stock.images[0])


def test_the_models_own_defaults_reach_the_pipeline(kandinsky3: Bench) -> None:
    preset = {"default": 1, "default_source": DefaultSource.CARD}
    call = kandinsky3.schema.call
    specs = [
        spec.model_copy(update=preset) if spec.name == "num_inference_steps" else spec
        for spec in call.parameters
    ]
    methods = (call.model_copy(update={"parameters": tuple(specs)}),)
    bench = Bench(kandinsky3.model, kandinsky3.schema.model_copy(update={"methods": methods}))
    generated = bench.draw({"prompt": "a fox", "height": 64, "width": 64})
    assert generated.steps == generated.parameters["num_inference_steps"] == 1


def test_finished_pictures_are_resampled_on_request(kandinsky3: Bench) -> None:
    generated = kandinsky3.draw(SMALL, seed=4, resize_to=(50, 90))
    plain = kandinsky3.stock(4, **SMALL).resize((50, 90), Image.Resampling.LANCZOS)
    assert same(generated.images[0][0], plain)
    assert (generated.parameters["width"], generated.parameters["height"]) == (64, 128)


def test_what_the_pipeline_refuses_is_the_callers_fault(benches: Benches) -> None:
    with pytest.raises(InvalidRequest, match="divisible by 8") as caught:
        benches("sd15").draw({**SMALL, "height": 100})
    assert caught.value.parameter is None


def test_what_fails_in_the_pipeline_is_told_in_words(kandinsky3: Bench) -> None:
    with pytest.raises(GenerationFailed) as caught:
        kandinsky3.draw({**SMALL, "num_inference_steps": 0})
    assert caught.value.reason.startswith("ZeroDivisionError: ")


def test_a_method_that_the_model_has_not_is_refused(benches: Benches) -> None:
    with pytest.raises(InvalidParameter, match="this model has no 'nothing'"):
        benches("flux").draw(SMALL, method="nothing")


@pytest.mark.parametrize("name", FAMILIES)
def test_prompt_tokens_are_those_of_the_callers_text(name: str, benches: Benches) -> None:
    pipeline = benches(name).model.pipelines["__call__"]
    one, two = count_tokens(pipeline, "fox"), count_tokens(pipeline, "fox fox")
    assert count_tokens(pipeline, "") == 0
    assert one is not None
    assert two is not None
    assert 3 <= one < two
    assert (count_tokens(pipeline, "fox " * 600) or 0) > 1000  # not cut off at the model's limit


def test_tokens_are_summed_over_the_prompts(benches: Benches) -> None:
    pipeline = benches("flux").model.pipelines["__call__"]
    both = benches("flux").draw({**SMALL, "prompt": ["a red fox", "snow"]}, count=2)
    assert both.prompt_tokens == sum(count_tokens(pipeline, text) or 0 for text in ("a red fox", "snow"))
