"""Stable Diffusion and Flux in one file: converted once, they draw what the diffusers folder of them draws."""

from __future__ import annotations

import inspect
import json
import shutil
import socket
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import diffusers.loaders.single_file_utils as single_file_utils
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from engines.calls import EngineOptions, LoadProgress
from engines.card import CheckpointFormat, ModelCard
from engines.conversion import cache
from engines.conversion.flux import transformer
from engines.detection import detect
from engines.errors import LoadFailed
from engines.loading import LoadedModel, load
from tests.engines.test_loading import draw, ignore, stock
from tests.originals import stable_diffusion as originals

State = dict[str, Tensor]
Folders = Callable[[str], Path]

FORMS: Final[Mapping[str, tuple[str, Callable[[Path], State]]]] = {
    "sd15": ("sd15", originals.stable_diffusion),
    "sd2": ("sd2", originals.stable_diffusion_2),
    "sdxl": ("sdxl", originals.stable_diffusion_xl),
    "sd3": ("sd3", partial(originals.stable_diffusion_3, with_text=True)),
    "sd3-without-text": ("sd3", partial(originals.stable_diffusion_3, with_text=False)),
    "flux": ("flux", originals.flux),
    "flux-whole": ("flux", originals.flux_whole),
}
"""By form: the tiny diffusers folder it is of, and what makes the file's tensors of that."""


class Callback:
    """A class that a trainer leaves in its checkpoints."""


@pytest.fixture(scope="session")
def folders(tiny_models: Folders, tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Give a tiny diffusers folder no two of whose tensors are alike: the norms of the others all are."""
    root = tmp_path_factory.mktemp("varied")

    def folder(name: str) -> Path:
        path = root / name
        if not path.exists():
            shutil.copytree(tiny_models(name), path)
            generator = torch.Generator().manual_seed(1)
            for file in sorted(path.glob("*/*.safetensors")):
                _vary(file, generator)
        return path

    return folder


def _vary(file: Path, generator: torch.Generator) -> None:
    tensors = load_file(file)
    for name, tensor in tensors.items():
        # Of the first encoder of Stable Diffusion 3 it is the identity, which no file holds.
        if not (name == "text_projection.weight" and file.parent.name == "text_encoder"):
            tensor += 0.02 * torch.randn(tensor.shape, generator=generator)
    save_file(tensors, file, metadata={"format": "pt"})


@pytest.fixture
def written(folders: Folders, tmp_path: Path) -> Callable[..., Path]:
    """Write a form's file, with tensors changed or added, into an otherwise empty folder."""

    def write(form: str, change: Callable[[State], State] = lambda state: state, name: str = "") -> Path:
        folder, make = FORMS[form]
        path = tmp_path / "models" / (name or f"{form}.safetensors")
        path.parent.mkdir(exist_ok=True)
        save_file(change(make(folders(folder))), path)
        return path

    return write


def options(tmp_path: Path) -> EngineOptions:
    return EngineOptions(device="cpu", threads=1, cache_folder=str(tmp_path / "cache"))


def described(path: Path, config: Path | None = None) -> ModelCard:
    card = detect(path, components={"config": config} if config else {})
    assert card.loadable, card.reason
    return card


def loaded(path: Path, tmp_path: Path, config: Path | None = None) -> LoadedModel:
    return load(described(path, config), options(tmp_path), ignore)


def refusal(path: Path, config: Path | None = None) -> str:
    card = detect(path, components={"config": config} if config else {})
    assert not card.loadable
    assert card.reason is not None
    return card.reason


def failure(path: Path, tmp_path: Path, config: Path) -> str:
    with pytest.raises(LoadFailed) as caught:
        loaded(path, tmp_path, config)
    return caught.value.reason


def entry(tmp_path: Path) -> Path:
    """The one conversion in the cache."""
    (found,) = (tmp_path / "cache" / "converted").iterdir()
    return found


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    files = (file for file in folder.rglob("*") if file.suffix in (".safetensors", ".json"))
    return {file.relative_to(folder).as_posix(): (file.stat().st_ino, file.stat().st_size) for file in files}


def without_weights(folder: Path, to: Path) -> Path:
    ignored = shutil.ignore_patterns("*.safetensors")
    return Path(shutil.copytree(folder, to, ignore=ignored))


def edited(folder: Path, file: str, **values: Any) -> None:
    """Change entries of a JSON file."""
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("form", FORMS)
def test_a_checkpoint_draws_what_its_diffusers_folder_draws(
    written: Callable[..., Path], folders: Folders, tmp_path: Path, form: str
) -> None:
    folder = folders(FORMS[form][0])
    model = loaded(written(form), tmp_path, folder)

    assert draw(model.pipelines["__call__"]) == draw(stock(folder))


@pytest.mark.parametrize("form", FORMS)
def test_the_card_of_a_checkpoint_is_that_of_its_folder(
    written: Callable[..., Path], folders: Folders, form: str
) -> None:
    folder = folders(FORMS[form][0])
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


def test_an_inpainting_checkpoint_inpaints(folders: Folders, tmp_path: Path) -> None:
    folder = folders("sd15-inpainting")
    save_file(originals.stable_diffusion(folder), tmp_path / "inpainting.safetensors")
    model = loaded(tmp_path / "inpainting.safetensors", tmp_path, folder)
    picture = {"image": Image.new("RGB", (64, 64), "teal"), "mask_image": Image.new("L", (64, 64), 255)}

    assert (model.card.pipeline_class, model.card.inpaints) == ("StableDiffusionInpaintPipeline", True)
    assert draw(model.pipelines["__call__"], **picture) == draw(stock(folder), **picture)


def test_a_trainer_s_checkpoint_is_read_without_its_classes(folders: Folders, tmp_path: Path) -> None:
    folder = folders("sd15")
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
    written: Callable[..., Path], folders: Folders, tmp_path: Path, place: str
) -> None:
    path = written("sd15")
    config = without_weights(folders("sd15"), tmp_path / place)

    assert described(path).source("config") == config


