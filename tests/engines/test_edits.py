"""Pictures edited by real, tiny pipelines of every family: within a mask, by strength, as variations."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageChops
from pydantic import JsonValue

from engines.errors import MissingParameter
from engines.schema import Capability
from engines.validation import check
from tests.engines.bench import Benches

pytestmark = [
    # Kandinsky 2.2's combined pipeline hands its own default on to a decoder that deprecates it.
    pytest.mark.filterwarnings("ignore:`callback_steps` is deprecated:FutureWarning"),
    # diffusers' Euler scheduler gives torch tensors to NumPy 2 in the way of NumPy 1.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

SIZE = (128, 64)
KANDINSKY_2 = ("kandinsky21", "kandinsky22")
PRIOR: dict[str, JsonValue] = {"prior_num_inference_steps": 2}


def sent(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def striped(size: tuple[int, int] = SIZE, colour: str = "red") -> Image.Image:
    image = Image.new("RGB", size, "white")
    image.paste(colour, (0, 0, size[0], size[1] // 3))
    return image


def right_half(size: tuple[int, int] = SIZE) -> Image.Image:
    mask = Image.new("L", size, 0)
    mask.paste(255, (size[0] // 2, 0, *size))
    return mask


def difference(one: Image.Image, other: Image.Image, half: str) -> int:
    width, height = one.size
    box = (0, 0, width // 2, height) if half == "left" else (width // 2, 0, width, height)
    return int(np.abs(np.asarray(ImageChops.difference(one.crop(box), other.crop(box)))).max())


@pytest.mark.parametrize("family", ["kandinsky21", "kandinsky22", "kandinsky3", "sd15", "sdxl", "flux"])
def test_only_what_the_mask_marks_is_repainted(benches: Benches, family: str) -> None:
    bench = benches(family)
    own: dict[str, JsonValue] = PRIOR if family in KANDINSKY_2 else {}
    parameters = {"prompt": "a red fox", "image": sent(striped()), "mask_image": sent(right_half())}
    made = bench.draw(
        {**parameters, "num_inference_steps": 2, **own},
        method="inpaint",
        keep_unmasked=True,
        fit_inputs=SIZE,
        resize_to=SIZE,
    )
    ((picture, _),) = made.images
    assert picture.size == SIZE
    assert difference(picture, striped(), "left") == 0
    assert difference(picture, striped(), "right") > 0


def test_inpainting_decoder_with_its_prior_repaints(
    benches: Benches, tiny_models: Callable[[str], Path]
) -> None:
    tiny_models("kandinsky22-prior")
    bench = benches("kandinsky22-inpainting-decoder")
    assert bench.schema.capabilities == (Capability.INPAINTING,)
    made = bench.draw(
        {
            "prompt": "a red fox",
            "image": sent(striped()),
            "mask_image": sent(right_half()),
            "height": 64,
            "width": 128,
            "num_inference_steps": 2,
            **PRIOR,
        },
        keep_unmasked=True,
    )
    assert difference(made.images[0][0], striped(), "left") == 0
    assert difference(made.images[0][0], striped(), "right") > 0


def test_kandinsky_5_repaints_at_the_size_it_makes(benches: Benches) -> None:
    picture = striped((1024, 1024))
    parameters = {"prompt": "a fox", "image": sent(picture), "mask_image": sent(right_half((1024, 1024)))}
    made = benches("kandinsky5").draw({**parameters, "num_inference_steps": 1}, method="inpaint")
    assert difference(made.images[0][0], picture, "left") == 0
    assert difference(made.images[0][0], picture, "right") > 0


@pytest.mark.parametrize("family", ["kandinsky22", "kandinsky3", "sdxl"])
def test_strength_decides_how_many_steps_are_drawn_anew(benches: Benches, family: str) -> None:
    own: dict[str, JsonValue] = PRIOR if family in KANDINSKY_2 else {}
    made = benches(family).draw(
        {"prompt": "a fox", "image": sent(striped()), "num_inference_steps": 10, "strength": 0.5, **own},
        method="image_to_image",
        fit_inputs=SIZE,
        resize_to=SIZE,
    )
    assert made.steps == 5 + (2 if own else 0)
    assert made.images[0][0].size == SIZE


@pytest.mark.parametrize("family", KANDINSKY_2)
class TestVariations:
    """Of the Kandinsky 2 models, by the embedding of the picture."""

    SMALL: dict[str, JsonValue] = {"height": 64, "width": 128, "num_inference_steps": 2, **PRIOR}

    def vary(self, benches: Benches, family: str, image: Image.Image, **own: Any) -> Image.Image:
        made = benches(family).draw({**self.SMALL, "image": sent(image), **own}, method="variation", seed=4)
        return made.images[0][0]

    def test_are_offered_with_a_schema_of_their_own(self, benches: Benches, family: str) -> None:
        schema = benches(family).schema
        method = schema.method("variation")
        assert method is not None
        assert Capability.VARIATION in schema.capabilities
        assert check(method, {"image": sent(striped())}) == {"image": sent(striped())}
        with pytest.raises(MissingParameter):
            check(method, {"prompt": "a fox"})

    def test_depend_on_the_picture_and_repeat_with_the_seed(self, benches: Benches, family: str) -> None:
        first = self.vary(benches, family, striped())
        assert first.size == SIZE
        assert ImageChops.difference(first, self.vary(benches, family, striped())).getbbox() is None
        other = self.vary(benches, family, striped(colour="blue"))
        assert ImageChops.difference(first, other).getbbox() is not None

    def test_are_drawn_towards_a_prompt_by_its_weight(self, benches: Benches, family: str) -> None:
        alone = self.vary(benches, family, striped())
        mixed = self.vary(benches, family, striped(), prompt="a fox", image_weight=0.2)
        assert ImageChops.difference(alone, mixed).getbbox() is not None

    def test_count_no_steps_of_a_prior_that_is_not_asked(self, benches: Benches, family: str) -> None:
        reported: list[tuple[int, int]] = []
        benches(family).draw(
            {**self.SMALL, "image": sent(striped())},
            method="variation",
            on_step=lambda step, of: reported.append((step, of)),
        )
        assert reported == [(1, 2), (2, 2)]


@pytest.mark.parametrize("family", ["kandinsky21", "kandinsky22", "kandinsky3", "sd15", "sdxl", "flux"])
def test_looking_on_changes_no_picture(benches: Benches, family: str) -> None:
    own: dict[str, JsonValue] = PRIOR if family in KANDINSKY_2 else {}
    parameters = {"prompt": "a red fox", "height": 64, "width": 128, "num_inference_steps": 4, **own}
    seen: list[Any] = []
    plain = benches(family).draw(dict(parameters), seed=3)
    watched = benches(family).draw(dict(parameters), seed=3, previews=3, on_preview=lambda *a: seen.append(a))
    assert len(seen) == 3
    assert ImageChops.difference(plain.images[0][0], watched.images[0][0]).getbbox() is None
