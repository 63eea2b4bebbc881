"""One file that is the whole model: written from any loadable one, and drawn with all the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from engines.calls import EngineOptions
from engines.card import CheckpointFormat, ModelCard, Preset
from engines.conversion.cache import Cache
from engines.detection import demo_card, detect, find_models
from engines.errors import LoadFailed
from engines.formats import pack
from engines.loading import load
from engines.packing import write_pack

Models = Callable[[str], Path]
SMALL: dict[str, Any] = {"prompt": "a red fox", "height": 64, "width": 64, "num_inference_steps": 2}


def packed(card: ModelCard, target: Path) -> Path:
    cache = Cache(target.parent / "cache")
    write_pack(card, target, cache, pickles=True, on_conversion=lambda _: None, on_bytes=lambda _: None)
    return target


def draw(card: ModelCard, folder: Path, **arguments: Any) -> bytes:
    options = EngineOptions(device="cpu", threads=1, cache_folder=str(folder / "cache"))
    pipeline = load(card, options, lambda _: None).pipelines["__call__"]
    for module in pipeline.components.values():
        if isinstance(module, torch.nn.Module):
            # Where mapped weights begin in memory changes sums in the last digit.
            for parameter in module.parameters():
                parameter.data = parameter.data.clone()
    generator = torch.Generator().manual_seed(7)
    output = pipeline(**SMALL | arguments, generator=generator, return_dict=False)
    return bytes(output[0][0].tobytes())


@pytest.mark.parametrize("name", ["kandinsky21", "kandinsky22", "kandinsky3", "sd15", "sdxl", "flux"])
def test_a_packed_model_draws_what_the_folder_draws(tiny_models: Models, tmp_path: Path, name: str) -> None:
    folder = detect(tiny_models(name))
    file = detect(packed(folder, tmp_path / "model.safetensors"))

    assert file.format is CheckpointFormat.PACK
    assert (file.family, file.part, file.pipeline_class) == (
        folder.family,
        folder.part,
        folder.pipeline_class,
    )
    assert [each.name for each in file.components] == [each.name for each in folder.components]
    assert (file.size, file.dtype) == (folder.size, folder.dtype)
    assert draw(file, tmp_path) == draw(folder, tmp_path)


def test_a_decoder_and_its_prior_become_one_file(tiny_models: Models, tmp_path: Path) -> None:
    pair = detect(tiny_models("kandinsky22-decoder"), prior=tiny_models("kandinsky22-prior"))
    file = detect(packed(pair, tmp_path / "model.safetensors"))

    assert file.loadable
    assert file.pipeline_class == "KandinskyV22CombinedPipeline"
    assert draw(file, tmp_path) == draw(pair, tmp_path)


def test_a_pack_keeps_the_preset_and_is_not_packed_twice_as_large(tmp_path: Path) -> None:
    card = demo_card()
    file = packed(card, tmp_path / "demo.safetensors")
    again = packed(detect(file), tmp_path / "again.safetensors")

    assert detect(file).preset == card.preset != Preset()
    assert file.read_bytes() == again.read_bytes()
    assert file.stat().st_size < 1.02 * card.size


def test_any_program_can_read_a_pack_s_tensors(tmp_path: Path) -> None:
    file = packed(demo_card(), tmp_path / "demo.safetensors")
    unet = load_file(Path(demo_card().path) / "unet" / "diffusion_pytorch_model.safetensors")

    with safe_open(file, "pt") as reader:
        assert torch.equal(reader.get_tensor("unet.conv_in.weight"), unet["conv_in.weight"])


def test_a_pack_is_listed(tmp_path: Path) -> None:
    packed(demo_card(), tmp_path / "little.safetensors")

    assert [(card.name, card.loadable) for card in find_models(tmp_path)] == [("little", True)]


def test_sharded_pickled_and_variant_weights_are_packed(tiny_models: Models, tmp_path: Path) -> None:
    path = Path(shutil.copytree(tiny_models("kandinsky3"), tmp_path / "mixed"))
    file = path / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    names = sorted(tensors)
    halves = {"1": names[::2], "2": names[1::2]}
    for number, part in halves.items():
        shard = file.with_name(f"diffusion_pytorch_model-0000{number}-of-00002.safetensors")
        save_file({name: tensors[name] for name in part}, shard)
    places = {
        name: f"diffusion_pytorch_model-0000{number}-of-00002.safetensors"
        for number, part in halves.items()
        for name in part
    }
    file.with_name(f"{file.name}.index.json").write_text(json.dumps({"weight_map": places}))
    file.unlink()
    pickled = path / "movq" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(pickled), pickled.with_suffix(".bin"))
    pickled.unlink()
    encoder = path / "text_encoder" / "model.safetensors"
    encoder.rename(encoder.with_name("model.fp16.safetensors"))

    whole = detect(packed(detect(path), tmp_path / "model.safetensors"))

    assert draw(whole, tmp_path) == draw(detect(tiny_models("kandinsky3")), tmp_path)


def repacked(file: Path, change: Callable[[dict[str, bytes]], Mapping[str, bytes]]) -> Path:
    """The same tensors with other files in the header."""
    from engines.formats import weights

    files = dict(pack.files_of(file.name, weights.read(file)))
    save_file(load_file(file), file, metadata=pack.encoded(change(files)))
    return file


@pytest.mark.parametrize(
    "path", ["../evil.json", "/etc/evil.json", "unet/../../x.json", "a/b/c/d.json", "x.py"]
)
def test_a_file_in_a_place_where_none_may_be_is_refused(tmp_path: Path, path: str) -> None:
    file = packed(demo_card(), tmp_path / "demo.safetensors")
    card = detect(repacked(file, lambda files: {**files, path: b"{}"}))

    assert not card.loadable
    assert "in a place where none may be" in (card.reason or "")


def test_a_pack_takes_no_other_parts(tiny_models: Models, tmp_path: Path) -> None:
    file = packed(demo_card(), tmp_path / "demo.safetensors")
    card = detect(file, components={"movq": tiny_models("kandinsky3") / "movq"})

    assert card.reason == "--component movq: a packed file has all its parts within"


def test_a_pack_of_foreign_classes_is_refused(tmp_path: Path) -> None:
    file = packed(demo_card(), tmp_path / "demo.safetensors")

    def foreign(files: dict[str, bytes]) -> dict[str, bytes]:
        index = json.loads(files["model_index.json"]) | {"unet": ["os", "system"]}
        return {**files, "model_index.json": json.dumps(index).encode()}

    assert "never executed" in (detect(repacked(file, foreign)).reason or "")


def test_a_pack_without_a_component_s_weights_says_which(tmp_path: Path) -> None:
    file = packed(demo_card(), tmp_path / "demo.safetensors")
    with safe_open(file, "pt") as reader:
        metadata = reader.metadata()
    kept = {name: tensor for name, tensor in load_file(file).items() if not name.startswith("movq.")}
    save_file(kept, file, metadata=metadata)

    assert "without the weights of movq (VQModel)" in (detect(file).reason or "")


def test_a_pack_with_a_tensor_missing_says_so_at_its_load(tmp_path: Path) -> None:
    file = packed(demo_card(), tmp_path / "demo.safetensors")
    with safe_open(file, "pt") as reader:
        metadata = reader.metadata()
    kept = {name: tensor for name, tensor in load_file(file).items() if name != "unet.conv_in.weight"}
    save_file(kept, file, metadata=metadata)

    with pytest.raises(LoadFailed, match=r"component unet.*lacks conv_in\.weight"):
        draw(detect(file), tmp_path)