def test_of_the_folders_beside_a_file_that_of_its_class_is_taken(
    written: Callable[..., Path], folders: Folders
) -> None:
    path = written("sdxl")
    for name in ("flux", "sd15", "sdxl"):
        without_weights(folders(name), path.parent / f"a {name}")

    assert described(path).source("config") == path.parent / "a sdxl"


def test_a_file_that_holds_all_needs_no_weights_in_its_folder(
    written: Callable[..., Path], folders: Folders, tmp_path: Path
) -> None:
    path = written("sd3")
    without_weights(folders("sd3"), path.parent / "config")

    assert draw(loaded(path, tmp_path).pipelines["__call__"]) == draw(stock(folders("sd3")))


def test_what_a_file_lacks_stays_in_the_folder(
    written: Callable[..., Path], folders: Folders, tmp_path: Path
) -> None:
    loaded(written("flux"), tmp_path, folders("flux"))

    assert {each.name for each in entry(tmp_path).iterdir()} == {"conversion.json", "transformer"}


def test_a_checkpoint_is_converted_once(
    written: Callable[..., Path], folders: Folders, tmp_path: Path
) -> None:
    path = written("sd15")
    loaded(path, tmp_path, folders("sd15"))
    before = snapshot(entry(tmp_path))
    loaded(path, tmp_path, folders("sd15"))

    assert snapshot(entry(tmp_path)) == before


def test_a_safety_checker_that_is_not_asked_for_makes_no_other_conversion(
    folders: Folders, tmp_path: Path
) -> None:
    folder, path = folders("sd15-guarded"), tmp_path / "sd15.safetensors"
    save_file(originals.stable_diffusion(folder), path)
    for moderation in (True, False):
        asked = options(tmp_path).model_copy(update={"moderation": moderation})
        load(described(path, folder), asked, ignore)

    assert entry(tmp_path)


