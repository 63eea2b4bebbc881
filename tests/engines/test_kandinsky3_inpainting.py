"""Inpainting by a real, tiny Kandinsky 3 whose UNet takes nine channels."""

from __future__ import annotations

import base64
import copy
import io
import itertools
import threading
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops
from pydantic import JsonValue

from engines.calls import EngineOptions
from engines.card import CheckpointFormat, Family, ModelCard, Part
from engines.conversion import kandinsky3
from engines.devices import Placement
from engines.discovery import complete, discover
from engines.errors import GenerationStopped
from engines.kandinsky3_inpainting import Kandinsky3InpaintPipeline, drawn_size
from engines.kandinsky3_scheduler import Kandinsky3Scheduler
from engines.loading import LoadedModel
from engines.schema import Capability, SizeRounding
from tests.engines.bench import Bench
from tests.tiny import kandinsky3 as tiny
from tests.tiny import parts

SIZE = (128, 64)
CALL: dict[str, Any] = {"prompt": "a red fox", "num_inference_steps": 2, "output_type": "latent"}


def made_to_inpaint() -> Any:
    scheduler = parts.made(Kandinsky3Scheduler, **kandinsky3.scheduler("inpainting"))
    components = parts.t5_text() | {"unet": tiny.unet(9), "scheduler": scheduler, "movq": parts.movq()}
    pipeline = parts.made(Kandinsky3InpaintPipeline, **components)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return made_to_inpaint()


@pytest.fixture(scope="module")
def bench(pipeline: Any) -> Bench:
    card = ModelCard(
        name="inpainting",
        path="/nowhere",
        family=Family.KANDINSKY_3,
        format=CheckpointFormat.DIFFUSERS_FOLDER,
        part=Part.WHOLE,
        pipeline_class="Kandinsky3InpaintPipeline",
        loadable=True,
    )
    model = LoadedModel(card, {"__call__": pipeline}, Placement("cpu", "", "float32", ""), 0.0)
    return Bench(model, complete(discover(card), model.pipelines))


