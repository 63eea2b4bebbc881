"""Stable Diffusion and Flux in one file: converted once, they draw what their diffusers folders draw."""

from __future__ import annotations

import inspect
import json
import shutil
import socket
from pathlib import Path
from typing import Any

import diffusers.loaders.single_file_utils as diffusers_conversions
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from engines.calls import LoadProgress
from engines.card import CheckpointFormat
from engines.conversion.flux import transformer
from engines.detection import detect, find_models
from engines.loading import load
from tests.engines.checkpoint_files import (
    FORMS,
    Folders,
    State,
    Written,
    described,
    failure,
    ignore,
    loaded,
    options,
    refusal,
    without_weights,
)
from tests.engines.test_loading import draw, stock
from tests.originals import stable_diffusion as originals


class Callback:
    """A class that a trainer leaves in its checkpoints."""


def entry(tmp_path: Path) -> Path:
    """The one conversion in the cache."""
    (found,) = (tmp_path / "cache" / "converted").iterdir()
    return found


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """The files of complete components, by name; a file that is written anew is another one here."""
    return {
        file.relative_to(folder).as_posix(): (file.stat().st_ino, file.stat().st_mtime_ns)
        for file in folder.glob("[!.]*/*")
    }


@pytest.mark.parametrize("form", FORMS)
def test_a_checkpoint_draws_what_its_diffusers_folder_draws(
    written: Written, varied_models: Folders, tmp_path: Path, form: str
) -> None:
    folder = varied_models(FORMS[form][0])
    model = loaded(written(form), tmp_path, folder)

    assert draw(model.pipelines["__call__"]) == draw(stock(folder))


@pytest.mark.parametrize("form", FORMS)
def test_the_card_of_a_checkpoint_is_that_of_its_folder(
    written: Written, varied_models: Folders, form: str
) -> None:
    folder = varied_models(FORMS[form][0])
    card, expected = described(written(form), folder), detect(folder)

    assert card.format is CheckpointFormat.CHECKPOINT
    assert (card.pipeline_class, card.family, card.dtype) == (
        expected.pipeline_class,
        expected.family,
        expected.dtype,
    )
    assert [(each.name, each.class_name, each.library, each.dtype) for each in card.components] == [
        (each.name, each.class_name, each.library, each.dtype) for each in expected.components
    ]
    sizes = {each.name: each.size for each in expected.components}
    for component in card.components:
        if component.name in ("unet", "transformer", "vae"):
            assert component.size == sizes[component.name]
    assert card.size == sum(component.size for component in card.components)


def test_an_inpainting_checkpoint_inpaints(varied_models: Folders, tmp_path: Path) -> None:
    folder = varied_models("sd15-inpainting")
    save_file(originals.stable_diffusion(folder), tmp_path / "inpainting.safetensors")
    model = loaded(tmp_path / "inpainting.safetensors", tmp_path, folder)
    picture = {"image": Image.new("RGB", (64, 64), "teal"), "mask_image": Image.new("L", (64, 64), 255)}

    assert (model.card.pipeline_class, model.card.inpaints) == ("StableDiffusionInpaintPipeline", True)
    assert draw(model.pipelines["__call__"], **picture) == draw(stock(folder), **picture)


def test_a_trainer_s_checkpoint_is_read_without_its_classes(varied_models: Folders, tmp_path: Path) -> None:
    folder = varied_models("sd15")
    path = tmp_path / "v1-5-pruned.ckpt"
    state = originals.stable_diffusion(folder)
    torch.save({"state_dict": state, "epoch": 1, "callbacks": {"saver": Callback()}}, path)
    model = loaded(path, tmp_path, folder)

    assert model.card.pickled
    assert draw(model.pipelines["__call__"]) == draw(stock(folder))
    assert sorted(each.name for each in entry(tmp_path).iterdir()) == [
        "conversion.json",
        "text_encoder",
        "unet",
        "vae",
    ]


@pytest.mark.parametrize("place", ["models/sd15", "models/config", "models/any name", "config"])
def test_the_configuration_is_found_beside_the_file(
    written: Written, varied_models: Folders, tmp_path: Path, place: str
) -> None:
    path = written("sd15")
    config = without_weights(varied_models("sd15"), tmp_path / place)

    assert described(path).source("config") == config


def test_of_the_folders_beside_a_file_that_of_its_class_is_taken(
    written: Written, varied_models: Folders
) -> None:
    path = written("sdxl")
    for name in ("flux", "sd15", "sdxl"):
        without_weights(varied_models(name), path.parent / f"a {name}")

    assert described(path).source("config") == path.parent / "a sdxl"


def test_a_model_beside_a_checkpoint_lends_its_configuration_and_is_still_one(
    written: Written, varied_models: Folders
) -> None:
    path = written("sd15")
    without_weights(varied_models("sdxl"), path.parent / "config")
    save_file(originals.stable_diffusion_xl(varied_models("sdxl")), path.parent / "xl.safetensors")
    shutil.copytree(varied_models("sd15"), path.parent / "whole")

    assert [(card.name, card.loadable) for card in find_models(path.parent)] == [
        ("sd15", True),
        ("whole", True),
        ("xl", True),
    ]


def test_a_file_that_holds_all_needs_no_weights_in_its_folder(
    written: Written, varied_models: Folders, tmp_path: Path
) -> None:
    path = written("sd3")
    without_weights(varied_models("sd3"), path.parent / "config")

    assert draw(loaded(path, tmp_path).pipelines["__call__"]) == draw(stock(varied_models("sd3")))