def test_an_interrupted_conversion_goes_on_where_it_was(
    written: Callable[..., Path], folders: Folders, tmp_path: Path
) -> None:
    card = described(written("sdxl"), folders("sdxl"))

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
    written: Callable[..., Path],
    folders: Folders,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spare: int,
    fits: bool,
) -> None:
    path, folder = written("flux"), folders("flux")
    size = next(each.size for each in described(path, folder).components if each.name == "transformer")
    usage = type(shutil.disk_usage(tmp_path))(0, 0, size + 2**26 + spare)
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: usage)

    if fits:
        loaded(path, tmp_path, folder)
    else:
        assert "GiB" in failure(path, tmp_path, folder)


@pytest.mark.parametrize(
    ("form", "stored"), [("sdxl", "float16"), ("sd3", "float16"), ("flux-whole", "bfloat16")]
)
def test_the_file_s_own_dtype_is_kept(
    written: Callable[..., Path], folders: Folders, tmp_path: Path, form: str, stored: str
) -> None:
    dtype = getattr(torch, stored)
    path = written(form, lambda state: {name: value.to(dtype) for name, value in state.items()})
    model = loaded(path, tmp_path, folders(FORMS[form][0]))

    assert model.card.dtype == stored
    for file in entry(tmp_path).glob("*/*.safetensors"):
        assert {tensor.dtype for tensor in load_file(file).values()} == {dtype}, file


@pytest.mark.parametrize("form", ["sdxl", "sd3", "flux-whole"])
def test_weights_of_eight_bits_become_those_of_sixteen(
    written: Callable[..., Path], folders: Folders, tmp_path: Path, form: str
) -> None:
    """As every such value is one of bfloat16, too, a file of those draws the same."""
    eight = {
        name: value.to(torch.float8_e4m3fn) for name, value in FORMS[form][1](folders(FORMS[form][0])).items()
    }
    sixteen = {name: value.bfloat16() for name, value in eight.items()}
    folder = folders(FORMS[form][0])
    models = [
        loaded(written(form, lambda _, state=state: state, f"{number}.safetensors"), tmp_path, folder)
        for number, state in enumerate((eight, sixteen))
    ]

    assert [model.card.size for model in models] == [models[1].card.size] * 2
    assert {each.dtype for each in models[0].card.components if each.size} == {"bfloat16"}
    assert draw(models[0].pipelines["__call__"]) == draw(models[1].pipelines["__call__"])


def test_a_t5_under_either_name_of_its_tokens_is_whole(
    written: Callable[..., Path], folders: Folders, tmp_path: Path
) -> None:
    second = "text_encoders.t5xxl.transformer.encoder.embed_tokens.weight"
    path = written("sd3", lambda state: {name: value for name, value in state.items() if name != second})

    model = loaded(path, tmp_path, folders("sd3"))

    assert draw(model.pipelines["__call__"]) == draw(stock(folders("sd3")))


