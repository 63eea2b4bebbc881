"""A single checkpoint of Stable Diffusion or Flux made into a diffusers folder, mostly by diffusers itself.

What ``from_single_file`` of a pipeline does for each component, one component at a time and without its
ways out: to the hub for a configuration, and to the folder's weights for tensors that it does not find.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from engines.card import Component, ModelCard
from engines.conversion import flux
from engines.conversion.converting import Tally
from engines.conversion.files import write_json
from engines.conversion.reading import open_tensors
from engines.conversion.writing import WEIGHTS, write_safetensors
from engines.errors import NotLoadable
from engines.formats import checkpoints, content
from engines.formats.checkpoint_parts import DENOISER, names_by_component
from engines.wording import described

_FLUX: Final = "FluxTransformer2DModel"
_DENOISERS: Final = ("unet", "transformer")


def convert_checkpoint(card: ModelCard, folder: Path, tally: Tally) -> None:
    """Write the components that a checkpoint holds into a folder, each in the type that the file has.

    Components whose weights are in the folder of the configuration stay there. One that is there already
    is complete, and left alone. No more than one is in memory at a time, that of Flux not at all.

    Raises:
        NotLoadable: a component is not what its configuration says.
    """
    left = [
        component
        for component in checkpoints.written(card).values()
        if not (folder / component.name / "config.json").is_file()
    ]
    if not left:
        return
    tensors = open_tensors(Path(card.path))
    names = names_by_component(card.pipeline_class or "", tensors)
    config = checkpoints.config_folder(card)
    for component in left:
        tally.component = component.name
        own = {read_as: tensors[stored] for stored, read_as in names[component.name].items()}
        if component.class_name == _FLUX:
            _write_flux(component, own, config, folder / component.name, tally)
        else:
            _write_module(_module(card, component, own, config), folder / component.name, tally)


class _Cast(Mapping[str, torch.Tensor]):
    """Tensors of one type, each made when it is asked for."""

    def __init__(self, tensors: Mapping[str, torch.Tensor], dtype: torch.dtype) -> None:
        self._tensors = tensors
        self._dtype = dtype

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._tensors[name].to(self._dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def _write_flux(
    component: Component, tensors: Mapping[str, torch.Tensor], config: Path, target: Path, tally: Tally
) -> None:
    bare = {name.removeprefix(DENOISER): tensor for name, tensor in tensors.items()}
    made = flux.transformer(bare, content.read_object(config / component.name / "config.json"))
    typed = _Cast(made.tensors, _dtype(component))
    write_safetensors(target / WEIGHTS["diffusers"], typed, metadata={"format": "pt"}, report=tally.add)
    write_json(target / "config.json", {**made.config, "_class_name": made.class_name})


def _module(card: ModelCard, component: Component, tensors: dict[str, torch.Tensor], config: Path) -> Any:
    """The component as diffusers makes it, complete."""
    from diffusers import pipelines
    from diffusers.loaders import single_file

    convert: Any = single_file.load_single_file_sub_model
    stored = sum(tensor.numel() for tensor in tensors.values())
    with _translated(card, component):
        module: Any = convert(
            library_name=component.library,
            class_name=component.class_name,
            name=component.name,
            checkpoint=tensors,
            pipelines=pipelines,
            is_pipeline_module=False,
            cached_model_config_path=str(config),
            torch_dtype=_dtype(component),
            local_files_only=True,
        )
        # A T5's table of tokens has two names, of which files have one and diffusers fills one.
        if hasattr(module, "tie_weights"):
            module.tie_weights()
        state = module.state_dict()
        missing = [name for name, tensor in state.items() if tensor.is_meta]
        if missing:
            raise _unlike(card, component, f"the file lacks {len(missing)} of its tensors: {missing[0]} …")
        # What diffusers has no place for it leaves out.
        if component.name in _DENOISERS and sum(tensor.numel() for tensor in state.values()) < stored:
            raise _unlike(card, component, "the file holds more than that")
        return module.to(_dtype(component))


def _write_module(module: Any, target: Path, tally: Tally) -> None:
    """Write a component's folder, whole or not at all: the libraries write config.json first."""
    partial = target.with_name(f".{target.name}.partial")
    for left in (partial, target):
        shutil.rmtree(left, ignore_errors=True)
    module.save_pretrained(partial)
    partial.rename(target)
    tally.add(sum(tensor.nbytes for tensor in module.state_dict().values()))


def _dtype(component: Component) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, component.dtype or "float32")
    return dtype


@contextmanager
def _translated(card: ModelCard, component: Component) -> Iterator[None]:
    """Turn what diffusers and transformers raise on tensors that they did not expect into words."""
    from diffusers.loaders.single_file_utils import SingleFileComponentError

    try:
        yield
    except NotImplementedError as error:
        # torch, of a tensor that was never filled.
        raise _unlike(card, component, "the file lacks some of its tensors") from error
    except (
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
        RuntimeError,
        SingleFileComponentError,
    ) as error:
        raise _unlike(card, component, described(error)) from error


def _unlike(card: ModelCard, component: Component, why: str) -> NotLoadable:
    described_in = f"{checkpoints.config_folder(card).name}/{component.name}/config.json"
    what = f"{Path(card.path).name} does not hold the {component.name} that {described_in} describes"
    return NotLoadable(card.name, f"{what}: {why}")
