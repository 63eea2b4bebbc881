"""Each standard field, on each kind of model: what it becomes, or what the answer says of it."""

from __future__ import annotations

from typing import Any

import pytest

from compat.errors import InvalidSize, Unsupported
from compat.mapped import Mapped
from compat.mapping import map_generation
from compat.policy import Policy
from compat.requests import parse_generation
from engines.calls import ImageFormat
from engines.card import Preset
from engines.errors import InvalidParameter, InvalidRequest, MissingParameter, UnknownParameter
from engines.schema import Capability, Constraints, PipelineSchema, SizeFit, SizeRule
from tests.compat.models import (
    FREE,
    GUIDANCE,
    PROMPT,
    STEPS,
    STRICT,
    TINY,
    edges,
    listed,
    schema,
    sizeless,
    spec,
)


def mapped(
    model: PipelineSchema = TINY, *, preset: Preset | None = None, strict: bool = False, **body: Any
) -> Mapped:
    policy = Policy(strict=strict)
    body = {"prompt": "a fox"} | ({"model": "fox"} if strict else {}) | body
    request = parse_generation(body, schema=model, policy=policy)
    return map_generation(request, model, preset=preset or Preset(), policy=policy, request_id="req_1")


def ignored(outcome: Mapped) -> list[str]:
    return [entry.field for entry in outcome.ignored]


def test_a_prompt_alone_leaves_everything_to_the_model() -> None:
    outcome = mapped()
    call = outcome.call
    assert (call.request_id, call.method, call.parameters) == ("req_1", "__call__", {"prompt": "a fox"})
    assert (call.count, call.seed, call.format, call.compression) == (1, None, ImageFormat.PNG, None)
    assert (call.resize_to, outcome.ignored, outcome.adjusted, outcome.quality) == (None, (), (), "high")


@pytest.mark.parametrize(
    "body",
    [
        {"n": 1},
        {"size": "auto"},
        {"quality": "auto"},
        {"quality": "high"},
        {"background": "auto"},
        {"background": "opaque"},
        {"response_format": "b64_json"},
        {"stream": False},
        {"partial_images": 0},
        {"output_format": "png"},
        {"output_compression": 100},
        {"seed": None},
        {"width": None},
        {"num_inference_steps": None},
        {"negative_prompt": None},
        {"steps": None},
    ],
)
def test_a_value_that_says_nothing_new_changes_nothing(body: dict[str, Any]) -> None:
    parameters = {"prompt": "a fox"}
    outcome = mapped(**body)
    assert (outcome.call, outcome.ignored) == (mapped().call, ())
    assert outcome.call.parameters == parameters


@pytest.mark.parametrize("name", ["n", "num_images", "num_images_per_prompt"])
def test_the_number_of_images_is_the_calls_count(name: str) -> None:
    body: dict[str, Any] = {name: 3}
    call = mapped(**body).call
    assert (call.count, call.parameters) == (3, {"prompt": "a fox"})


def test_two_different_numbers_of_images_contradict_each_other() -> None:
    with pytest.raises(InvalidParameter, match="contradicts n, which is 2"):
        mapped(n=2, num_images=3)
    assert mapped(n=2, num_images=2).call.count == 2


def test_a_models_own_limit_of_images_counts_where_it_is_lower() -> None:
    model = schema(PROMPT, spec("num_images_per_prompt", STEPS.type, constraints=Constraints(maximum=2)))
    assert mapped(model, n=2).call.count == 2
    with pytest.raises(InvalidParameter, match="Expected a value <= 2") as raised:
        mapped(model, n=3)
    assert raised.value.parameter == "n"


def test_whole_numbers_pass_in_the_declared_type() -> None:
    parameters = mapped(FREE, steps=9.0, width=512.0, height=512).call.parameters
    assert (repr(parameters["num_inference_steps"]), repr(parameters["width"])) == ("9", "512")


def test_the_seed_is_the_calls_own() -> None:
    call = mapped(seed=0).call
    assert (call.seed, call.parameters) == (0, {"prompt": "a fox"})


@pytest.mark.parametrize("seed", [-1, 2**53, "5", 1.0])
def test_a_seed_that_would_not_come_back_the_same_is_refused(seed: Any) -> None:
    with pytest.raises(InvalidParameter) as raised:
        mapped(seed=seed)
    assert raised.value.parameter == "seed"


