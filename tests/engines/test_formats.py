"""Single weight files: what they hold is told without loading or executing them."""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from engines.card import CheckpointFormat, Family, ModelCard, Part
from engines.detection import detect, find_models
from engines.formats import weights

RAW_3 = ("feature_pooling.attention.to_query.weight", "down_samples.0.resnet_attn_blocks.0.0.x.weight")
RAW_2_1 = ("clip_to_seq.weight", "to_model_dim_n.weight", "input_blocks.0.0.weight")
RAW_2_1_PRIOR = ("model.clip_img_proj.weight", "model.prd_emb", "model.text_enc_proj.weight")
RAW_3_MOVQ = ("encoder.mid.block_1.norm1.norm_layer.weight", "decoder.mid.block_1.norm1.conv_y.weight")
MOVQ = ("decoder.mid_block.resnets.0.norm1.conv_y.weight", "quantize.embedding.weight")
STABLE_DIFFUSION = (
    "cond_stage_model.a",
    "first_stage_model.decoder.conv_in.weight",
    "model.diffusion_model.b",
)


def state(*names: str, dtype: torch.dtype = torch.float16) -> OrderedDict[str, Any]:
    return OrderedDict((name, torch.zeros(2, 3, dtype=dtype)) for name in names)


def refusal(card: ModelCard) -> str:
    assert not card.loadable
    assert card.reason is not None
    return card.reason


