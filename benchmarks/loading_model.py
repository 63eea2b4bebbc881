"""A model of Kandinsky 3's shape in 16 bits with random weights, in every form that it is loaded from."""

from __future__ import annotations

import json
import math
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from engines.conversion.cache import Cache
from engines.conversion.converting import Tally
from engines.conversion.files import write_json
from engines.conversion.original import convert_original
from engines.conversion.reading import map_safetensors
from engines.conversion.writing import write_safetensors
from engines.detection import detect
from engines.packing import write_pack

_PIECES: Final = 32000
_POOL: Final = 2**22
_INDEX: Final[Mapping[str, Any]] = {
    "_class_name": "Kandinsky3Pipeline",
    "tokenizer": ["transformers", "T5Tokenizer"],
    "text_encoder": ["transformers", "T5EncoderModel"],
    "unet": ["diffusers", "Kandinsky3UNet"],
    "scheduler": ["diffusers", "DDPMScheduler"],
    "movq": ["diffusers", "VQModel"],
}


class RandomWeights(Mapping[str, torch.Tensor]):
    """Random tensors in 16 bits by name, each made when it is asked for, the same one every time."""

    def __init__(self, shapes: Mapping[str, torch.Size], dtype: torch.dtype) -> None:
        self._shapes = shapes
        self._pool = (0.02 * torch.randn(_POOL, generator=torch.Generator().manual_seed(0))).to(dtype)

    def __getitem__(self, name: str) -> torch.Tensor:
        shape = self._shapes[name]
        count = math.prod(shape)
        whole = self._pool if count <= _POOL else self._pool.repeat(count // _POOL + 1)
        start = zlib.crc32(name.encode()) % (len(whole) - count + 1)
        return whole[start : start + count].view(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)


@dataclass(frozen=True)
class Forms:
    """One model in the three forms."""

    root: Path

    @property
    def folder(self) -> Path:
        """As diffusers stores it."""
        return self.root / "diffusers"

    @property
    def pack(self) -> Path:
        """As one file."""
        return self.root / "packed.safetensors"

    @property
    def original(self) -> Path:
        """As released; the name of its main file."""
        return self.root / "original" / "weights" / "kandinsky3.pt"


def make(root: Path, size_gb: float, dtype: str = "float16") -> Forms:
    """Write a model of about ``size_gb`` (10**9 bytes of weights) in all forms, unless it is there."""
    forms, note = Forms(root), root / "made.json"
    if note.is_file() and json.loads(note.read_bytes()) == {"size_gb": size_gb, "dtype": dtype}:
        return forms
    shutil.rmtree(root, ignore_errors=True)
    _write_original(forms.original, size_gb, getattr(torch, dtype))
    _write_folder(forms)
    _write_pack(forms)
    write_json(note, {"size_gb": size_gb, "dtype": dtype})
    return forms


def _write_original(main: Path, size_gb: float, dtype: torch.dtype) -> None:
    """kandinsky3.pt, movq.pt, flan_ul2_encoder/: half the bytes are the UNet's, half the text encoder's."""
    from transformers import T5Config, T5EncoderModel

    from tests.originals import kandinsky3_unet, movq

    count = size_gb * 1e9 / 4
    # Both grow with the square of their width; 3.06 and 8.6 billion parameters are the released sizes.
    wide, deep = (count / 3.06e9) ** 0.5, (count / 8.6e9) ** 0.5
    context, width = _multiple(4096 * wide), _multiple(4096 * deep)
    size = kandinsky3_unet.Size(
        widths=[_multiple(each * wide) for each in (384, 768, 1536, 3072)],
        time_width=_multiple(1536 * wide),
        context_width=context,
    )
    config = T5Config(
        vocab_size=_PIECES + 128,
        d_model=width,
        d_kv=max(8, width // 16),
        d_ff=4 * width,
        num_layers=32 if size_gb > 0.1 else 2,
        num_heads=16,
        is_encoder_decoder=False,
        feed_forward_proj="gated-gelu",
    )
    with torch.device("meta"):
        unet = kandinsky3_unet.UNet(size).state_dict()
        autoencoder = movq.kandinsky3(channels=_multiple(256 * wide, 32)).state_dict()
        projection = kandinsky3_unet.text_projection(width, context).state_dict()
        encoder = T5EncoderModel(config).state_dict()
    encoder.pop("encoder.embed_tokens.weight", None)
    texts = main.parent / "flan_ul2_encoder"
    _write_pickle(main, {"unet": unet, "null_embedding": torch.empty(context, device="meta")}, dtype)
    _write_pickle(main.parent / "movq.pt", autoencoder, dtype)
    _write_pickle(texts / "projection.pt", projection, dtype)
    _write_weights(texts / "model.safetensors", encoder, dtype)
    config.save_pretrained(texts)
    _tokenizer().save_pretrained(texts)


def _multiple(value: float, of: int = 64) -> int:
    return of * max(1, round(value / of))


def _tokenizer() -> Any:
    from transformers import T5Tokenizer

    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces = [(f"▁{rank:x}", -2.0 - rank * 1e-4) for rank in range(_PIECES - len(special))]
    return T5Tokenizer(vocab=special + pieces, model_max_length=512)


def _write_weights(path: Path, shaped: Mapping[str, torch.Tensor], dtype: torch.dtype) -> None:
    weights = RandomWeights({name: tensor.shape for name, tensor in shaped.items()}, dtype)
    write_safetensors(path, weights, metadata={"format": "pt"}, report=lambda _: None)


def _write_pickle(path: Path, tree: Mapping[str, Any], dtype: torch.dtype) -> None:
    """Write random tensors of a tree's shapes as ``torch.save`` does, by way of a mapped file."""
    flat: dict[str, torch.Tensor] = {}
    for name, value in tree.items():
        flat |= (
            {f"{name}.{key}": inner for key, inner in value.items()}
            if isinstance(value, dict)
            else {name: value}
        )
    scratch = path.with_suffix(".scratch")
    _write_weights(scratch, flat, dtype)
    mapped = map_safetensors(scratch)
    content = {
        name: {key: mapped[f"{name}.{key}"] for key in value} if isinstance(value, dict) else mapped[name]
        for name, value in tree.items()
    }
    torch.save(content, path)
    scratch.unlink()


def _write_folder(forms: Forms) -> None:
    """What the engines' own conversion makes of the originals, and links to the text encoder's files."""
    convert_original(detect(forms.original), forms.folder, Tally(1, lambda _: None))
    for source in (forms.original.parent / "flan_ul2_encoder").iterdir():
        place = "text_encoder" if source.name in ("config.json", "model.safetensors") else "tokenizer"
        (forms.folder / place).mkdir(exist_ok=True)
        if source.suffix != ".pt":
            os.link(source, forms.folder / place / source.name)
    write_json(forms.folder / "model_index.json", _INDEX)


def _write_pack(forms: Forms) -> None:
    cache = Cache(forms.root / "cache")
    write_pack(
        detect(forms.folder),
        forms.pack,
        cache,
        pickles=True,
        on_conversion=lambda _: None,
        on_bytes=lambda _: None,
    )
