"""Single files that cannot be served, or not so: what they are, and what they need, in words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.engines.checkpoint_files import (
    FORMS,
    Folders,
    State,
    Written,
    described,
    failure,
    refusal,
    without_weights,
)


def edited(folder: Path, file: str, **values: Any) -> None:
    """Change entries of a JSON file."""
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_without_a_configuration_it_says_what_is_needed(written: Written) -> None:
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
    written: Written, tiny_models: Folders, form: str, other: str, words: str
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
    written: Written, varied_models: Folders, form: str, file: str, values: dict[str, Any], words: str
) -> None:
    path = written(form)
    config = without_weights(varied_models(FORMS[form][0]), path.parent / "config")
    shutil.copytree(varied_models(FORMS[form][0]), config, dirs_exist_ok=True)
    edited(config, file, **values)

    assert words in refusal(path)


def test_a_model_trained_for_velocity_needs_a_scheduler_that_predicts_it(
    written: Written, varied_models: Folders
) -> None:
    path = written("sdxl", lambda state: {**state, "v_pred": torch.empty(0)})
    config = without_weights(varied_models("sdxl"), path.parent / "config")

    assert "prediction_type is not the file's v_prediction" in refusal(path)
    edited(config, "scheduler/scheduler_config.json", prediction_type="v_prediction")
    assert described(path)


def test_what_neither_the_file_nor_its_folder_holds_is_named(
    written: Written, varied_models: Folders
) -> None:
    path = written("flux")
    without_weights(varied_models("flux"), path.parent / "config")

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
    written: Written, varied_models: Folders, tmp_path: Path, form: str, gone: str, component: str
) -> None:
    def without(state: State) -> State:
        del state[gone]
        return state

    reason = failure(written(form, without), tmp_path, varied_models(FORMS[form][0]))

    assert component in reason
    assert "lacks" in reason or gone.removeprefix("model.diffusion_model.") in reason


def test_a_file_with_more_layers_than_its_configuration_is_refused(
    written: Written, varied_models: Folders, tmp_path: Path
) -> None:
    extra = {"model.diffusion_model.middle_block.1.transformer_blocks.1.norm1.weight": torch.ones(64)}
    path = written("sd15", lambda state: {**state, **extra})

    assert "does not hold the unet that sd15/unet/config.json describes" in failure(
        path, tmp_path, varied_models("sd15")
    )


@pytest.mark.parametrize("form", ["sd15", "flux"])
def test_a_truncated_checkpoint_says_so(written: Written, varied_models: Folders, form: str) -> None:
    path = written(form)
    path.write_bytes(path.read_bytes()[:-8])

    assert "truncated" in refusal(path, varied_models(FORMS[form][0]))


@pytest.mark.parametrize(
    ("form", "key", "words"),
    [
        ("flux", "scaled_fp8", "the transformer in the file is quantised"),
        ("sd15", "model.diffusion_model.out.2.weight.absmax", "the unet in the file is quantised"),
    ],
)
def test_a_quantised_checkpoint_says_so(
    written: Written, varied_models: Folders, form: str, key: str, words: str
) -> None:
    path = written(form, lambda state: {**state, key: torch.ones(1)})

    assert words in refusal(path, varied_models(FORMS[form][0]))


@pytest.mark.parametrize(
    ("channels", "words"),
    [(8, "edit by instruction"), (7, "an upscaler"), (5, "a depth map"), (6, "of 6 input")],
)
def test_a_unet_of_other_inputs_says_what_it_is_for(
    written: Written, varied_models: Folders, channels: int, words: str
) -> None:
    first = "model.diffusion_model.input_blocks.0.0.weight"
    path = written("sd15", lambda state: {**state, first: torch.zeros(32, channels, 3, 3)})

    assert words in refusal(path, varied_models("sd15"))


def test_old_names_of_a_text_encoder_are_refused(written: Written, varied_models: Folders) -> None:
    """diffusers would take the folder's weights in its place, and say nothing."""
    path = written(
        "sd15",
        lambda state: {
            name.replace("transformer.text_model.", "transformer."): value for name, value in state.items()
        },
    )

    assert "the text_encoder in the file has names that diffusers does not read" in refusal(
        path, varied_models("sd15")
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