def picture(size: tuple[int, int] = SIZE) -> Image.Image:
    image = Image.new("RGB", size, "white")
    image.paste("red", (0, 0, size[0], size[1] // 3))
    return image


def right_half(size: tuple[int, int] = SIZE, *, grey: int = 255) -> Image.Image:
    mask = Image.new("L", size, 0)
    mask.paste(grey, (size[0] // 2, 0, *size))
    return mask


def sent(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


REQUEST: dict[str, JsonValue] = {
    "prompt": "a red fox",
    "image": sent(picture()),
    "mask_image": sent(right_half()),
    "num_inference_steps": 4,
}


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


def latents(pipeline: Any, **own: Any) -> torch.Tensor:
    given = {"image": picture(), "mask_image": right_half(), "generator": seeded(), **CALL}
    drawn: torch.Tensor = pipeline(**(given | own)).images
    return drawn


def shown_to_the_unet(pipeline: Any, **own: Any) -> list[torch.Tensor]:
    seen: list[torch.Tensor] = []
    hook = pipeline.unet.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    try:
        latents(pipeline, **own)
    finally:
        hook.remove()
    return seen


def test_nine_channels_are_latents_then_mask_then_latents_of_what_is_kept(pipeline: Any) -> None:
    first, second = shown_to_the_unet(pipeline)
    pixels = np.asarray(picture(), dtype=np.float32) / 127.5 - 1
    pixels[:, SIZE[0] // 2 :] = 0
    with torch.no_grad():
        kept = pipeline.movq.encode(torch.from_numpy(pixels).permute(2, 0, 1)[None]).latents
    assert first.shape == (2, 9, 8, 16)
    assert torch.equal(first[0], first[1])
    assert torch.equal(first[0, :4], torch.randn((1, 4, 8, 16), generator=seeded())[0])
    assert torch.equal(first[0, 4], torch.tensor([1.0] * 8 + [0.0] * 8).repeat(8, 1))
    torch.testing.assert_close(first[0, 5:], kept[0])
    assert torch.equal(second[:, 4:], first[:, 4:])


def test_partly_marked_pixels_are_hidden_and_told_as_far_as_they_are_marked(pipeline: Any) -> None:
    full = shown_to_the_unet(pipeline)[0]
    partly = shown_to_the_unet(pipeline, mask_image=right_half(grey=51))[0]
    assert torch.equal(partly[:, 5:], full[:, 5:])
    torch.testing.assert_close(partly[0, 4, 0], torch.tensor([1.0] * 8 + [0.8] * 8))


def test_mask_of_another_size_is_resampled(pipeline: Any) -> None:
    other = shown_to_the_unet(pipeline, mask_image=right_half((32, 16)))[0]
    full = shown_to_the_unet(pipeline)[0]
    assert torch.equal(other[:, 4, :, :6], full[:, 4, :, :6])
    assert torch.equal(other[:, 4, :, 9:], full[:, 4, :, 9:])


def test_output_channels_beyond_the_noise_are_left_out(pipeline: Any) -> None:
    original = latents(pipeline)
    other = copy.deepcopy(pipeline.unet)
    other.conv_out.weight.data[4:] = 0
    changed = parts.made(Kandinsky3InpaintPipeline, **pipeline.components | {"unet": other})
    assert torch.equal(latents(changed), original)


def published(pipeline: Any, steps: int, weight: float) -> torch.Tensor:
    """The release's sampler: ancestral steps of DDIM's form, estimates scaled by their 95th percentile."""
    source = seeded()
    texts, negative, mask, negative_mask = pipeline.encode_prompt("a red fox", True, _cut_context=True)
    condition = shown_to_the_unet(pipeline)[0][:, 4:]
    levels = torch.cumprod(1 - pipeline.scheduler.betas.double(), 0)
    times = [*range(999, 0, -1000 // steps), 0]
    sample = torch.randn((1, 4, 8, 16), generator=source)
    for time, following in itertools.pairwise(times):
        both = torch.cat([sample.float().repeat(2, 1, 1, 1), condition], dim=1)
        with torch.no_grad():
            found = pipeline.unet(
                both,
                torch.tensor(time),
                encoder_hidden_states=torch.cat([negative, texts]),
                encoder_attention_mask=torch.cat([negative_mask, mask]).bool(),
            ).sample[:, :4]
        noise = (weight + 1) * found[1:].double() - weight * found[:1].double()
        now, then = levels[time], levels[following]
        clean = (sample - (1 - now).sqrt() * noise) / now.sqrt()
        largest = clean.abs().flatten().quantile(0.95).clip(min=1)
        clean = clean.clip(-largest, largest) / largest
        noise = (sample - now.sqrt() * clean) / (1 - now).sqrt()
        spread = ((1 - now / then) * (1 - then) / (1 - now)).sqrt()
        fresh = torch.randn((1, 4, 8, 16), generator=source)
        sample = then.sqrt() * clean + (1 - then - spread**2).clip(min=0).sqrt() * noise
        sample = sample + (spread * fresh if following else 0)
    return sample


def test_sampling_is_that_of_the_release(pipeline: Any) -> None:
    drawn = latents(pipeline, num_inference_steps=5, guidance_scale=4.0)
    # The last step of diffusers ends at no noise at all, the release's at its first level.
    torch.testing.assert_close(drawn.double(), published(pipeline, 5, 4.0), atol=2e-3, rtol=0)


def test_pictures_repeat_with_the_seed_and_follow_mask_and_prompts(pipeline: Any) -> None:
    first = latents(pipeline)
    assert torch.equal(latents(pipeline), first)
    for own in (
        {"generator": seeded(4)},
        {"mask_image": Image.new("L", SIZE, 255)},
        {"prompt": "a blue house"},
        {"negative_prompt": "a blue house"},
        {"guidance_scale": 1.0},
    ):
        assert not torch.equal(latents(pipeline, **own), first), own


def test_callback_gets_every_step_and_may_change_the_latents(pipeline: Any) -> None:
    seen: list[int] = []

    def cleared(_: Any, number: int, __: Any, values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        seen.append(number)
        return {"latents": torch.zeros_like(values["latents"])}

    assert not latents(pipeline, callback_on_step_end=cleared).any()
    assert seen == [0, 1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_models_of_16_bits_are_sampled_in_32(pipeline: Any, dtype: torch.dtype) -> None:
    small = parts.made(Kandinsky3InpaintPipeline, **copy.deepcopy(pipeline.components)).to(dtype)
    drawn = latents(small)
    assert drawn.dtype is torch.float32
    assert drawn.isfinite().all()
    assert small(**CALL | {"image": picture(), "mask_image": right_half(), "output_type": "pil"}).images


@pytest.mark.parametrize(
    ("size", "drawn"),
    [
        ((128, 64), (128, 64)),
        ((1000, 700), (960, 640)),
        ((2048, 1024), (1408, 704)),
        ((30, 100), (64, 64)),
        ((90_000, 10), (4096, 64)),
    ],
)
def test_size_is_the_pictures_as_far_as_the_model_draws_it(
    size: tuple[int, int], drawn: tuple[int, int]
) -> None:
    assert drawn_size(*size) == drawn


def test_size_can_be_asked_for(bench: Bench) -> None:
    own: dict[str, JsonValue] = {"image": sent(picture((100, 70))), "num_inference_steps": 1}
    assert bench.draw(REQUEST | own).images[0][0].size == (64, 64)
    assert bench.draw(REQUEST | own | {"height": 128, "width": 64}).images[0][0].size == (64, 128)


def test_schema_asks_for_picture_and_mask(bench: Bench) -> None:
    schema = bench.schema
    assert schema.capabilities == (Capability.INPAINTING,)
    assert [method.name for method in schema.methods] == ["__call__"]
    assert [spec.name for spec in schema.call.visible if spec.required] == ["prompt", "image", "mask_image"]
    assert all(spec.description for spec in schema.call.parameters if spec.name != "seed")
    assert (schema.default("num_inference_steps"), schema.default("guidance_scale")) == (50, 4.0)
    assert schema.size is not None
    assert (schema.size.multiple, schema.size.rounding) == (64, SizeRounding.UP)


def test_only_what_the_mask_marks_is_repainted(bench: Bench) -> None:
    drawn = bench.draw(REQUEST, keep_unmasked=True).images[0][0]
    left, right = (0, 0, 64, 64), (64, 0, 128, 64)
    assert ImageChops.difference(drawn.crop(left), picture().crop(left)).getbbox() is None
    assert ImageChops.difference(drawn.crop(right), picture().crop(right)).getbbox() is not None


def test_engine_draws_what_the_pipeline_does_alone(bench: Bench) -> None:
    alone = bench.stock(
        5, prompt="a red fox", image=picture(), mask_image=right_half(), num_inference_steps=4
    )
    assert ImageChops.difference(bench.draw(REQUEST, seed=5).images[0][0], alone).getbbox() is None


def test_images_drawn_together_are_those_drawn_one_by_one(bench: Bench) -> None:
    alone = bench.draw(REQUEST, seed=5, count=2).images
    together = bench.draw(REQUEST, seed=5, count=2, options=EngineOptions(batch_size=2)).images
    for (one, seed), (other, same) in zip(alone, together, strict=True):
        assert seed == same
        assert np.asarray(ImageChops.difference(one, other)).max() <= 1


def test_steps_and_previews_are_shown_and_change_nothing(bench: Bench) -> None:
    steps: list[tuple[int, int]] = []
    shown: list[Image.Image] = []
    watched = bench.draw(
        REQUEST,
        seed=5,
        previews=2,
        on_step=lambda step, of: steps.append((step, of)),
        on_preview=lambda _, image: shown.append(image),
    )
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [image.size for image in shown] == [SIZE, SIZE]
    plain = bench.draw(REQUEST, seed=5).images[0][0]
    assert ImageChops.difference(watched.images[0][0], plain).getbbox() is None


def test_run_ends_at_the_step_that_it_is_stopped_at(bench: Bench) -> None:
    stop = threading.Event()
    steps: list[int] = []

    def stopping(step: int, _: int) -> None:
        steps.append(step)
        if step == 2:
            stop.set()

    with pytest.raises(GenerationStopped):
        bench.draw(REQUEST, stop=stop, on_step=stopping)
    assert steps == [1, 2]