def test_the_models_own_parameters_pass() -> None:
    outcome = mapped(negative_prompt="blur", guidance_scale=4.5)
    assert outcome.call.parameters == {"prompt": "a fox", "negative_prompt": "blur", "guidance_scale": 4.5}


@pytest.mark.parametrize("value", [1, None])
def test_an_unknown_parameter_is_refused_with_its_near_matches(value: Any) -> None:
    with pytest.raises(UnknownParameter) as raised:
        mapped(guidance_scal=value)
    assert raised.value.parameter == "guidance_scal"
    assert "guidance_scale" in raised.value.near


def test_a_hidden_parameter_cannot_be_set() -> None:
    with pytest.raises(InvalidRequest) as raised:
        mapped(latents=[1])
    assert raised.value.parameter == "latents"


def test_an_edits_field_is_unknown_to_a_generation() -> None:
    with pytest.raises(UnknownParameter):
        mapped(mask="data:image/png;base64,")


@pytest.mark.parametrize(
    ("synonym", "name", "value"),
    [
        ("steps", "num_inference_steps", 9),
        ("sampling_steps", "num_inference_steps", 9),
        ("cfg", "guidance_scale", 2.5),
        ("cfg_scale", "guidance_scale", 2.5),
        ("guidance", "guidance_scale", 2.5),
        ("negativePrompt", "negative_prompt", "blur"),
    ],
)
def test_a_synonym_is_the_parameter_it_stands_for(synonym: str, name: str, value: Any) -> None:
    assert mapped(**{synonym: value}).call.parameters == {"prompt": "a fox", name: value}


def test_a_synonym_beside_the_real_name_is_refused() -> None:
    with pytest.raises(UnknownParameter) as raised:
        mapped(steps=5, num_inference_steps=6)
    assert raised.value.parameter == "steps"


def test_a_synonym_of_what_the_model_lacks_is_refused() -> None:
    with pytest.raises(UnknownParameter):
        mapped(FREE, negativePrompt="blur")


def test_a_parameter_that_is_called_like_a_synonym_is_itself() -> None:
    model = schema(PROMPT, GUIDANCE, spec("guidance", GUIDANCE.type, default=1.0))
    assert mapped(model, guidance=2.0).call.parameters == {"prompt": "a fox", "guidance": 2.0}


@pytest.mark.parametrize(
    ("quality", "steps", "word"),
    [
        ("low", 12, "low"),
        ("medium", 19, "medium"),
        ("standard", None, "high"),
        ("xhigh", 38, "xhigh"),
        ("hd", 38, "xhigh"),
        ("max", 50, "max"),
    ],
)
def test_quality_is_a_number_of_steps_relative_to_the_default(
    quality: str, steps: int | None, word: str
) -> None:
    outcome = mapped(quality=quality)
    assert outcome.call.parameters.get("num_inference_steps") == steps
    assert (outcome.quality, outcome.ignored) == (word, ())


def test_a_preset_states_other_factors_for_its_model() -> None:
    preset = Preset(quality={"low": 0.01, "hd": 4.0, "auto": 0.2})
    found = [
        mapped(preset=preset, quality=quality).call.parameters.get("num_inference_steps")
        for quality in ("low", "hd", "xhigh", None)
    ]
    assert found == [2, 100, 38, 5]


def test_steps_given_decide_over_quality() -> None:
    outcome = mapped(quality="low", steps=9)
    assert outcome.call.parameters["num_inference_steps"] == 9
    assert (ignored(outcome), outcome.quality) == (["quality"], "high")
    assert ignored(mapped(quality="auto", steps=9)) == []


def test_quality_is_ignored_where_there_are_no_steps() -> None:
    assert ignored(mapped(sizeless(SizeFit.ERROR), quality="low")) == ["quality"]
    assert ignored(mapped(sizeless(SizeFit.ERROR), quality="auto")) == []


@pytest.mark.parametrize(("style", "guidance"), [("vivid", 3.75), ("natural", 2.25)])
def test_style_scales_the_guidance(style: str, guidance: float) -> None:
    outcome = mapped(style=style)
    assert outcome.call.parameters["guidance_scale"] == guidance
    assert outcome.ignored == ()


