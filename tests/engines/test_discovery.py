"""Schemas read from real pipeline classes, and completed by real live pipelines."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import diffusers
import pytest
from jsonschema import Draft202012Validator

from engines.calls import EngineOptions, LoadProgress
from engines.card import CheckpointFormat, Family, ModelCard, Part, Preset
from engines.detection import detect
from engines.discovery import complete, discover
from engines.errors import NotLoadable
from engines.loading import load
from engines.schema import Capability, DefaultSource, PipelineSchema, SizeFit, SizeRounding, json_schema


def card(pipeline_class: str, *, preset: Preset | None = None) -> ModelCard:
    return ModelCard(
        name="m",
        path="/nowhere",
        family=Family.DIFFUSERS,
        format=CheckpointFormat.DIFFUSERS_FOLDER,
        part=Part.WHOLE,
        pipeline_class=pipeline_class,
        preset=preset or Preset(),
    )


def ignore(_: LoadProgress) -> None:
    """Nobody watches this load."""


def live_schema(folder: Path) -> PipelineSchema:
    found = detect(folder)
    model = load(found, EngineOptions(device="cpu", threads=1), ignore)
    return complete(discover(found), model.pipelines)


def prompted_classes() -> Iterator[str]:
    """Every importable diffusers pipeline with a prompt."""
    for name in sorted(dir(diffusers)):
        kind: Any = getattr(diffusers, name) if name.endswith("Pipeline") else None
        if not inspect.isclass(kind) or "dummy" in kind.__module__:
            continue
        if "prompt" in inspect.signature(inspect.unwrap(kind.__call__)).parameters:
            yield name


def test_every_prompted_pipeline_of_diffusers_is_described() -> None:
    names = list(prompted_classes())
    assert len(names) > 200
    for name in names:
        schema = discover(card(name))
        assert PipelineSchema.model_validate_json(schema.model_dump_json()) == schema
        for method in schema.methods:
            Draft202012Validator.check_schema(json_schema(method, title=name))
            assert len({spec.name for spec in method.parameters}) == len(method.parameters)


def test_nearly_every_parameter_has_its_description() -> None:
    specs = [spec for name in prompted_classes() for spec in discover(card(name)).call.visible]
    described = [spec for spec in specs if spec.description]
    assert len(described) > 0.98 * len(specs)


def test_every_default_fits_its_own_schema() -> None:
    for name in prompted_classes():
        described = json_schema(discover(card(name)).call, title=name)
        for parameter, schema in described["properties"].items():
            if "default" in schema:
                assert Draft202012Validator(schema).is_valid(schema["default"]), (name, parameter)


@pytest.mark.parametrize(
    "name",
    [
        "Kandinsky3Pipeline",
        "Kandinsky5T2IPipeline",
        "KandinskyV22CombinedPipeline",
        "StableDiffusionPipeline",
        "FluxPipeline",
    ],
)
def test_prompt_is_required_whatever_its_default(name: str) -> None:
    assert [spec.name for spec in discover(card(name)).call.visible if spec.required] == ["prompt"]


def test_defaults_come_from_the_signature_and_not_from_the_docstring() -> None:
    # The docstring of Kandinsky 5 says 5.0.
    assert discover(card("Kandinsky5T2IPipeline")).default("guidance_scale") == 3.5


def test_prompts_are_texts_or_lists_of_them() -> None:
    prompt = discover(card("Kandinsky3Pipeline")).call.find("prompt")
    assert prompt is not None
    assert prompt.repeated
    assert prompt.description.startswith("The prompt")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("generator", "seed"),
        ("callback_on_step_end", "inside the server"),
        ("prompt_embeds", "tensors"),
        ("latents", "tensors"),
        ("kwargs", "refused"),
        ("output_type", "encodes"),
    ],
)
def test_what_no_request_can_set_is_hidden_with_its_reason(name: str, reason: str) -> None:
    spec = discover(card("Kandinsky3Pipeline")).call.find(name)
    assert spec is not None
    assert not spec.visible
    assert reason in (spec.hidden_reason or "")


def test_seed_stands_for_the_generator() -> None:
    seed = discover(card("FluxPipeline")).call.find("seed")
    assert seed is not None
    assert seed.visible
    assert not seed.required


def test_image_to_image_needs_its_image() -> None:
    schema = discover(card("Kandinsky3Pipeline"))
    method = schema.method("image_to_image")
    assert method is not None
    assert {spec.name for spec in method.visible if spec.required} == {"prompt", "image"}
    assert schema.capabilities == (Capability.TEXT_TO_IMAGE, Capability.IMAGE_TO_IMAGE)


def test_preset_stands_before_the_signature() -> None:
    preset = Preset(defaults={"width": 128, "nonsense": 1}, sizes=((128, 128),), size_fit=SizeFit.RESIZE)
    schema = discover(card("Kandinsky3Pipeline", preset=preset))
    width = schema.call.find("width")
    assert width is not None
    assert (width.default, width.default_source) == (128, DefaultSource.CARD)
    assert schema.size is not None
    assert (schema.size.native, schema.size.fit) == (((128, 128),), SizeFit.RESIZE)
    assert any("'nonsense'" in note for note in schema.notes)


def test_silent_rounding_is_told() -> None:
    assert any("multiples of 64" in note for note in discover(card("Kandinsky3Pipeline")).notes)


def test_embedded_guidance_is_told() -> None:
    assert any("true_cfg_scale" in note for note in discover(card("FluxPipeline")).notes)


def test_class_that_diffusers_does_not_have_is_refused() -> None:
    with pytest.raises(NotLoadable, match="NoSuchPipeline"):
        discover(card("NoSuchPipeline"))


@pytest.mark.parametrize(
    ("kind", "width", "multiple", "rounding"),
    [
        ("kandinsky21", 512, 64, SizeRounding.UP),
        ("kandinsky22", 512, 64, SizeRounding.UP),
        ("kandinsky3", 1024, 64, SizeRounding.UP),
        ("sd15", 256, 8, SizeRounding.REFUSES),
        ("sdxl", 256, 8, SizeRounding.REFUSES),
        ("flux", 1024, 16, SizeRounding.DOWN),
        ("kandinsky5", 1024, 1, SizeRounding.FIXED),
    ],
)
def test_live_pipeline_tells_its_size(
    tiny_models: Callable[[str], Path], kind: str, width: int, multiple: int, rounding: SizeRounding
) -> None:
    schema = live_schema(tiny_models(kind))
    assert schema.live
    assert schema.size is not None
    assert (schema.size.default_width, schema.size.multiple, schema.size.rounding) == (
        width,
        multiple,
        rounding,
    )
    assert schema.default("width") == width


def test_live_pipeline_tells_how_many_layers_can_be_skipped(tiny_models: Callable[[str], Path]) -> None:
    spec = live_schema(tiny_models("sdxl")).call.find("clip_skip")
    assert spec is not None
    assert (spec.visible, spec.constraints.minimum, spec.constraints.maximum) == (True, 0, 1)


def test_a_parameter_that_fails_with_the_components_is_hidden(tiny_models: Callable[[str], Path]) -> None:
    spec = live_schema(tiny_models("sd15")).call.find("clip_skip")
    assert spec is not None
    assert not spec.visible
    assert "text encoder" in (spec.hidden_reason or "")


def test_probing_leaves_the_pipeline_as_it_was(tiny_models: Callable[[str], Path]) -> None:
    found = detect(tiny_models("sd15"))
    model = load(found, EngineOptions(device="cpu", threads=1), ignore)
    before = dict(vars(model.pipelines["__call__"]))
    complete(discover(found), model.pipelines)
    assert dict(vars(model.pipelines["__call__"])) == before


def test_methods_that_the_live_model_lacks_are_dropped(tiny_models: Callable[[str], Path]) -> None:
    found = detect(tiny_models("sd15"))
    model = load(found, EngineOptions(device="cpu", threads=1), ignore)
    schema = complete(discover(found), {"__call__": model.pipelines["__call__"]})
    assert [method.name for method in schema.methods] == ["__call__"]
    assert schema.capabilities == (Capability.TEXT_TO_IMAGE,)
