"""Tiny models of every family are really loaded; what cannot be loaded says why."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from engines.calls import EngineOptions, LoadPhase, LoadProgress
from engines.detection import demo_card, detect
from engines.errors import LoadFailed
from engines.loading import LoadedModel, load

Models = Callable[[str], Path]
SMALL: dict[str, Any] = {"prompt": "a red fox", "height": 64, "width": 64, "num_inference_steps": 2}
ONE_THREAD = EngineOptions(device="cpu", threads=1)


@pytest.fixture
def copied(tiny_models: Models, tmp_path: Path) -> Models:
    """Give a copy of a tiny model that a test may damage; copies lie side by side."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(tiny_models(name), tmp_path / name))

    return copy


def ignore(progress: LoadProgress) -> None:
    """A report nobody looks at."""


def loaded(path: Path, options: EngineOptions = ONE_THREAD, **more: Any) -> LoadedModel:
    return load(detect(path, **more), options, ignore)


def refused(path: Path) -> str:
    """The reason why a model that looks whole cannot be loaded; it tells no absolute path."""
    card = detect(path)
    assert card.loadable, card.reason
    with pytest.raises(LoadFailed) as caught:
        load(card, ONE_THREAD, ignore)
    assert caught.value.model == card.name
    assert "/" + str(path.relative_to("/").parts[0]) + "/" not in caught.value.reason
    assert "site-packages" not in caught.value.reason
    return caught.value.reason


def stock(path: Path, **options: Any) -> Any:
    """What diffusers itself makes of a folder."""
    untyped: Any = DiffusionPipeline
    pipeline = untyped.from_pretrained(path, local_files_only=True, **options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline: Any, **arguments: Any) -> bytes:
    generator = torch.Generator().manual_seed(7)
    output = pipeline(**SMALL | arguments, generator=generator, return_dict=False)
    return bytes(output[0][0].tobytes())


@pytest.mark.parametrize("name", ["kandinsky21", "kandinsky22", "kandinsky3", "sd15", "sdxl", "flux"])
def test_a_loaded_model_draws_what_the_stock_pipeline_draws(tiny_models: Models, name: str) -> None:
    path = tiny_models(name)

    assert draw(loaded(path).pipelines["__call__"]) == draw(stock(path))


def test_kandinsky_5_loads_and_draws(tiny_models: Models) -> None:
    model = loaded(tiny_models("kandinsky5"))
    output = model.pipelines["__call__"](prompt="a red fox", num_inference_steps=1, return_dict=False)

    assert output[0][0].size == (1024, 1024)
    assert list(model.pipelines) == ["__call__", "inpaint"]


@pytest.mark.parametrize("version", ["21", "22"])
def test_a_decoder_with_its_prior_draws_what_both_in_one_draw(tiny_models: Models, version: str) -> None:
    whole = loaded(tiny_models(f"kandinsky{version}"))
    pair = loaded(tiny_models(f"kandinsky{version}-decoder"), prior=tiny_models(f"kandinsky{version}-prior"))

    assert draw(pair.pipelines["__call__"]) == draw(whole.pipelines["__call__"])


def test_the_prior_on_the_hub_that_a_readme_names_is_not_asked_for(copied: Models) -> None:
    copied("kandinsky22-prior")
    decoder = copied("kandinsky22-decoder")
    (decoder / "README.md").write_text("---\nprior:\n- kandinsky-community/kandinsky-2-2-prior\n---\n")

    assert type(loaded(decoder).pipelines["__call__"]).__name__ == "KandinskyV22CombinedPipeline"


@pytest.mark.parametrize(
    ("name", "methods"),
    [
        ("kandinsky22", ["__call__", "image_to_image", "inpaint", "variation"]),
        ("kandinsky3", ["__call__", "image_to_image", "inpaint"]),
        ("sdxl", ["__call__", "image_to_image", "inpaint"]),
    ],
)
def test_all_methods_share_one_set_of_weights(tiny_models: Models, name: str, methods: list[str]) -> None:
    pipelines = loaded(tiny_models(name)).pipelines

    assert list(pipelines) == methods
    assert len({id(pipeline.unet) for pipeline in pipelines.values()}) == 1
    assert type(pipelines["__call__"]) is not type(pipelines["image_to_image"])