@pytest.mark.parametrize("default", [None, 0.0, 1.0, 1.2])
def test_style_neither_switches_guidance_on_nor_off(default: float | None) -> None:
    model = schema(PROMPT, spec("guidance_scale", GUIDANCE.type, default=default, nullable=True))
    outcome = mapped(model, style="natural")
    assert outcome.call.parameters == {"prompt": "a fox"}
    assert ignored(outcome) == ["style"]


def test_guidance_given_decides_over_style() -> None:
    outcome = mapped(style="vivid", cfg=2.0)
    assert outcome.call.parameters["guidance_scale"] == 2.0
    assert ignored(outcome) == ["style"]


def test_a_native_size_is_drawn_as_it_is() -> None:
    outcome = mapped(STRICT, size="1536x1024")
    assert outcome.call.parameters == {"prompt": "a fox", "width": 1536, "height": 1024}
    assert (outcome.call.resize_to, outcome.adjusted) == (None, ())


def test_a_size_beyond_the_models_is_drawn_at_the_best_one_and_resized() -> None:
    outcome = mapped(size="1024x768")
    assert outcome.call.parameters == {"prompt": "a fox", "width": 128, "height": 128}
    assert outcome.call.resize_to == (1024, 768)
    (told,) = outcome.adjusted
    assert (told.field, told.given, told.used) == ("size", "1024x768", "128x128")


def test_a_size_beyond_the_models_is_refused_where_nothing_may_be_resized() -> None:
    with pytest.raises(InvalidSize) as raised:
        mapped(STRICT, size="512x512")
    assert str(raised.value) == "Invalid size '512x512'. Supported sizes are 1024x1024, 1536x1024."


def test_a_size_off_the_multiple_names_the_nearest_valid_ones() -> None:
    with pytest.raises(InvalidSize) as raised:
        mapped(FREE, size="1000x1000")
    assert "divisible by 16" in str(raised.value)
    assert "992x992 and 1008x1008" in str(raised.value)


@pytest.mark.parametrize(
    ("size", "text"),
    [("8192x1024", "less than or equal to 2048. The nearest valid: 2048x1024"), ("16x512", "equal to 64")],
)
def test_a_size_out_of_bounds_names_the_bound(size: str, text: str) -> None:
    bounded = SizeRule(multiple=16, minimum=64, maximum=2048)
    with pytest.raises(InvalidSize, match=text):
        mapped(FREE.model_copy(update={"size": bounded}), size=size)


def test_any_size_on_the_multiple_is_drawn() -> None:
    outcome = mapped(FREE, size="1536x1024")
    assert outcome.call.parameters == {"prompt": "a fox", "width": 1536, "height": 1024}


def test_one_of_a_list_of_sizes_is_drawn_as_it_is() -> None:
    call = mapped(listed(SizeFit.ERROR), size="640x1408").call
    assert (call.parameters["width"], call.parameters["height"], call.resize_to) == (640, 1408, None)


def test_a_size_off_the_list_names_the_list() -> None:
    with pytest.raises(InvalidSize, match="1024x1024, 640x1408, 1408x640"):
        mapped(listed(SizeFit.ERROR), size="512x512")


@pytest.mark.parametrize(
    ("size", "drawn"),
    [
        ("512x512", (1024, 1024)),
        ("1920x1080", (1280, 768)),
        ("1024x1792", (768, 1280)),
        ("400x1000", (640, 1408)),
    ],
)
def test_a_size_off_the_list_is_resized_from_the_nearest_shape(size: str, drawn: tuple[int, int]) -> None:
    call = mapped(listed(SizeFit.RESIZE), size=size).call
    assert (call.parameters["width"], call.parameters["height"]) == drawn
    assert f"{call.resize_to[0]}x{call.resize_to[1]}" == size if call.resize_to else False


def test_a_model_without_a_size_ignores_it_and_says_what_it_draws() -> None:
    outcome = mapped(sizeless(SizeFit.ERROR), size="512x512")
    assert outcome.call.parameters == {"prompt": "a fox"}
    (told,) = outcome.ignored
    assert told.field == "size"
    assert "256x256" in told.reason
    assert ignored(mapped(sizeless(SizeFit.ERROR), size="256x256")) == []


def test_a_model_without_a_size_is_resized_where_that_is_allowed() -> None:
    outcome = mapped(sizeless(SizeFit.RESIZE), size="512x384")
    assert (outcome.call.parameters, outcome.call.resize_to) == ({"prompt": "a fox"}, (512, 384))
    assert [entry.field for entry in outcome.adjusted] == ["size"]