class Trap:
    """A pickle of it writes a file when it is loaded."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.file, "sprung")


@pytest.mark.parametrize(
    ("keys", "family", "part", "words"),
    [
        (RAW_3, Family.KANDINSKY_3, Part.COMPONENT, "parts of the model are missing: the T5 text encoder"),
        (RAW_2_1, Family.KANDINSKY_2_1, Part.DECODER, "parts of the model are missing: the prior"),
        (RAW_2_1_PRIOR, Family.KANDINSKY_2_1, Part.PRIOR, "give the decoder's (decoder_fp16.ckpt) instead"),
        (RAW_3_MOVQ, Family.KANDINSKY_3, Part.COMPONENT, "one part of the model: give the UNet's"),
        (MOVQ, Family.KANDINSKY_2_2, Part.COMPONENT, "it belongs into movq/ of a diffusers folder"),
        (STABLE_DIFFUSION, Family.DIFFUSERS, Part.WHOLE, "the file lacks input_blocks.0.0.weight"),
    ],
)
@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_single_file_is_told_by_its_tensors(
    tmp_path: Path, suffix: str, keys: tuple[str, ...], family: Family, part: Part, words: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    save_file(state(*keys), path) if suffix == ".safetensors" else torch.save(state(*keys), path)

    card = detect(path)

    assert (card.family, card.part, card.dtype, card.size) == (family, part, "float16", 12 * len(keys))
    assert words in refusal(card)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (("lora_unet_down.lora_down.weight", "lora_unet_down.lora_up.weight"), "is a LoRA"),
        (("unet.attn.lora_A.weight", "unet.attn.lora_B.weight"), "is a LoRA"),
        (("string_to_param",), "is a textual inversion"),
        (("control_model.input_blocks.0.0.weight",), "is a ControlNet"),
        (("image_proj.proj.weight", "ip_adapter.1.to_k_ip.weight"), "is an IP-Adapter"),
        (("text_model.encoder.layers.0.mlp.fc1.weight",), "is a CLIP encoder alone"),
        (("encoder.block.0.layer.0.SelfAttention.q.weight",), "is a T5 text encoder alone"),
        (("down_blocks.0.resnets.0.conv1.weight",), "is a denoiser as diffusers stores it"),
        (("fc.weight",), "not those of a model known here"),
    ],
)
def test_what_is_no_model_says_what_it_is(tmp_path: Path, keys: tuple[str, ...], words: str) -> None:
    save_file(state(*keys), tmp_path / "file.safetensors")

    assert words in refusal(detect(tmp_path / "file.safetensors"))
    assert find_models(tmp_path) == []


@pytest.mark.parametrize(
    ("model", "file", "family"),
    [
        ("kandinsky3", "unet", Family.KANDINSKY_3),
        ("kandinsky5", "transformer", Family.KANDINSKY_5),
        ("kandinsky21", "unet", Family.KANDINSKY_2_1),
        ("kandinsky22", "unet", Family.KANDINSKY_2_2),
    ],
)
def test_a_diffusers_component_is_told_by_its_tensors(
    tiny_models: Callable[[str], Path], model: str, file: str, family: Family
) -> None:
    path = tiny_models(model) / file / "diffusion_pytorch_model.safetensors"

    assert detect(path).family is family


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("kandinsky3-1", Family.KANDINSKY_3),
        ("movq-v3", Family.KANDINSKY_3),
        ("kandinsky-2.1-movq", Family.KANDINSKY_2_1),
        ("kandinsky_movq", Family.KANDINSKY_2_2),
    ],
)
def test_the_name_decides_where_families_share_their_tensors(
    tmp_path: Path, name: str, family: Family
) -> None:
    torch.save(state(*MOVQ), tmp_path / f"{name}.ckpt")

    assert detect(tmp_path / f"{name}.ckpt").family is family


@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_are_listed_from_under_a_trainer_s_state(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "wrapped.pt"
    inner = state(*RAW_3) | {"bias": torch.nn.Parameter(torch.zeros(5)), "b": torch.zeros(7).bfloat16()}
    torch.save(
        {"epoch": 3, "unet": inner, "optimizer": {"lr": 1e-3}}, path, _use_new_zipfile_serialization=zipped
    )

    found = weights.read(path)

    assert (found.format, found.wrapper) == (CheckpointFormat.PICKLE_FILE, "unet")
    assert {name: (tensor.dtype, tensor.shape) for name, tensor in found.tensors.items()} == {
        name: (str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))
        for name, tensor in inner.items()
    }


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_nothing_in_a_checkpoint_is_executed(tmp_path: Path, zipped: bool, protocol: int) -> None:
    sprung = tmp_path / "sprung"
    torch.save(
        {"state_dict": state(*RAW_3), "callbacks": Trap(sprung)},
        tmp_path / "trap.ckpt",
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=zipped,
    )

    assert detect(tmp_path / "trap.ckpt").family is Family.KANDINSKY_3
    assert not sprung.exists()


def test_a_bare_pickle_is_not_executed(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    (tmp_path / "trap.pt").write_bytes(pickle.dumps(Trap(sprung)))

    assert "holds no tensors" in refusal(detect(tmp_path / "trap.pt"))
    assert not sprung.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<html><body>Not found</body></html>", "web page"),
        (b"no checkpoint at all", "neither"),
        (b"PK\x03\x04 and no directory", "truncated or damaged"),
        # A length of 2**63 - 1 bytes, and a memo at 2**31.
        (b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f", "damaged"),
        (b"\x80\x02Nr\xff\xff\xff\x7f.", "no tensors"),
        (struct.pack("<Q", 99_000_000) + b'{"a":', "truncated within its header"),
        (struct.pack("<Q", 8) + b'{"a": 1}', "damaged"),
    ],
)
def test_what_is_no_checkpoint_says_so(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "kandinsky3.ckpt"
    path.write_bytes(content)
    card = detect(path)

    assert card.family is Family.KANDINSKY_3
    assert words in refusal(card)


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_truncated_checkpoint_says_so(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut{suffix}"
    save_file(state(*RAW_3), path) if suffix == ".safetensors" else torch.save(state(*RAW_3), path)
    path.write_bytes(path.read_bytes()[:-8])

    assert "truncated" in refusal(detect(path))


def test_only_known_files_are_found_below_a_folder(tmp_path: Path) -> None:
    torch.save(state(*RAW_3), tmp_path / "kandinsky3.ckpt")
    torch.save(state("some.lora"), tmp_path / "style.pt")

    assert [card.name for card in find_models(tmp_path)] == ["kandinsky3"]
