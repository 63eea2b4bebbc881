"""The sampler of Kandinsky 3.1 flash, alone and under real, tiny pipelines."""

from __future__ import annotations

import base64
import io
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import Kandinsky3Img2ImgPipeline, Kandinsky3Pipeline
from PIL import Image, ImageChops
from pydantic import JsonValue

from engines import own_classes
from engines.card import CheckpointFormat, Family, ModelCard, Part, Preset
from engines.devices import Placement
from engines.discovery import complete, discover
from engines.errors import GenerationStopped
from engines.flash import FlashScheduler
from engines.loading import LoadedModel
from engines.tasks import task_classes
from tests.engines.bench import Bench
from tests.tiny import kandinsky3, parts

SIZE: dict[str, JsonValue] = {"height": 64, "width": 128}


@pytest.fixture(scope="module")
def pipeline() -> Any:
    components = kandinsky3.text_to_image().components | {"scheduler": FlashScheduler()}
    made = parts.made(Kandinsky3Pipeline, **components)
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def bench(pipeline: Any) -> Bench:
    card = ModelCard(
        name="flash",
        path="/nowhere",
        family=Family.KANDINSKY_3,
        format=CheckpointFormat.DIFFUSERS_FOLDER,
        part=Part.WHOLE,
        pipeline_class="Kandinsky3Pipeline",
        loadable=True,
        preset=Preset(defaults={"num_inference_steps": 4, "guidance_scale": 1.0}),
    )
    pipelines = {method: kind(**pipeline.components) for method, kind in task_classes(card).items()}
    for each in pipelines.values():
        each.set_progress_bar_config(disable=True)
    model = LoadedModel(card, pipelines, Placement("cpu", "", "float32", ""), 0.0)
    return Bench(model, complete(discover(card), model.pipelines))


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


def sent(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def cosine_levels() -> torch.Tensor:
    """The share of the picture in the variance at each of the 1000 timesteps, by its definition."""
    place = torch.arange(1001, dtype=torch.float64) / 1000
    curve = ((place + 0.008) / 1.008 * torch.pi / 2).cos() ** 2
    return torch.cumprod(1 - (1 - curve[1:] / curve[:-1]).clip(max=0.999), 0)


def published(pipeline: Any, source: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """The release's loop: the first sample that its model sees, and what it draws."""
    context, _, mask, _ = pipeline.encode_prompt("a red fox", False, _cut_context=True)
    levels = cosine_levels().float()
    samples: list[torch.Tensor] = []
    clean = torch.randn((1, 4, 8, 16), generator=source)
    for time in range(979, 0, -250):
        fresh = torch.randn((1, 4, 8, 16), generator=source)
        samples.append(levels[time].sqrt() * clean + (1 - levels[time]).sqrt() * fresh)
        noise = pipeline.unet(samples[-1], torch.tensor(time), context, mask.bool()).sample
        clean = (samples[-1] - (1 - levels[time]).sqrt() * noise) / levels[time].sqrt()
    return samples[0], clean


@torch.no_grad()
def test_four_steps_are_the_published_ones(pipeline: Any) -> None:
    first, expected = published(pipeline, seeded())
    source = seeded()
    torch.randn((2, 4, 8, 16), generator=source)  # what the release has drawn until then
    call = {"latents": first, "generator": source, "output_type": "latent", "return_dict": False}
    drawn = pipeline("a red fox", 4, 1.0, **SIZE, **call)[0]
    assert ((drawn - expected).abs().max() / expected.abs().max()).item() < 1e-5


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (1, [979]),
        (2, [979, 479]),
        (4, [979, 729, 479, 229]),
        (5, [979, 779, 579, 379, 179]),
        (8, [979, 854, 729, 604, 479, 354, 229, 104]),
    ],
)
def test_steps_lie_evenly_from_the_first_timestep_on(steps: int, expected: list[int]) -> None:
    scheduler = FlashScheduler()
    scheduler.set_timesteps(steps)
    assert scheduler.timesteps.tolist() == expected


def test_every_number_of_steps_has_timesteps_that_fall() -> None:
    scheduler = FlashScheduler()
    for steps in range(1, 1001):
        scheduler.set_timesteps(steps)
        timesteps = scheduler.timesteps
        assert len(timesteps) == steps
        assert (timesteps.diff() < 0).all()
        assert 0 <= timesteps[-1] <= timesteps[0] <= 999