def test_every_weight_is_in_the_one_dtype_that_was_chosen() -> None:
    pipeline = load(demo_card(), ONE_THREAD, ignore).pipelines["__call__"]

    for module in (pipeline.unet, pipeline.text_encoder, pipeline.movq):
        assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}
        assert not module.training


def test_a_lower_precision_leaves_the_layers_that_need_float32_alone(tiny_models: Models) -> None:
    path = tiny_models("kandinsky3")
    expected = stock(path, dtype=torch.float16)
    model = loaded(path, EngineOptions(device="cpu", dtype="float16", threads=1))

    for name, module in model.pipelines["__call__"].components.items():
        if isinstance(module, torch.nn.Module):
            own = getattr(expected, name).state_dict()
            assert {key: value.dtype for key, value in module.state_dict().items()} == {
                key: value.dtype for key, value in own.items()
            }


def test_device_and_dtype_come_with_their_reasons(
    tiny_models: Models, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "engines.loading"):
        model = loaded(tiny_models("kandinsky3"))

    assert (model.device, model.dtype) == ("cpu", "float32")
    assert "slower on a CPU" in model.placement.dtype_reason
    assert "asked for" in model.placement.device_reason
    assert all(reason in caplog.text for reason in (model.placement.device_reason, "float32"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="has the device that must be missing")
def test_a_device_that_is_not_there_is_refused(tiny_models: Models) -> None:
    with pytest.raises(LoadFailed, match="'cuda' was asked for"):
        loaded(tiny_models("kandinsky3"), EngineOptions(device="cuda"))


def test_progress_names_each_component_and_ends_at_the_total(tiny_models: Models) -> None:
    card = detect(tiny_models("kandinsky22"))
    reports: list[LoadProgress] = []
    load(card, ONE_THREAD, reports.append)

    assert [report.component for report in reports] == [*(each.name for each in card.components), None]
    read = [report.bytes_read for report in reports]
    assert read == sorted(read)
    assert (read[0], read[-1]) == (0, card.size)
    assert {(report.phase, report.bytes_total) for report in reports} == {(LoadPhase.LOADING, card.size)}


def test_loading_prints_no_progress_bars(tiny_models: Models, capfd: pytest.CaptureFixture[str]) -> None:
    draw(loaded(tiny_models("kandinsky22")).pipelines["__call__"])

    assert "it/s" not in capfd.readouterr().err


@pytest.mark.parametrize(("variant", "dtype"), [("fp16", torch.float16), ("bf16", torch.bfloat16)])
def test_weights_of_a_variant_are_loaded(copied: Models, variant: str, dtype: torch.dtype) -> None:
    path = copied("kandinsky3")
    for file in [*path.glob("*/*.safetensors")]:
        halves = {name: tensor.to(dtype) for name, tensor in load_file(file).items()}
        save_file(halves, file.with_name(f"{file.stem}.{variant}.safetensors"), metadata={"format": "pt"})
        file.unlink()

    assert f"torch.{detect(path).dtype}" == str(dtype)
    expected = stock(path, variant=variant, dtype=torch.float32)
    expected.text_encoder.float()
    assert draw(loaded(path).pipelines["__call__"]) == draw(expected)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_sharded_weights_are_loaded(copied: Models, suffix: str) -> None:
    path = copied("kandinsky3")
    before = draw(loaded(path).pipelines["__call__"])
    whole = path / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(whole)
    whole.unlink()
    names = sorted(tensors)
    places: dict[str, str] = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        shard = whole.with_name(f"diffusion_pytorch_model-0000{number}-of-00002{suffix}")
        chosen = {name: tensors[name].clone() for name in part}
        save_file(chosen, shard, metadata={"format": "pt"}) if suffix != ".bin" else torch.save(chosen, shard)
        places |= dict.fromkeys(part, shard.name)
    index = {"metadata": {}, "weight_map": places}
    whole.with_name(f"diffusion_pytorch_model{suffix}.index.json").write_text(json.dumps(index))

    assert detect(path).pickled is (suffix == ".bin")
    assert draw(loaded(path).pipelines["__call__"]) == before


def test_pickled_weights_are_loaded_where_there_are_no_others(copied: Models) -> None:
    path = copied("kandinsky3")
    before = draw(loaded(path).pipelines["__call__"])
    for file in [*path.glob("*/*.safetensors")]:
        stem = "pytorch_model" if file.stem == "model" else file.stem
        torch.save(load_file(file), file.with_name(f"{stem}.bin"))
        file.unlink()

    assert detect(path).dtype == "float32"
    assert draw(loaded(path).pipelines["__call__"]) == before


def test_a_pickled_prior_is_refused_where_pickles_are(copied: Models) -> None:
    prior = copied("kandinsky22-prior")
    file = prior / "prior" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(file), file.with_suffix(".bin"))
    file.unlink()
    card = detect(copied("kandinsky22-decoder"), prior=prior)

    assert card.pickled
    with pytest.raises(LoadFailed, match=r"prior_prior/diffusion_pytorch_model\.bin is a pickle"):
        load(card, EngineOptions(device="cpu", threads=1, allow_pickles=False), ignore)
    assert load(card, ONE_THREAD, ignore).pipelines


