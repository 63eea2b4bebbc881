"""Models are told from their files alone, and what is wrong with them is said in words."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from engines.card import Family, ModelCard, Part
from engines.detection import demo_card, detect, find_models, fingerprint, slug

Models = Callable[[str], Path]


@pytest.fixture
def copied(tiny_models: Models, tmp_path: Path) -> Models:
    """Give a copy of a tiny model that a test may damage; copies lie side by side."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(tiny_models(name), tmp_path / name))

    return copy


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def refusal(card: ModelCard) -> str:
    """The reason of a card that cannot be loaded; it tells no absolute path."""
    assert not card.loadable
    assert card.reason is not None
    assert str(Path(card.path).parent) not in card.reason
    return card.reason


@pytest.mark.parametrize(
    ("name", "family", "pipeline"),
    [
        ("kandinsky21", Family.KANDINSKY_2_1, "KandinskyCombinedPipeline"),
        ("kandinsky22", Family.KANDINSKY_2_2, "KandinskyV22CombinedPipeline"),
        ("kandinsky3", Family.KANDINSKY_3, "Kandinsky3Pipeline"),
        ("kandinsky5", Family.KANDINSKY_5, "Kandinsky5T2IPipeline"),
        ("sd15", Family.DIFFUSERS, "StableDiffusionPipeline"),
        ("sdxl", Family.DIFFUSERS, "StableDiffusionXLPipeline"),
        ("flux", Family.DIFFUSERS, "FluxPipeline"),
    ],
)
def test_a_whole_pipeline_is_loadable(tiny_models: Models, name: str, family: Family, pipeline: str) -> None:
    card = detect(tiny_models(name))

    assert (card.family, card.pipeline_class, card.part) == (family, pipeline, Part.WHOLE)
    assert card.loadable
    assert card.reason is None


def test_the_contents_decide_and_not_the_name(copied: Models, tmp_path: Path) -> None:
    moved = copied("sd15").rename(tmp_path / "kandinsky3")

    assert detect(moved).family is Family.DIFFUSERS


def test_a_component_s_size_and_dtype_are_those_of_its_tensors(tiny_models: Models) -> None:
    path = tiny_models("kandinsky3")
    card = detect(path)
    unet = next(each for each in card.components if each.name == "unet")
    tensors = load_file(path / "unet" / "diffusion_pytorch_model.safetensors").values()

    assert unet.size == sum(tensor.nbytes for tensor in tensors)
    assert unet.dtype == "float32"
    assert card.size == sum(each.size for each in card.components)
    assert [each.dtype for each in card.components if each.name == "tokenizer"] == [None]


def test_the_dtype_of_a_mixed_model_is_that_of_most_bytes() -> None:
    card = demo_card()

    assert {each.name: each.dtype for each in card.components if each.size} == {
        "movq": "float16",
        "text_encoder": "float32",
        "unet": "float16",
    }
    assert card.dtype == "float16"


def test_the_bundled_model_is_called_demo_and_states_its_sizes() -> None:
    card = demo_card()

    assert card.name == "demo"
    assert card.loadable
    assert (128, 128) in card.preset.sizes
    assert card.preset.defaults["width"] == 128


def test_detection_imports_no_torch(tiny_models: Models) -> None:
    code = (
        "import sys; from engines.detection import find_models; "
        "assert find_models(sys.argv[1]); "
        "print(sorted({'torch', 'diffusers', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_models("kandinsky22"))], capture_output=True, check=True
    )

    assert done.stdout.decode().strip() == "[]"


@pytest.mark.parametrize("version", ["21", "22"])
def test_a_decoder_is_completed_by_the_prior_beside_it(copied: Models, version: str) -> None:
    prior = copied(f"kandinsky{version}-prior")
    card = detect(copied(f"kandinsky{version}-decoder"))

    assert card.loadable
    assert card.part is Part.DECODER
    assert card.prior_path == str(prior)
    assert (card.pipeline_class or "").endswith("CombinedPipeline")
    assert "prior_prior" in [each.name for each in card.components]


def test_a_decoder_without_a_prior_says_how_to_give_one(copied: Models) -> None:
    reason = refusal(detect(copied("kandinsky22-decoder")))

    assert "prior" in reason
    assert "--prior" in reason


def test_a_prior_of_another_version_is_not_taken(copied: Models) -> None:
    copied("kandinsky21-prior")

    assert "--prior" in refusal(detect(copied("kandinsky22-decoder")))


