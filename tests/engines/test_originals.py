"""Original weights, as people have them, are served: found, converted once, drawn with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

from engines.calls import EngineOptions, LoadPhase, LoadProgress
from engines.card import CheckpointFormat, Family, ModelCard, Part
from engines.detection import detect, find_models
from engines.errors import LoadFailed
from engines.flash import FlashScheduler
from engines.loading import LoadedModel, load
from tests import originals
from tests.originals import references

Originals = Callable[[str], Path]
SMALL: dict[str, Any] = {"prompt": "a red fox", "height": 64, "width": 64, "num_inference_steps": 2}
OF_3 = (
    "kandinsky3",
    "kandinsky30",
    "kandinsky3-ckpt",
    "kandinsky3-safetensors",
    "kandinsky3-flash",
)


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Originals:
    """Give the path that a user would name of a release at tiny size; it is shared and not to be changed."""
    root = tmp_path_factory.mktemp("originals")
    written: dict[str, Path] = {}

    def path(name: str) -> Path:
        if name not in written:
            written[name] = originals.write(name, root / name)
        return written[name]

    return path


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def copied(released: Originals, tmp_path: Path) -> Originals:
    """Give a copy of a release in which a test may change what it likes."""

    def copy(name: str) -> Path:
        source = released(name)
        whole = (source, *source.parents)
        root = next(folder for folder in whole if folder.parent.name.startswith("originals"))
        return Path(shutil.copytree(root, tmp_path / name)) / source.relative_to(root)

    return copy


def loaded(card: ModelCard, cache: str, reports: list[LoadProgress] | None = None) -> LoadedModel:
    seen = reports if reports is not None else []
    return load(card, EngineOptions(device="cpu", threads=1, cache_folder=cache), seen.append)


def draw(pipeline: Any, **arguments: Any) -> bytes:
    _align(pipeline)
    generator = torch.Generator().manual_seed(7)
    output = pipeline(**SMALL | arguments, generator=generator, return_dict=False)
    return bytes(output[0][0].tobytes())


def _align(pipeline: Any) -> None:
    """Copy weights that are mapped from a file: where they begin in memory changes sums in the last digit."""
    for module in pipeline.components.values():
        if isinstance(module, torch.nn.Module):
            for parameter in module.parameters():
                parameter.data = parameter.data.clone()


def refusal(card: ModelCard) -> str:
    assert not card.loadable
    assert card.reason is not None
    return card.reason


@pytest.mark.parametrize(
    ("name", "family", "pipeline", "variant"),
    [
        *((name, Family.KANDINSKY_3, "Kandinsky3Pipeline", None) for name in OF_3[:-1]),
        ("kandinsky3-flash", Family.KANDINSKY_3, "Kandinsky3Pipeline", "flash"),
        ("kandinsky3-inpainting", Family.KANDINSKY_3, "Kandinsky3InpaintPipeline", "inpainting"),
        ("kandinsky21", Family.KANDINSKY_2_1, "KandinskyCombinedPipeline", None),
        ("kandinsky5", Family.KANDINSKY_5, "Kandinsky5T2IPipeline", None),
    ],
)
def test_a_release_is_told_from_its_files(
    released: Originals, name: str, family: Family, pipeline: str, variant: str | None
) -> None:
    card = detect(released(name))

    assert card.loadable, card.reason
    assert (card.family, card.pipeline_class, card.variant) == (family, pipeline, variant)
    assert (card.format, card.part) == (CheckpointFormat.ORIGINAL, Part.WHOLE)
    assert card.size == sum(component.size for component in card.components)
    assert card.pickled is (name not in ("kandinsky5",))


def stock(folder: Path, **options: Any) -> Any:
    """What diffusers itself makes of a folder."""
    untyped: Any = DiffusionPipeline
    pipeline = untyped.from_pretrained(folder, local_files_only=True, **options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("name", OF_3)
def test_a_picture_from_original_files_is_that_of_the_diffusers_folder(
    released: Originals, cache_folder: str, tmp_path: Path, name: str
) -> None:
    flash = name == "kandinsky3-flash"
    release = released(name).parent.parent
    folder = references.kandinsky3_folder(release, tmp_path, "flash" if flash else "base")
    expected = stock(folder, **({"scheduler": FlashScheduler()} if flash else {}))
    pipeline = loaded(detect(released(name)), cache_folder).pipelines["__call__"]

    assert draw(pipeline) == draw(expected)
    assert draw(pipeline, prompt="a blue house") == draw(expected, prompt="a blue house")
    assert draw(pipeline, prompt="a blue house") != draw(pipeline)


@pytest.mark.parametrize("inpainting", [False, True])
def test_a_picture_from_kandinsky_2_1_is_that_of_the_diffusers_folder(
    released: Originals, cache_folder: str, tmp_path: Path, inpainting: bool
) -> None:
    release = released("kandinsky21")
    expected = stock(references.kandinsky21_folder(release, tmp_path, inpainting=inpainting))
    file = "inpainting_fp16.ckpt" if inpainting else "decoder_fp16.ckpt"
    pipeline = loaded(detect(release / file), cache_folder).pipelines["__call__"]
    picture = {"image": Image.new("RGB", (64, 64), "red"), "mask_image": Image.new("L", (64, 64), 255)}
    given = picture if inpainting else {}

    assert draw(pipeline, **given) == draw(expected, **given)
    assert draw(pipeline, prompt="a blue house", **given) != draw(pipeline, **given)


def test_kandinsky_5_is_loaded_from_where_it_lies(
    released: Originals, cache_folder: str, tmp_path: Path
) -> None:
    card = detect(released("kandinsky5"))
    pipeline = loaded(card, cache_folder).pipelines["__call__"]
    pipeline.save_pretrained(tmp_path)
    whole = stock(tmp_path)
    arguments = {"prompt": "a red fox", "num_inference_steps": 1, "output_type": "latent"}

    def latents(drawer: Any) -> torch.Tensor:
        drawer.set_progress_bar_config(disable=True)
        found: torch.Tensor = drawer(**arguments, generator=torch.Generator().manual_seed(7))[0]
        return found

    assert torch.equal(latents(whole), latents(pipeline))
    assert not [*Path(cache_folder).glob("converted/*/transformer/*.safetensors")]


def test_flash_draws_in_four_steps_without_guidance(released: Originals, cache_folder: str) -> None:
    card = detect(released("kandinsky3-flash"))
    pipeline = loaded(card, cache_folder).pipelines["__call__"]

    assert card.preset.defaults == {"num_inference_steps": 4, "guidance_scale": 1.0}
    assert isinstance(pipeline.scheduler, FlashScheduler)
    pipeline.scheduler.set_timesteps(4)
    assert pipeline.scheduler.timesteps.tolist() == [979, 729, 479, 229]


def test_a_folder_of_a_release_gives_its_main_file(copied: Originals) -> None:
    file = copied("kandinsky3")

    card = detect(file.parent.parent)

    assert card.loadable
    assert card.path == str(file)
    assert card.name == "kandinsky3"
    assert "several" not in (card.reason or "")


def test_a_folder_with_two_plain_models_asks_which(copied: Originals) -> None:
    file = copied("kandinsky3")
    shutil.copy(file, file.with_name("kandinsky3-mine.pt"))

    assert "name one of weights/kandinsky3-mine.pt, weights/kandinsky3.pt" in refusal(
        detect(file.parent.parent)
    )


def test_a_list_shows_a_model_once_and_its_parts_not_at_all(released: Originals) -> None:
    root = released("kandinsky21")

    assert [card.name for card in find_models(root)] == ["decoder_fp16", "inpainting_fp16"]


@pytest.mark.parametrize("place", ["beside", "weights", "above"])
def test_parts_are_found_where_people_put_them(copied: Originals, tmp_path: Path, place: str) -> None:
    weights = copied("kandinsky3").parent
    (tmp_path / "moved").mkdir()
    folder = tmp_path / "moved" / ("sub" if place == "above" else ".")
    folder.mkdir(exist_ok=True)
    parts = {"beside": folder, "weights": folder / "weights", "above": tmp_path / "moved"}[place]
    parts.mkdir(exist_ok=True)
    for part in ("movq.pt", "flan_ul2_encoder"):
        (weights / part).rename(parts / part)
    main = (weights / "kandinsky3.pt").rename(folder / "kandinsky3-1.ckpt")

    assert detect(main).loadable, detect(main).reason


def test_parts_can_be_named(copied: Originals, tmp_path: Path) -> None:
    main = copied("kandinsky3")
    encoder = (main.parent / "flan_ul2_encoder").rename(tmp_path / "elsewhere")
    movq = (main.parent / "movq.pt").rename(tmp_path / "its-movq.bin")
    given = {"text_encoder": encoder, "movq": movq}

    assert detect(main, components=given).loadable, "the projection lies in the text encoder's folder"
    assert "--component text_encoder=PATH" in refusal(detect(main))


def test_every_missing_part_is_named_in_one_message(copied: Originals) -> None:
    main = copied("kandinsky21") / "decoder_fp16.ckpt"
    for part in ("prior_fp16.ckpt", "ViT-L-14_stats.th"):
        (main.parent / part).unlink()
    shutil.rmtree(main.parent / "clip-vit-large-patch14")

    reason = refusal(detect(main))

    assert reason.startswith("decoder_fp16.ckpt holds the decoder's UNet of Kandinsky 2.1 as first released")
    assert all(word in reason for word in ("the prior", "the mean and deviation", "OpenAI's CLIP ViT-L/14"))
    assert all(
        word in reason for word in ("prior_fp16.ckpt or prior.ckpt", "in weights/ there", "folder above")
    )
    assert reason.endswith("--component prior=PATH --component clip_stats=PATH --component clip=PATH")
    assert "MoVQ" not in reason


def test_the_parts_of_other_models_are_told(copied: Originals) -> None:
    main = copied("kandinsky3")
    other = copied("kandinsky21")
    shutil.copy(other / "movq_final.ckpt", main.parent / "movq.pt")

    assert "movq.pt holds the MoVQ of Kandinsky 2.1" in refusal(detect(main))
    wrong = detect(main, components={"movq": main.parent / "flan_ul2_encoder" / "projection.pt"})
    assert "projection.pt, which was given, holds the text projection of Kandinsky 3" in refusal(wrong)
    encoder = detect(main, components={"text_encoder": other / "text_encoder"})
    assert "holds a model of the type 'xlm-roberta', not t5" in refusal(encoder)
    assert "has no such part; it takes text_encoder, movq, projection" in refusal(
        detect(main, components={"unett": main})
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        (b"<!DOCTYPE html><html></html>", "is a web page"),
        (b"GGUF\x03\0\0\0", "is a GGUF file"),
        (b"\0" * 600, "holds nothing but zeros"),
    ],
)
def test_a_damaged_part_says_what_it_is(copied: Originals, content: bytes, words: str) -> None:
    main = copied("kandinsky3")
    (main.parent / "movq.pt").write_bytes(content)

    assert f"the MoVQ (movq.pt {words}" in refusal(detect(main))


def test_a_variant_does_not_take_the_projection_of_another(copied: Originals) -> None:
    main = copied("kandinsky3-flash")
    (main.parent / "flan_ul2_encoder" / "projection_flash.pt").unlink()

    assert "the text projection (projection_flash.pt or" in refusal(detect(main))


def test_a_text_encoder_of_another_width_is_told(copied: Originals) -> None:
    main = copied("kandinsky3")
    config = main.parent / "flan_ul2_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"d_model": 64}))

    assert "projection.pt takes 32 features for each token where flan_ul2_encoder/ makes 64" in refusal(
        detect(main)
    )


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        ("clip-vit-large-patch14/preprocessor_config.json", None, "has no preprocessor_config.json"),
        ("clip-vit-large-patch14/model.safetensors", b"", "model.safetensors is empty"),
        ("text_encoder/pytorch_model.bin", b"<html>", "pytorch_model.bin is a web page"),
    ],
)
def test_what_is_wrong_within_a_part_is_told(
    copied: Originals, part: str, change: bytes | None, words: str
) -> None:
    main = copied("kandinsky21") / "decoder_fp16.ckpt"
    file = main.parent / part
    file.unlink() if change is None else file.write_bytes(change)

    assert words in refusal(detect(main))


def test_a_vae_of_other_latents_is_told(copied: Originals) -> None:
    main = copied("kandinsky5")
    config = main.parent.parent / "vae" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"latent_channels": 4}))

    assert "makes latents of 4 channels, where Flux's makes 16" in refusal(detect(main))


def test_keys_of_a_model_without_its_shapes_end_in_words(tmp_path: Path) -> None:
    names = ("visual_transformer_blocks.0.visual_modulation", "text_transformer_blocks.0.text_modulation")
    tensors = {f"{name}.out_layer.weight": torch.zeros(2, 2) for name in names}
    save_file(tensors, tmp_path / "none.safetensors")
    save_file(tensors | {"visual_embeddings.in_layer.weight": torch.zeros(2)}, tmp_path / "flat.safetensors")

    assert "it lacks the tensor visual_embeddings.in_layer.weight" in refusal(
        detect(tmp_path / "none.safetensors")
    )
    assert "has 1 dimensions instead of 2" in refusal(detect(tmp_path / "flat.safetensors"))


def test_a_folder_of_damaged_files_says_what_they_are(copied: Originals) -> None:
    main = copied("kandinsky3")
    main.write_bytes(b"<html>")

    assert "holds no model: kandinsky3.pt is a web page" in refusal(detect(main.parent.parent))


def test_kandinsky_5_needs_no_room_for_what_stays_where_it_lies(
    copied: Originals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Disk(2**26 + 1000))
    main, cache = copied("kandinsky5"), str(tmp_path / "cache")

    first = loaded(detect(main), cache).pipelines["__call__"].transformer.state_dict()
    tensors = load_file(main)
    prefixed = {f"model.diffusion_model.{name}": value for name, value in tensors.items()}
    save_file(prefixed, main)
    second = loaded(detect(main), cache).pipelines["__call__"].transformer.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


class Disk:
    def __init__(self, free: int) -> None:
        self.free = free


def test_what_a_text_encoder_states_is_part_of_the_key(copied: Originals, tmp_path: Path) -> None:
    main, cache = copied("kandinsky21") / "decoder_fp16.ckpt", str(tmp_path / "cache")
    config = main.parent / "text_encoder" / "config.json"
    before = loaded(detect(main), cache).pipelines["__call__"].text_encoder.config.layer_norm_eps
    config.write_text(json.dumps(json.loads(config.read_text()) | {"layer_norm_eps": 0.5}))
    after = loaded(detect(main), cache).pipelines["__call__"].text_encoder.config.layer_norm_eps

    assert (before, after) == (1e-12, 0.5)


def test_a_part_that_went_after_deployment_is_named(copied: Originals, tmp_path: Path) -> None:
    main = copied("kandinsky3")
    card = detect(main)
    (main.parent / "movq.pt").unlink()

    with pytest.raises(LoadFailed, match=r"movq\.pt\) is not on the machine"):
        loaded(card, str(tmp_path / "cache"))


def test_pickles_are_refused_whatever_the_card_says(copied: Originals, tmp_path: Path) -> None:
    card = detect(copied("kandinsky3")).model_copy(update={"pickled": False})
    options = EngineOptions(device="cpu", cache_folder=str(tmp_path / "cache"), allow_pickles=False)

    with pytest.raises(LoadFailed, match=r"kandinsky3\.pt is a pickle, and KANDINSKY_ALLOW_PICKLES=false"):
        load(card, options, lambda _: None)


def test_a_projection_of_another_width_is_told_before_anything_is_made(copied: Originals) -> None:
    main = copied("kandinsky3")
    projection = main.parent / "flan_ul2_encoder" / "projection.pt"
    tensors = torch.load(projection, weights_only=True)
    torch.save({name: tensor[:16] for name, tensor in tensors.items()}, projection)

    assert "makes 16 features for each token where kandinsky3.pt takes 48" in refusal(detect(main))


@pytest.mark.parametrize(
    ("change", "words"),
    [("lack", "lacks 1 tensor: time_embedding.linear_1.bias"), ("shape", "differs in the shape of 1 tensor")],
)
def test_wrong_tensors_are_told_and_leave_nothing_behind(
    copied: Originals, tmp_path: Path, change: str, words: str
) -> None:
    main = copied("kandinsky3-safetensors")
    tensors = load_file(main)
    name = "to_time_embed.1.bias"
    changed = {key: value for key, value in tensors.items() if key != name}
    save_file(changed if change == "lack" else changed | {name: tensors[name][:-1].clone()}, main)

    with pytest.raises(LoadFailed, match=words):
        loaded(detect(main), str(tmp_path / "cache"))
    assert not [*(tmp_path / "cache" / "converted").glob("[!.]*")]


def test_a_conversion_is_made_once_and_reported(copied: Originals, tmp_path: Path) -> None:
    main, cache = copied("kandinsky3"), str(tmp_path / "cache")
    first: list[LoadProgress] = []
    second: list[LoadProgress] = []

    before = draw(loaded(detect(main), cache, first).pipelines["__call__"])
    moved = main.parent.parent.rename(tmp_path / "moved") / "weights" / main.name
    after = draw(loaded(detect(moved), cache, second).pipelines["__call__"])

    assert before == after
    assert {report.component for report in first if report.phase is LoadPhase.CONVERTING} >= {"unet", "movq"}
    assert not {report.component for report in second if report.phase is LoadPhase.CONVERTING} - {None}
    done = [report.bytes_read for report in first if report.phase is LoadPhase.CONVERTING]
    assert done == sorted(done)
    assert len([*(tmp_path / "cache" / "converted").iterdir()]) == 1