def test_a_model_that_cannot_be_loaded_says_what_detection_found(tiny_models: Models) -> None:
    with pytest.raises(LoadFailed, match="this is a prior alone"):
        loaded(tiny_models("kandinsky22-prior"))


def test_a_tokenizer_without_its_vocabulary_is_refused(copied: Models) -> None:
    path = copied("kandinsky3")
    card = detect(path)
    (path / "tokenizer" / "tokenizer.json").unlink()

    with pytest.raises(LoadFailed, match=r"tokenizer/ has no vocabulary.*tokenizer\.json"):
        load(card, ONE_THREAD, ignore)


def test_a_tokenizer_of_another_model_is_refused(copied: Models) -> None:
    path = copied("sd15")
    file = path / "text_encoder" / "config.json"
    config = json.loads(file.read_text())
    weights = path / "text_encoder" / "model.safetensors"
    tensors = load_file(weights)
    name = next(key for key in tensors if key.endswith("token_embedding.weight"))
    tensors[name] = tensors[name].repeat(3, 1)
    save_file(tensors, weights, metadata={"format": "pt"})
    file.write_text(json.dumps(config | {"vocab_size": len(tensors[name])}))

    assert "tokens" in refused(path)


def test_weights_that_do_not_fit_their_configuration_name_the_component(copied: Models) -> None:
    path = copied("kandinsky3")
    file = path / "unet" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"time_embedding_dim": 64}))

    assert refused(path).startswith("the component unet: ")


def test_a_class_that_the_library_lacks_is_named(copied: Models) -> None:
    path = copied("kandinsky3")
    file = path / "model_index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"unet": ["diffusers", "Kandinsky9UNet"]}))

    assert "no Kandinsky9UNet" in refused(path)


def test_a_component_that_the_pipeline_needs_and_the_folder_lacks_is_named(copied: Models) -> None:
    path = copied("kandinsky3")
    file = path / "model_index.json"
    index = json.loads(file.read_text())
    del index["movq"]
    file.write_text(json.dumps(index))

    assert "needs movq" in refused(path)


def test_weights_that_went_after_detection_are_missed(copied: Models) -> None:
    path = copied("kandinsky3")
    card = detect(path)
    shutil.rmtree(path / "movq")

    with pytest.raises(LoadFailed, match="movq"):
        load(card, ONE_THREAD, ignore)