def test_a_prior_can_be_given(copied: Models, tiny_models: Models) -> None:
    prior = tiny_models("kandinsky22-prior")
    decoder = copied("kandinsky22-decoder")

    assert detect(decoder, prior=prior).prior_path == str(prior)
    assert "given" in refusal(detect(decoder, prior=tiny_models("kandinsky3")))


def test_the_readme_chooses_among_priors(copied: Models, tmp_path: Path) -> None:
    decoder = copied("kandinsky22-decoder")
    first = copied("kandinsky22-prior")
    second = Path(shutil.copytree(first, tmp_path / "kandinsky-2-2-prior"))
    assert "several" in refusal(detect(decoder))

    for named in ("kandinsky-community/kandinsky-2-2-prior", str(second)):
        (decoder / "README.md").write_text(f"---\nlicense: apache-2.0\nprior:\n  - {named}\n---\n# Decoder\n")
        assert detect(decoder).prior_path == str(second)


def test_a_prior_alone_is_not_loadable(tiny_models: Models) -> None:
    card = detect(tiny_models("kandinsky22-prior"))

    assert card.part is Part.PRIOR
    assert "decoder" in refusal(card)


def test_the_unreleased_name_of_kandinsky_3_is_understood(copied: Models) -> None:
    path = copied("kandinsky3")
    edit(path / "model_index.json", _class_name="KandinskyV3Pipeline")
    card = detect(path)

    assert (card.stored_class, card.pipeline_class) == ("KandinskyV3Pipeline", "Kandinsky3Pipeline")
    assert card.loadable


@pytest.mark.parametrize(
    ("class_name", "words"),
    [
        ("Kandinsky5T2VPipeline", "video"),
        ("StableAudioPipeline", "sound"),
        ("ShapEPipeline", "three-dimensional"),
        (["pipeline", "MyPipeline"], "never executed"),
        (None, "_class_name"),
    ],
)
def test_what_is_no_text_to_image_pipeline_is_refused(copied: Models, class_name: object, words: str) -> None:
    path = copied("kandinsky3")
    edit(path / "model_index.json", _class_name=class_name)

    assert words in refusal(detect(path))


def test_a_component_of_the_model_s_own_code_is_refused(copied: Models) -> None:
    path = copied("kandinsky3")
    edit(path / "model_index.json", unet=["my_unet", "MyUNet"])
    (path / "unet" / "my_unet.py").write_text("raise SystemExit")

    assert "my_unet" in refusal(detect(path))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"{", "not valid JSON"),
        (b"[1]", "JSON object"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html></html>", "web page"),
    ],
)
@pytest.mark.parametrize("file", ["model_index.json", "unet/config.json", "scheduler/scheduler_config.json"])
def test_a_damaged_configuration_is_named(copied: Models, file: str, content: bytes, words: str) -> None:
    path = copied("kandinsky3")
    (path / file).write_bytes(content)
    reason = refusal(detect(path))

    assert words in reason
    assert Path(file).name in reason


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ("unet", "unet"),
        ("unet/diffusion_pytorch_model.safetensors", "no weight file in unet/"),
        ("movq/config.json", "movq"),
        ("tokenizer/tokenizer.json", "vocabulary"),
        ("scheduler/scheduler_config.json", "scheduler_config.json"),
    ],
)
def test_what_is_missing_is_named(copied: Models, missing: str, words: str) -> None:
    path = copied("kandinsky3")
    target = path / missing
    shutil.rmtree(target) if target.is_dir() else target.unlink()

    assert words in refusal(detect(path))


def test_a_missing_shard_is_named(copied: Models) -> None:
    path = copied("kandinsky3")
    whole = path / "unet" / "diffusion_pytorch_model.safetensors"
    shard = whole.rename(whole.with_name("diffusion_pytorch_model-00001-of-00002.safetensors"))
    index = {"weight_map": {"a": shard.name, "b": "diffusion_pytorch_model-00002-of-00002.safetensors"}}
    whole.with_name(f"{whole.name}.index.json").write_text(json.dumps(index))

    assert "00002-of-00002.safetensors is missing" in refusal(detect(path))


def test_truncated_weights_are_refused(copied: Models) -> None:
    path = copied("kandinsky3")
    file = path / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])

    assert "unet: diffusion_pytorch_model.safetensors is truncated" in refusal(detect(path))


