"""Values of a request become what a pipeline takes."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import JsonValue

from engines.calls import LARGEST_SEED
from engines.errors import InvalidImage, InvalidParameter
from engines.inputs import decode_image, generators, per_prompt, pipeline_arguments, seeds
from engines.schema import MethodSchema, ParameterSpec, ValueKind, ValueType

PIXELS = 10_000
IMAGE = ValueType(kind=ValueKind.IMAGE)
IMAGES = ValueType(kind=ValueKind.ARRAY, items=IMAGE)
TEXT = ValueType(kind=ValueKind.STRING)


def base64_of(image: Image.Image, image_format: str = "PNG", **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return base64.b64encode(buffer.getvalue()).decode()


def spec(name: str, kind: ValueType = TEXT, *, visible: bool = True) -> ParameterSpec:
    return ParameterSpec(name=name, required=False, annotation="", type=kind, visible=visible)


METHOD = MethodSchema(
    name="__call__",
    pipeline_class="AnyPipeline",
    parameters=(
        spec("prompt"),
        spec("image", ValueType(kind=ValueKind.UNION, options=(IMAGE, IMAGES))),
        spec("mask_image", IMAGE),
        spec("callback", visible=False),
    ),
)
RED = base64_of(Image.new("RGB", (8, 6), "red"))


def arguments(**parameters: JsonValue) -> dict[str, Any]:
    return pipeline_arguments(METHOD, parameters, max_image_pixels=PIXELS)


def test_only_visible_parameters_are_passed_on() -> None:
    assert arguments(prompt="a fox", callback="os.system", unheard_of=1) == {"prompt": "a fox"}


def test_an_array_becomes_the_tuple_that_a_pipeline_adds_up() -> None:
    pair = ValueType(kind=ValueKind.ARRAY, items=ValueType(kind=ValueKind.INTEGER), length=2)
    method = METHOD.model_copy(update={"parameters": (spec("original_size", pair),)})
    assert pipeline_arguments(method, {"original_size": [8, 6]}, max_image_pixels=PIXELS) == {
        "original_size": (8, 6)
    }


def test_pictures_become_rgb_and_masks_grey() -> None:
    given = arguments(image=RED, mask_image=RED)
    assert (given["image"].mode, given["mask_image"].mode) == ("RGB", "L")
    assert given["image"].size == (8, 6)
    assert given["image"].getpixel((3, 3)) == (255, 0, 0)


def test_a_list_of_pictures_and_null_stay_what_they_are() -> None:
    given = arguments(image=[RED, RED], mask_image=None)
    assert [image.mode for image in given["image"]] == ["RGB", "RGB"]
    assert given["mask_image"] is None


@pytest.mark.parametrize("text", [f"data:image/png;base64,{RED}", f"{RED[:40]}\r\n{RED[40:]}\n"])
def test_data_uris_and_wrapped_lines_are_read(text: str) -> None:
    assert decode_image("image", text, max_pixels=PIXELS).size == (8, 6)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_common_formats_are_read(image_format: str) -> None:
    text = base64_of(Image.new("RGB", (8, 6), "red"), image_format)
    assert decode_image("image", text, max_pixels=PIXELS).size == (8, 6)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no base64!",
        base64.b64encode(b"no picture").decode(),
        base64_of(Image.effect_noise((64, 64), 90))[:2000],
        base64_of(Image.new("RGB", (8, 6)), "EPS"),
        "data:image/png,raw",
        "data:image/png;base64",
        "https://example.com/cat.png",
        "/etc/passwd",
    ],
)
def test_what_is_no_picture_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidImage) as caught:
        arguments(mask_image=text)
    assert caught.value.parameter == "mask_image"


def test_the_error_names_the_place_in_a_list() -> None:
    with pytest.raises(InvalidImage) as caught:
        arguments(image=[RED, "no base64!"])
    assert caught.value.parameter == "image[1]"


def test_a_value_that_is_no_text_is_refused() -> None:
    with pytest.raises(InvalidImage, match="expected a base64 string"):
        arguments(image=[7])


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(InvalidImage, match="101x100 is 10100 pixels; at most 10000"):
        arguments(image=base64_of(Image.new("L", (101, 100))))
    assert arguments(image=base64_of(Image.new("L", (100, 100))))["image"].size == (100, 100)


def test_a_decompression_bomb_is_refused() -> None:
    # 30000x30000 in a kilobyte or so: beyond Pillow's own limit, whatever ours is.
    bomb = bytearray(base64.b64decode(RED))
    bomb[16:24] = (30000).to_bytes(4) * 2
    bomb[29:33] = _crc(bytes(bomb[12:29]))
    with pytest.raises(InvalidImage, match="too many pixels"):
        decode_image("image", base64.b64encode(bomb).decode(), max_pixels=2**40)


def _crc(data: bytes) -> bytes:
    import zlib

    return zlib.crc32(data).to_bytes(4)


def test_the_exif_orientation_is_applied() -> None:
    photo = Image.new("RGB", (8, 6), "red")
    photo.putpixel((0, 0), (0, 0, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn the picture clockwise
    turned = decode_image("image", base64_of(photo, exif=exif), max_pixels=PIXELS)
    assert turned.size == (6, 8)
    assert turned.getpixel((5, 0)) == (0, 0, 255)


def test_sixteen_bit_greys_are_scaled() -> None:
    depth = Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16))
    grey = decode_image("mask", base64_of(depth), max_pixels=PIXELS)
    assert np.asarray(grey).tolist() == [[0, 128, 255]]


def test_a_palette_with_transparency_is_read() -> None:
    palette = Image.new("RGBA", (8, 6), (255, 0, 0, 128)).quantize()
    text = base64_of(palette, transparency=bytes([0, 128]))
    assert decode_image("image", text, max_pixels=PIXELS).mode == "RGB"


def test_image_i_has_the_seed_plus_i() -> None:
    assert seeds(41, 3) == (41, 42, 43)
    assert seeds(LARGEST_SEED, 2) == (LARGEST_SEED, 0)


def test_random_seeds_differ_and_survive_javascript() -> None:
    drawn = [seeds(None, 1)[0] for _ in range(50)]
    assert len(set(drawn)) == 50
    assert all(0 <= seed <= 2**53 - 1 and int(float(json.dumps(seed))) == seed for seed in drawn)


@pytest.mark.parametrize(
    ("seed", "code"), [(-1, "integer_below_min_value"), (2**53, "integer_above_max_value")]
)
def test_a_seed_out_of_range_is_refused(seed: int, code: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        seeds(seed, 1)
    assert (caught.value.parameter, caught.value.code) == ("seed", code)


def test_generators_draw_from_their_seeds_on_the_cpu() -> None:
    first, second = generators((7, LARGEST_SEED))
    assert first.device == torch.device("cpu")
    assert first.initial_seed() == 7
    assert second.initial_seed() == LARGEST_SEED


def test_lists_are_parted_along_with_the_prompts() -> None:
    parted = per_prompt({"prompt": ["a", "b"], "negative_prompt": ["x", "y"], "strength": 0.3})
    assert parted == [
        {"prompt": "a", "negative_prompt": "x", "strength": 0.3},
        {"prompt": "b", "negative_prompt": "y", "strength": 0.3},
    ]


def test_one_value_serves_all_prompts() -> None:
    parted = per_prompt({"prompt": ["a", "b"], "negative_prompt": "x"})
    assert [own["negative_prompt"] for own in parted] == ["x", "x"]
    assert per_prompt({"width": 64}) == [{"width": 64}]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", "b"], "negative_prompt": ["x"]}, "negative_prompt"),
        ({"prompt": "a", "negative_prompt": ["x", "y"]}, "negative_prompt"),
    ],
)
def test_lists_of_other_lengths_are_refused(given: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        per_prompt(given)
    assert caught.value.parameter == name