@pytest.mark.parametrize("size", ["bogus", "1024", "1024X1024", "0x64", "-64x64", "1024x1024 ", "１x１"])
def test_a_size_that_is_none_is_refused(size: str) -> None:
    with pytest.raises(InvalidSize, match="Expected WIDTHxHEIGHT"):
        mapped(size=size)


def test_resizing_has_a_bound() -> None:
    with pytest.raises(InvalidSize, match="longest edge"):
        mapped(size="9000x9000")


def test_width_and_height_among_the_models_own_parameters_are_the_size() -> None:
    outcome = mapped(width=256, height=192)
    assert (outcome.call.resize_to, outcome.call.parameters["width"]) == ((256, 192), 128)
    assert mapped(FREE, width=512).call.parameters == {"prompt": "a fox", "width": 512, "height": 1024}
    assert mapped(FREE, size="512x256", width=512).call.parameters["height"] == 256


def test_a_width_that_contradicts_the_size_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="contradicts") as raised:
        mapped(FREE, size="512x512", width=1024, height=512)
    assert raised.value.parameter == "size"


def test_one_edge_is_not_enough_where_the_models_own_is_not_known() -> None:
    with pytest.raises(MissingParameter) as raised:
        mapped(schema(PROMPT, *edges(None)), width=512)
    assert raised.value.parameter == "height"


@pytest.mark.parametrize(
    ("body", "image_format", "compression"),
    [
        ({"output_format": "jpeg"}, ImageFormat.JPEG, None),
        ({"output_format": "jpeg", "output_compression": 0}, ImageFormat.JPEG, 0),
        ({"output_format": "webp", "output_compression": 100}, ImageFormat.WEBP, 100),
        ({"output_format": "png", "output_compression": 100}, ImageFormat.PNG, None),
    ],
)
def test_the_answers_encoding_is_the_calls(
    body: dict[str, Any], image_format: ImageFormat, compression: int | None
) -> None:
    call = mapped(**body).call
    assert (call.format, call.compression) == (image_format, compression)


def test_png_is_not_compressed_with_loss() -> None:
    with pytest.raises(Unsupported, match="not supported for PNG") as raised:
        mapped(output_compression=80)
    assert raised.value.code == "invalid_png_output_compression"


def test_a_background_that_cannot_be_drawn_is_refused_and_named() -> None:
    with pytest.raises(Unsupported) as raised:
        mapped(background="transparent")
    assert raised.value.parameter == "background"


WITHOUT_EFFECT: dict[str, Any] = {
    "partial_images": 2,
    "complexity": "low",
    "frame_count": 9,
    "frame_duration_ms": 200,
    "svg": {"model": "m"},
}


@pytest.mark.parametrize("field", WITHOUT_EFFECT)
def test_what_cannot_be_honoured_is_told_or_in_strict_use_refused(field: str) -> None:
    wish: dict[str, Any] = {field: WITHOUT_EFFECT[field]}
    assert ignored(mapped(**wish)) == [field]
    with pytest.raises(Unsupported, match=f"does not support the '{field}' parameter") as raised:
        mapped(strict=True, **wish)
    assert raised.value.parameter == field


@pytest.mark.parametrize(
    ("field", "value"), [("user", "u-1"), ("safety_identifier", "s-1"), ("moderation", "low")]
)
def test_what_could_change_no_picture_is_told_and_never_refused(field: str, value: Any) -> None:
    assert ignored(mapped(strict=True, **{field: value})) == [field]


def test_a_model_that_needs_a_picture_says_what_it_can_do() -> None:
    model = schema(PROMPT, capabilities=(Capability.IMAGE_TO_IMAGE,))
    with pytest.raises(Unsupported, match="It does: image-to-image") as raised:
        mapped(model)
    assert raised.value.parameter == "model"


def test_an_unknown_key_is_named_before_a_bad_size() -> None:
    with pytest.raises(UnknownParameter):
        mapped(size="bogus", foo=1)


def test_a_model_whose_steps_have_no_default_keeps_its_own() -> None:
    model = schema(PROMPT, spec("num_inference_steps", STEPS.type, default=None, nullable=True))
    outcome = mapped(model, quality="low")
    assert outcome.call.parameters == {"prompt": "a fox"}
    assert ignored(outcome) == ["quality"]
