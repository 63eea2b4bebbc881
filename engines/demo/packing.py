"""Packs a trained pipeline for the repository: 16-bit weights, within a size."""

import json
import shutil
from pathlib import Path

import torch

from engines.demo.networks import load_pipeline

SIZE_LIMIT = 12_000_000
"""What the whole folder may take, in bytes."""


class TooLarge(Exception):
    """A packed model takes more room than it may; ``size`` and ``limit`` are in bytes."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(size, limit)
        self.size, self.limit = size, limit

    def __str__(self) -> str:
        return f"the packed model takes {self.size} bytes; {self.limit} are allowed"


def folder_size(folder: Path) -> int:
    """Returns the bytes that all files of a folder take."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _forget_origin(config: Path) -> None:
    """Takes out the folder that diffusers notes as a model's origin: it means nothing elsewhere."""
    settings = json.loads(config.read_text("utf-8"))
    if isinstance(settings, dict) and settings.pop("_name_or_path", None) is not None:
        config.write_text(json.dumps(settings, indent=2) + "\n", "utf-8")


def pack(source: Path, target: Path) -> int:
    """Writes a pipeline with 16-bit UNet and autoencoder into ``target`` and returns its size in bytes.

    Files already in ``target`` that are not the pipeline's stay. The text encoder keeps 32 bits: transformers
    would else load it in 16 while diffusers widens the rest, and a plain ``from_pretrained`` could not run.
    Raises ``TooLarge``.
    """
    pipeline = load_pipeline(source)
    pipeline.unet.to(torch.float16)
    pipeline.movq.to(torch.float16)
    for part in ("unet", "movq", "text_encoder", "tokenizer", "scheduler"):
        shutil.rmtree(target / part, ignore_errors=True)
    pipeline.save_pretrained(target)
    for config in target.rglob("*.json"):
        _forget_origin(config)
    size = folder_size(target)
    if size > SIZE_LIMIT:
        raise TooLarge(size, SIZE_LIMIT)
    return size
