"""A single checkpoint of Stable Diffusion or Flux made into a diffusers folder, by diffusers itself."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from engines.card import CheckpointFormat, ModelCard
from engines.conversion.converting import Tally
from engines.conversion.reading import open_tensors
from engines.conversion.writing import write_safetensors
from engines.errors import NotLoadable
from engines.formats import checkpoints, weights
from engines.formats.weights import Weights


def convert_checkpoint(card: ModelCard, folder: Path, tally: Tally) -> None:
    """Write the components that a checkpoint holds into a folder, with the small files of its own.

    Components whose weights are in the folder of the configuration stay there.

    Raises:
        NotLoadable: diffusers makes no pipeline of it.
    """
    import diffusers
    import torch

    path = Path(card.path)
    stored = weights.read(path)
    held = checkpoints.held_by(card.pipeline_class or "", stored)
    absent = {
        component.name: None for component in card.components if component.size and component.name not in held
    }
    kind: Any = getattr(diffusers, card.pipeline_class or "")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch:
        pipeline = kind.from_single_file(
            str(_as_safetensors(path, stored, Path(scratch))),
            config=str(checkpoints.config_folder(card)),
            dtype=getattr(torch, card.dtype or "float32"),
            local_files_only=True,
            **absent,
            **_unused(kind, card),
        )
        _require_filled(card, pipeline)
        for name in held:
            tally.component = name
            module = getattr(pipeline, name)
            module.save_pretrained(folder / name)
            tally.add(sum(tensor.nbytes for tensor in module.state_dict().values()))


def _as_safetensors(path: Path, stored: Weights, scratch: Path) -> Path:
    """The file itself; a pickle's tensors in a file that executes nothing, whoever reads it."""
    if stored.format is CheckpointFormat.SAFETENSORS_FILE:
        return path
    file = scratch / f"{path.stem}.safetensors"
    write_safetensors(file, open_tensors(path), metadata={"format": "pt"}, report=lambda _: None)
    return file


def _unused(kind: Any, card: ModelCard) -> dict[str, None]:
    """Optional components that the model does without."""
    there = {component.name for component in card.components}
    return {name: None for name in kind._optional_components if name not in there}


def _require_filled(card: ModelCard, pipeline: Any) -> None:
    for name, module in pipeline.components.items():
        parameters = module.parameters() if hasattr(module, "parameters") else ()
        if any(parameter.device.type == "meta" for parameter in parameters):
            raise NotLoadable(card.name, f"{Path(card.path).name} lacks weights of its component {name}")