def test_what_a_file_lacks_stays_in_the_folder(
    written: Written, varied_models: Folders, tmp_path: Path
) -> None:
    loaded(written("flux"), tmp_path, varied_models("flux"))

    assert {each.name for each in entry(tmp_path).iterdir()} == {"conversion.json", "transformer"}


def test_a_checkpoint_is_converted_once(written: Written, varied_models: Folders, tmp_path: Path) -> None:
    path = written("sd15")
    loaded(path, tmp_path, varied_models("sd15"))
    before = snapshot(entry(tmp_path))
    loaded(path, tmp_path, varied_models("sd15"))

    assert snapshot(entry(tmp_path)) == before


def test_a_safety_checker_that_is_not_asked_for_makes_no_other_conversion(
    varied_models: Folders, tmp_path: Path
) -> None:
    folder, path = varied_models("sd15-guarded"), tmp_path / "sd15.safetensors"
    save_file(originals.stable_diffusion(folder), path)
    for moderation in (True, False):
        asked = options(tmp_path).model_copy(update={"moderation": moderation})
        load(described(path, folder), asked, ignore)

    assert entry(tmp_path)


def test_an_interrupted_conversion_goes_on_where_it_was(
    written: Written, varied_models: Folders, tmp_path: Path
) -> None:
    card = described(written("sdxl"), varied_models("sdxl"))

    def stop_in_the_second(progress: LoadProgress) -> None:
        if progress.component == "text_encoder":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(card, options(tmp_path), stop_in_the_second)
    before = snapshot(entry(tmp_path))
    load(card, options(tmp_path), ignore)

    assert before
    assert before.items() <= snapshot(entry(tmp_path)).items()


@pytest.mark.parametrize(("spare", "fits"), [(0, True), (-1, False)])
def test_the_disk_needs_room_for_what_is_written_alone(
    written: Written,
    varied_models: Folders,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spare: int,
    fits: bool,
) -> None:
    path, folder = written("flux"), varied_models("flux")
    size = next(each.size for each in described(path, folder).components if each.name == "transformer")
    usage = type(shutil.disk_usage(tmp_path))(0, 0, size + 2**26 + spare)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)

    if fits:
        loaded(path, tmp_path, folder)
    else:
        assert "GiB" in failure(path, tmp_path, folder)


@pytest.mark.parametrize(
    ("form", "stored"), [("sdxl", "float16"), ("sd3", "float16"), ("flux-whole", "bfloat16")]
)
def test_the_file_s_own_dtype_is_kept(
    written: Written, varied_models: Folders, tmp_path: Path, form: str, stored: str
) -> None:
    dtype = getattr(torch, stored)
    path = written(form, lambda state: {name: value.to(dtype) for name, value in state.items()})
    model = loaded(path, tmp_path, varied_models(FORMS[form][0]))

    assert model.card.dtype == stored
    for file in entry(tmp_path).glob("*/*.safetensors"):
        assert {tensor.dtype for tensor in load_file(file).values()} == {dtype}, file


@pytest.mark.parametrize("form", ["sdxl", "sd3", "flux-whole"])
def test_weights_of_eight_bits_become_those_of_sixteen(
    written: Written, varied_models: Folders, tmp_path: Path, form: str
) -> None:
    """As every such value is one of bfloat16, too, a file of those draws the same."""

    def eight(state: State) -> State:
        return {name: value.to(torch.float8_e4m3fn) for name, value in state.items()}

    def sixteen(state: State) -> State:
        return {name: value.bfloat16() for name, value in eight(state).items()}

    folder = varied_models(FORMS[form][0])
    first, second = (
        loaded(written(form, change, f"{change.__name__}.safetensors"), tmp_path, folder)
        for change in (eight, sixteen)
    )

    assert first.card.components == second.card.components
    assert {each.dtype for each in first.card.components if each.size} == {"bfloat16"}
    assert draw(first.pipelines["__call__"]) == draw(second.pipelines["__call__"])


def test_a_t5_under_either_name_of_its_tokens_is_whole(
    written: Written, varied_models: Folders, tmp_path: Path
) -> None:
    second = "text_encoders.t5xxl.transformer.encoder.embed_tokens.weight"
    path = written("sd3", lambda state: {name: value for name, value in state.items() if name != second})

    model = loaded(path, tmp_path, varied_models("sd3"))

    assert draw(model.pipelines["__call__"]) == draw(stock(varied_models("sd3")))


def test_nothing_is_asked_of_the_network(
    written: Written, varied_models: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    path = written("sdxl")
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")

    assert "are missing" in refusal(path)
    assert loaded(path, tmp_path, varied_models("sdxl")).pipelines


def test_flux_is_converted_as_diffusers_converts_it(varied_models: Folders) -> None:
    """diffusers' own code, with the width of the tiny one: it is written into the function."""
    state = originals.flux(varied_models("flux"))
    config = json.loads((varied_models("flux") / "transformer" / "config.json").read_text())
    source = inspect.getsource(diffusers_conversions.convert_flux_transformer_checkpoint_to_diffusers)
    names: dict[str, Any] = {"torch": torch}
    exec(source.replace("inner_dim = 3072", "inner_dim = 32"), names)
    expected = names["convert_flux_transformer_checkpoint_to_diffusers"](dict(state))
    made = transformer(state, config).tensors

    assert set(made) == set(expected)
    assert all(torch.equal(made[name], expected[name]) for name in expected)