def test_nothing_is_asked_of_the_network(
    written: Callable[..., Path], folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was opened")

    path = written("sdxl")
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")

    assert "are missing" in refusal(path)
    assert loaded(path, tmp_path, folders("sdxl")).pipelines


def test_flux_is_converted_as_diffusers_converts_it(folders: Folders) -> None:
    """diffusers' own code, with the width of the tiny one: it is written into the function."""
    state = originals.flux(folders("flux"))
    config = json.loads((folders("flux") / "transformer" / "config.json").read_text())
    source = inspect.getsource(single_file_utils.convert_flux_transformer_checkpoint_to_diffusers)
    names: dict[str, Any] = {"torch": torch}
    exec(source.replace("inner_dim = 3072", "inner_dim = 32"), names)
    expected = names["convert_flux_transformer_checkpoint_to_diffusers"](dict(state))
    made = transformer(state, config).tensors

    assert set(made) == set(expected)
    assert all(torch.equal(made[name], expected[name]) for name in expected)


def test_without_a_configuration_it_says_what_is_needed(written: Callable[..., Path]) -> None:
    reason = refusal(written("sdxl"))

    assert "holds Stable Diffusion XL without its configuration" in reason
    assert "any diffusers folder of a StableDiffusionXLPipeline" in reason
    assert "--component config=PATH" in reason


@pytest.mark.parametrize(
    ("form", "other", "words"),
    [
        ("sd15", "sdxl", "is the folder of a StableDiffusionXLPipeline, not of a StableDiffusionPipeline"),
        ("sd15", "sd2", "the unet's cross_attention_dim is 48 there and 32 in the file"),
        ("sd2", "sd15", "the unet's cross_attention_dim is 32 there and 48 in the file"),
        ("flux", "kandinsky3", "is the folder of a Kandinsky3Pipeline, not of a FluxPipeline"),
    ],
)
def test_the_folder_of_another_model_is_refused(
    written: Callable[..., Path], tiny_models: Folders, form: str, other: str, words: str
) -> None:
    assert words in refusal(written(form), tiny_models(other))


@pytest.mark.parametrize(
    ("form", "file", "values", "words"),
    [
        ("flux", "transformer/config.json", {"guidance_embeds": False}, "guidance_embeds is False there and"),
        ("flux", "transformer/config.json", {"num_layers": 19}, "num_layers is 19 there and 1 in the file"),
        ("sd3", "transformer/config.json", {"pos_embed_max_size": 96}, "pos_embed_max_size is 96 there"),
        ("sd15", "unet/config.json", {"in_channels": 9}, "in_channels is 9 there and 4 in the file"),
        ("sd15", "model_index.json", {"vae": ["diffusers", "AutoencoderTiny"]}, "has a AutoencoderTiny"),
    ],
)
def test_a_configuration_of_another_variant_is_refused(
    written: Callable[..., Path], folders: Folders, form: str, file: str, values: dict[str, Any], words: str
) -> None:
    path = written(form)
    config = without_weights(folders(FORMS[form][0]), path.parent / "config")
    shutil.copytree(folders(FORMS[form][0]), config, dirs_exist_ok=True)
    edited(config, file, **values)

    assert words in refusal(path)


def test_a_model_trained_for_velocity_needs_a_scheduler_that_predicts_it(
    written: Callable[..., Path], folders: Folders
) -> None:
    path = written("sdxl", lambda state: {**state, "v_pred": torch.empty(0)})
    config = without_weights(folders("sdxl"), path.parent / "config")

    assert "prediction_type is not the file's v_prediction" in refusal(path)
    edited(config, "scheduler/scheduler_config.json", prediction_type="v_prediction")
    assert described(path)


def test_what_neither_the_file_nor_its_folder_holds_is_named(
    written: Callable[..., Path], folders: Folders
) -> None:
    path = written("flux")
    without_weights(folders("flux"), path.parent / "config")

    assert "config has no weights for text_encoder (CLIPTextModel), which the file does not hold" in refusal(
        path
    )


@pytest.mark.parametrize(
    ("form", "gone", "component"),
    [
        ("sd15", "model.diffusion_model.middle_block.1.norm.weight", "unet"),
        ("sd15", "first_stage_model.decoder.norm_out.bias", "vae"),
        ("sdxl", "conditioner.embedders.1.model.transformer.resblocks.1.ln_2.bias", "text_encoder_2"),
        ("sd3", "model.diffusion_model.joint_blocks.1.x_block.mlp.fc2.bias", "transformer"),
        ("sd3", "text_encoders.t5xxl.transformer.encoder.final_layer_norm.weight", "text_encoder_3"),
        ("flux", "single_blocks.0.linear2.bias", "transformer"),
    ],
)
def test_a_file_that_lacks_a_tensor_names_the_component(
    written: Callable[..., Path], folders: Folders, tmp_path: Path, form: str, gone: str, component: str
) -> None:
    def without(state: State) -> State:
        del state[gone]
        return state

    reason = failure(written(form, without), tmp_path, folders(FORMS[form][0]))

    assert component in reason
    assert "lacks" in reason or gone.removeprefix("model.diffusion_model.") in reason


def test_a_file_with_more_layers_than_its_configuration_is_refused(
    written: Callable[..., Path], folders: Folders, tmp_path: Path
) -> None:
    extra = {"model.diffusion_model.middle_block.1.transformer_blocks.1.norm1.weight": torch.ones(64)}
    path = written("sd15", lambda state: {**state, **extra})

    assert "does not hold the unet that sd15/unet/config.json describes" in failure(
        path, tmp_path, folders("sd15")
    )


@pytest.mark.parametrize("form", ["sd15", "flux"])
def test_a_truncated_checkpoint_says_so(written: Callable[..., Path], folders: Folders, form: str) -> None:
    path = written(form)
    path.write_bytes(path.read_bytes()[:-8])

    assert "truncated" in refusal(path, folders(FORMS[form][0]))


@pytest.mark.parametrize(
    ("form", "key", "words"),
    [
        ("flux", "scaled_fp8", "the transformer in the file is quantised"),
        ("sd15", "model.diffusion_model.out.2.weight.absmax", "the unet in the file is quantised"),
    ],
)
def test_a_quantised_checkpoint_says_so(
    written: Callable[..., Path], folders: Folders, form: str, key: str, words: str
) -> None:
    path = written(form, lambda state: {**state, key: torch.ones(1)})

    assert words in refusal(path, folders(FORMS[form][0]))


@pytest.mark.parametrize(
    ("channels", "words"),
    [(8, "edit by instruction"), (7, "an upscaler"), (5, "a depth map"), (6, "of 6 input")],
)
def test_a_unet_of_other_inputs_says_what_it_is_for(
    written: Callable[..., Path], folders: Folders, channels: int, words: str
) -> None:
    first = "model.diffusion_model.input_blocks.0.0.weight"
    path = written("sd15", lambda state: {**state, first: torch.zeros(32, channels, 3, 3)})

    assert words in refusal(path, folders("sd15"))


def test_old_names_of_a_text_encoder_are_refused(written: Callable[..., Path], folders: Folders) -> None:
    """diffusers would take the folder's weights in its place, and say nothing."""
    path = written(
        "sd15",
        lambda state: {
            name.replace("transformer.text_model.", "transformer."): value for name, value in state.items()
        },
    )

    assert "the text_encoder in the file has names that diffusers does not read" in refusal(
        path, folders("sd15")
    )


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (
            ["conditioner.embedders.0.model.ln_final.weight", "model.diffusion_model.x"],
            "the refiner of Stable",
        ),
        (["control_model.input_blocks.0.0.weight", "cond_stage_model.x"], "a ControlNet"),
        (["input_hint_block.0.weight", "input_blocks.0.0.weight"], "a ControlNet"),
        (["lora_unet_down_blocks_0.lora_up.weight"], "a LoRA"),
        (["double_blocks.0.img_attn.qkv.lora_A.weight"], "a LoRA"),
        (["decoder.mid.attn_1.q.weight", "encoder.conv_in.weight"], "an autoencoder alone"),
        (["first_stage_model.decoder.mid.attn_1.q.weight"], "an autoencoder alone"),
        (["model.diffusion_model.input_blocks.0.0.weight"], "a UNet alone"),
        (["text_encoders.clip_l.transformer.text_model.encoder.layers.0.x"], "a CLIP encoder alone"),
        (["double_blocks.0.img_attn.qkv.weight", "distilled_guidance_layer.in_proj.bias"], "Chroma"),
        (["double_blocks.0.img_attn.qkv.weight", "double_stream_modulation_img.lin.weight"], "Flux 2"),
    ],
)
def test_what_is_no_checkpoint_of_a_model_says_what_it_is(
    tmp_path: Path, keys: list[str], words: str
) -> None:
    path = tmp_path / "file.safetensors"
    save_file({key: torch.zeros(2, 4) for key in keys}, path)

    assert words in refusal(path)


def test_a_gguf_says_so(tmp_path: Path) -> None:
    (tmp_path / "flux1-dev-Q4.gguf").write_bytes(b"GGUF" + bytes(64))

    assert "is a GGUF file" in refusal(tmp_path / "flux1-dev-Q4.gguf")