@pytest.mark.parametrize(
    ("preset", "field"),
    [
        ({"defaults": []}, "defaults"),
        ({"sizes": [[0, 128]]}, "sizes"),
        ({"sizes": [["128", 128]]}, "sizes.0.0"),
        ({"size_fit": "stretch"}, "size_fit"),
        ({"quality": {"low": -1}}, "quality.low"),
        ({"colour": 1}, "colour"),
    ],
)
def test_a_wrong_field_of_the_preset_is_named(copied: Models, preset: dict[str, Any], field: str) -> None:
    path = copied("kandinsky3")
    (path / "gateway.json").write_text(json.dumps(preset))

    assert f"gateway.json: {field}" in refusal(detect(path))


@pytest.mark.parametrize(
    "file", ["unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"]
)
def test_the_fingerprint_changes_with_any_file(copied: Models, file: str) -> None:
    path = copied("kandinsky3")
    before = fingerprint(path)
    assert fingerprint(path) == before

    with (path / file).open("ab") as changed:
        changed.write(b" ")

    assert fingerprint(path) != before


def test_a_changed_prior_changes_the_decoder_s_fingerprint(copied: Models) -> None:
    prior, decoder = copied("kandinsky22-prior"), copied("kandinsky22-decoder")
    before = detect(decoder).fingerprint
    (prior / "gateway.json").write_text("{}")

    assert detect(decoder).fingerprint != before


def test_models_below_a_folder_get_names_of_their_own(tiny_models: Models, tmp_path: Path) -> None:
    for place in ("one/Model", "two/Model", "models--org--Kandinsky-3.1/snapshots/0a1b", ".hidden/secret"):
        shutil.copytree(tiny_models("kandinsky3"), tmp_path / place)
    (tmp_path / "notes.bin").write_bytes(b"no checkpoint")

    found = find_models(tmp_path)

    assert [card.name for card in found] == ["kandinsky-3.1", "model", "two-model"]
    assert all(card.loadable for card in found)


def test_a_model_s_own_folders_are_not_searched(tiny_models: Models) -> None:
    found = find_models(tiny_models("kandinsky22"))

    assert [card.path for card in found] == [str(tiny_models("kandinsky22"))]


def test_what_is_not_there_has_a_reason(tmp_path: Path) -> None:
    assert "no file or folder" in refusal(detect(tmp_path / "nothing"))
    assert "model_index.json" in refusal(detect(tmp_path))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Kandinsky 3.1 (FP16)", "kandinsky-3.1-fp16"),
        ("../Ünïcode_v2", "unicode_v2"),
        ("Кандинский", "model"),
        ("", "model"),
    ],
)
def test_a_slug_is_a_model_name(given: str, expected: str) -> None:
    assert slug(given) == expected


def test_a_component_is_replaced_by_one_of_its_class_alone(tiny_models: Models, copied: Models) -> None:
    path, other = tiny_models("sd15"), copied("sdxl")

    card = detect(path, components={"vae": other / "vae"})
    assert card.loadable, card.reason
    assert card.source("vae") == other / "vae"
    assert card.fingerprint != detect(path).fingerprint
    for part, folder, words in (
        ("vae", other / "unet", "holds a UNet2DConditionModel, where a AutoencoderKL is needed"),
        ("vae", other / "model_index.json", "is a file, not a folder"),
        ("vae", other / "nothing", "which was given, is not there"),
        ("movq", other / "vae", "has no such part; it has"),
    ):
        assert words in refusal(detect(path, components={part: folder}))


def test_a_prior_is_for_a_decoder(tiny_models: Models) -> None:
    assert "is no decoder of Kandinsky 2" in refusal(
        detect(tiny_models("sd15"), prior=tiny_models("kandinsky22-prior"))
    )


def test_links_that_lead_round_in_a_circle_are_not_followed(tiny_models: Models, tmp_path: Path) -> None:
    shutil.copytree(tiny_models("kandinsky3"), tmp_path / "model")
    for number in range(40):
        (tmp_path / f"link{number}").symlink_to(".")

    assert [card.name for card in find_models(tmp_path)] == ["model"]


def test_a_name_that_no_disk_takes_has_a_reason(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(detect(tmp_path / ("long" * 100)))


def test_a_folder_that_is_no_model_is_not_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def walk(*_: object) -> None:
        raise AssertionError("walked")

    monkeypatch.setattr("os.walk", walk)

    assert "no diffusers pipeline" in refusal(detect(tmp_path))