@pytest.mark.parametrize("steps", [0, 1001])
def test_numbers_of_steps_that_it_was_not_trained_for_are_refused(steps: int) -> None:
    with pytest.raises(ValueError, match="steps"):
        FlashScheduler().set_timesteps(steps)


def test_step_tells_its_estimate_and_ends_with_it() -> None:
    scheduler = FlashScheduler()
    scheduler.set_timesteps(4)
    sample, noise = torch.randn(2, 1, 4, 8, 8, generator=seeded()).to(torch.bfloat16)
    earlier: Any = scheduler.step(noise, 479, sample, generator=seeded())
    last: Any = scheduler.step(noise, scheduler.timesteps[-1], sample)
    assert not torch.equal(earlier.prev_sample, earlier.pred_original_sample)
    assert torch.equal(last.prev_sample, last.pred_original_sample)
    assert last.prev_sample.dtype is torch.bfloat16


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    FlashScheduler(first_timestep=900).save_pretrained(tmp_path)
    loaded = FlashScheduler.from_pretrained(tmp_path, local_files_only=True)
    assert isinstance(loaded, FlashScheduler)
    assert loaded.config["_class_name"] == "FlashScheduler"
    for again in (loaded, FlashScheduler.from_config(loaded.config)):
        again.set_timesteps(4)
        assert again.timesteps.tolist() == [900, 650, 400, 150]
        assert torch.equal(again.alphas_cumprod, FlashScheduler().alphas_cumprod)


@torch.no_grad()
@pytest.mark.parametrize(("strength", "steps"), [(0.3, 1), (0.75, 3), (1.0, 4)])
def test_image_to_image_makes_the_last_steps(pipeline: Any, strength: float, steps: int) -> None:
    drawing = parts.made(Kandinsky3Img2ImgPipeline, **pipeline.components)
    drawing.set_progress_bar_config(disable=True)
    seen: list[int] = []

    def noted(_: Any, __: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
        seen.append(int(timestep))
        return values

    image = Image.new("RGB", (128, 64), "red")
    drawing("a fox", image, strength, 4, 1.0, generator=seeded(), callback_on_step_end=noted)
    assert seen == [979, 729, 479, 229][4 - steps :]


def test_model_with_its_preset_draws_in_four_steps_without_guidance(bench: Bench) -> None:
    steps: list[tuple[int, int]] = []
    shown: list[Image.Image] = []
    drawn = bench.draw(
        {"prompt": "a red fox", **SIZE},
        seed=5,
        previews=3,
        on_step=lambda step, of: steps.append((step, of)),
        on_preview=lambda _, image: shown.append(image),
    )
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(shown) == 3
    alone = bench.stock(5, prompt="a red fox", num_inference_steps=4, guidance_scale=1.0, **SIZE)
    assert ImageChops.difference(drawn.images[0][0], alone).getbbox() is None


def test_model_inpaints_by_blending(bench: Bench) -> None:
    picture, mask = Image.new("RGB", (128, 64), "red"), Image.new("L", (128, 64), 0)
    mask.paste(255, (64, 0, 128, 64))
    drawn = bench.draw(
        {"prompt": "a red fox", "image": sent(picture), "mask_image": sent(mask)}, method="inpaint"
    ).images[0][0]
    left, right = (0, 0, 64, 64), (64, 0, 128, 64)
    assert ImageChops.difference(drawn.crop(left), picture.crop(left)).getbbox() is None
    assert ImageChops.difference(drawn.crop(right), picture.crop(right)).getbbox() is not None


def test_run_ends_at_the_step_that_it_is_stopped_at(bench: Bench) -> None:
    stop = threading.Event()
    steps: list[int] = []

    def stopping(step: int, _: int) -> None:
        steps.append(step)
        stop.set()

    with pytest.raises(GenerationStopped):
        bench.draw({"prompt": "a red fox", **SIZE}, stop=stop, on_step=stopping)
    assert steps == [1]


@pytest.mark.parametrize("name", ["FlashScheduler", "Kandinsky3InpaintPipeline"])
def test_own_classes_are_found_by_name(name: str) -> None:
    found = own_classes.find(name)
    assert found is not None
    assert found.__name__ == name


@pytest.mark.parametrize("name", ["", "os", "Kandinsky3Pipeline"])
def test_other_names_are_none_of_ours(name: str) -> None:
    assert own_classes.find(name) is None
